import type { Facts } from "../api/wire.ts";
import { axesOf, hasOwnSamplers, type RunRequest, requestOf } from "./settings.ts";

/** The request with the seed that the run drew, where it drew one: then it gives the same answer again. */
export function reproducible(request: RunRequest, facts: Pick<Facts, "choices"> | undefined): RunRequest {
  const seed = facts?.choices.find(({ what }) => what === "seed")?.chosen;
  const { settings } = request;
  if (settings.seed !== undefined || seed === undefined || !/^\d+$/.test(seed)) return request;
  return { ...request, settings: { ...settings, seed: Number(seed) } };
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
  const plain = prompt.kind === "text" ? prompt.text : prompt.kind === "tokens" ? prompt.tokens : prompt.messages;
  const given = layout === undefined ? plain : laidOut(layout as { readonly name: string }, plain);
  const type = prompt.kind === "tokens" ? " as TokenId[]" : "";
  return [
    `import { load${type === "" ? "" : ", type TokenId"} } from "chainrule";`,
    "",
    `await using model = await load(${JSON.stringify(model)});`,
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

const lineWidth = 56; // so that a line fits its box beside the settings

/** A value as TypeScript, in one line where it fits. */
function literal(value: unknown, indent = ""): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = `${indent}  `;
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((entry) => literal(entry, inner))
    : Object.entries(value).map(
        ([key, entry]) => `${/^[A-Za-z_$][\w$]*$/.test(key) ? key : JSON.stringify(key)}: ${literal(entry, inner)}`,
      );
  if (parts.length === 0) return isList ? "[]" : "{}";
  const [open, close] = isList ? ["[", "]"] : ["{ ", " }"];
  const line = `${open}${parts.join(", ")}${close}`;
  if (!line.includes("\n") && indent.length + line.length <= lineWidth) return line;
  if (isList && value.every((entry) => typeof entry === "number")) return `[${parts.join(", ")}]`;
  return `${open.trim()}\n${parts.map((part) => `${inner}${part},\n`).join("")}${indent}${close.trim()}`;
}
