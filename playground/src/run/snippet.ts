import type { Facts, Registry } from "../api/wire.ts";
import { literal } from "./literal.ts";
import type { Run } from "./run.ts";
import { axesOf, hasOwnSamplers, type RunRequest, requestOf, type Settings } from "./settings.ts";

/** The request for this answer alone, with the seed that it was drawn with: then it is the same answer again. */
export function reproducible({
  request,
  choice,
  facts,
}: Pick<Run, "request" | "choice"> & { readonly facts?: Pick<Facts, "choices"> }): RunRequest {
  const drawn = facts?.choices.find(({ what }) => what === "seed")?.chosen;
  const settings = { ...request.settings, answers: 1 };
  if (settings.seed !== undefined) return { ...request, settings: { ...settings, seed: settings.seed + choice } };
  if (drawn === undefined || !/^\d+$/.test(drawn)) return { ...request, settings };
  return { ...request, settings: { ...settings, seed: Number(drawn) } };
}

/** A program on the library that gives the run's answer. @param registry  tells which parameters name models and adapters */
export function typescriptSnippet(request: RunRequest, registry: Registry): string {
  const { prompt, settings, model } = request;
  const { maxTokens, temperature, topP, seed, stop } = settings;
  const { layout, ...axes } = axesOf(settings);
  const options = {
    maxTokens,
    ...(hasOwnSamplers(settings) ? {} : { temperature, ...(topP < 1 && temperature > 0 ? { topP } : {}) }),
    ...(seed === undefined ? {} : { seed }),
    ...(stop.length === 0 ? {} : { stop }),
    ...axes,
  };
  const loaded = { beside: pathsOf(namesOf(settings, registry, "model")), adapters: pathsOf(adaptersOf(settings, registry)) };
  const loading = Object.fromEntries(Object.entries(loaded).filter(([, paths]) => Object.keys(paths).length > 0));
  const plain = prompt.kind === "text" ? prompt.text : prompt.kind === "tokens" ? prompt.tokens : prompt.messages;
  const given = layout === undefined ? plain : laidOut(layout as { readonly name: string }, plain);
  const type = prompt.kind === "tokens" ? " as TokenId[]" : "";
  return [
    `import { load${type === "" ? "" : ", type TokenId"} } from "chainrule";`,
    "",
    `await using model = await load(${JSON.stringify(model)}${Object.keys(loading).length === 0 ? "" : `, ${literal(loading)}`});`,
    `const prompt = ${literal(given)}${type};`,
    `const { text, facts } = await model.generate(prompt, ${literal(options)});`,
    "console.log(text);",
    "console.error(facts);",
    "",
  ].join("\n");
}

/** The server knows where models and adapters lie, and tells nobody. */
const pathsOf = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, `path/of/${name}`]));

const adaptersOf = (settings: Settings, registry: Registry) => [
  ...(settings.axes.adapter ?? []).map(({ name }) => name),
  ...namesOf(settings, registry, "adapter"),
];

/** Values of the parameters that name a model, or an adapter. */
function namesOf({ axes }: Settings, registry: Registry, type: "model" | "adapter"): string[] {
  return Object.entries(axes).flatMap(([axis, choices]) =>
    choices.flatMap(({ name, values }) => {
      const parameters = registry[axis]?.find((method) => method.name === name)?.parameters ?? {};
      return Object.keys(values).flatMap((key) => (parameters[key]?.type === type ? [String(values[key])] : []));
    }),
  );
}

/** In the library a layout is a kind of prompt. */
function laidOut({ name, ...values }: { readonly name: string }, prompt: unknown): object {
  return { kind: name, ...values, prompt };
}

/** A command that asks the server for the same answer. @param needsKey  whether the server asks for one */
export function curlSnippet(request: RunRequest, origin: string, needsKey: boolean): string {
  const { path, body } = requestOf(request);
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return [
    `curl ${origin}${path} -H 'content-type: application/json'${needsKey ? ' -H "authorization: Bearer $CHAINRULE_API_KEY"' : ""} \\`,
    `  -d '${quoted}'`,
    "",
  ].join("\n");
}
