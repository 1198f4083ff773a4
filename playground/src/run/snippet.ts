import type { Facts } from "../api/wire.ts";
import { literal } from "./literal.ts";
import type { Run } from "./run.ts";
import { axesOf, hasOwnSamplers, type RunRequest, requestOf } from "./settings.ts";

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

/** A program on the library that gives the run's answer. */
export function typescriptSnippet(request: RunRequest): string {
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
  const adapters = settings.axes.adapter ?? [];
  const paths = adapters.map(({ name }) => [name, `path/of/${name}`]); // the server knows where they are, and tells nobody
  const plain = prompt.kind === "text" ? prompt.text : prompt.kind === "tokens" ? prompt.tokens : prompt.messages;
  const given = layout === undefined ? plain : laidOut(layout as { readonly name: string }, plain);
  const type = prompt.kind === "tokens" ? " as TokenId[]" : "";
  return [
    `import { load${type === "" ? "" : ", type TokenId"} } from "chainrule";`,
    "",
    `await using model = await load(${JSON.stringify(model)}${adapters.length === 0 ? "" : `, ${literal({ adapters: Object.fromEntries(paths) })}`});`,
    `const prompt = ${literal(given)}${type};`,
    `const { text, facts } = await model.generate(prompt, ${literal(options)});`,
    "console.log(text);",
    "console.error(facts);",
    "",
  ].join("\n");
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
