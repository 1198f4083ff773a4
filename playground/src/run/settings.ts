import type { ChatBody, CompletionBody, Extension, Message, Registry } from "../api/wire.ts";

/** A method that was picked, with the parameters that were changed. */
export interface MethodChoice {
  readonly name: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/** Everything a person can set for a run, but the prompt. */
export interface Settings {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number | undefined;
  readonly stop: readonly string[];
  readonly axes: Readonly<Record<string, readonly MethodChoice[]>>;
}

export const defaultSettings: Settings = { maxTokens: 96, temperature: 0, topP: 1, seed: undefined, stop: [], axes: {} };

/** Axes that take a list; on the others one method is chosen. */
export const listAxes: ReadonlySet<string> = new Set(["guide", "sample"]);

/** How many alternatives to each token are asked for. */
export const topCount = 5;

/** What a run continues: a text as it stands, tokens, or a conversation. */
export type RunPrompt =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "tokens"; readonly tokens: readonly number[]; readonly text: string }
  | { readonly kind: "chat"; readonly messages: readonly Message[] };

export interface RunRequest {
  readonly prompt: RunPrompt;
  readonly settings: Settings;
  readonly model: string;
}

/** The axes as both the library and the server spell them: a method as an object, or a list of such. */
export function axesOf({ axes }: Settings): Extension {
  return Object.fromEntries(
    Object.entries(axes)
      .filter(([, choices]) => choices.length > 0)
      .map(([axis, choices]) => {
        const specs = choices.map(({ name, values }) => ({ name, ...values }));
        return [axis, listAxes.has(axis) ? specs : specs[0]];
      }),
  );
}

/** With samplers of one's own the short options would contradict them. */
export const hasOwnSamplers = ({ axes }: Settings): boolean => (axes.sample ?? []).length > 0;

/** Path and body of the request for a run. */
export function requestOf({ prompt, settings, model }: RunRequest): { readonly path: string; readonly body: CompletionBody | ChatBody } {
  const extension = axesOf(settings);
  const { temperature, topP, seed, stop, maxTokens } = settings;
  const shared = {
    model,
    max_tokens: maxTokens,
    ...(hasOwnSamplers(settings) ? {} : { temperature, ...(topP < 1 && temperature > 0 ? { top_p: topP } : {}) }),
    ...(seed === undefined ? {} : { seed }),
    ...(stop.length === 0 ? {} : { stop: [...stop] }),
    ...(Object.keys(extension).length === 0 ? {} : { chainrule: extension }),
  };
  if (prompt.kind === "chat") return { path: "/v1/chat/completions", body: { messages: prompt.messages, ...shared } };
  return { path: "/v1/completions", body: { prompt: prompt.kind === "text" ? prompt.text : [...prompt.tokens], ...shared } };
}

/** What the page asks beyond what reproduces the answer: events, and alternatives to each token. */
export function streamed(body: CompletionBody | ChatBody): CompletionBody | ChatBody {
  return "messages" in body
    ? { ...body, stream: true, logprobs: true, top_logprobs: topCount }
    : { ...body, stream: true, logprobs: topCount };
}

/** A line that names what differs from plain greedy decoding. */
export function summarize(settings: Settings): string {
  const { temperature, topP, seed, axes } = settings;
  const sampling = hasOwnSamplers(settings)
    ? []
    : [temperature === 0 ? "greedy" : `temperature ${temperature}`, ...(topP < 1 && temperature > 0 ? [`top-p ${topP}`] : [])];
  const methods = Object.values(axes).flatMap((choices) =>
    choices.map(({ name, values }) => {
      const given = Object.entries(values).map(([key, value]) => `${key} ${typeof value === "object" ? "…" : value}`);
      return given.length === 0 ? name : `${name} (${given.join(", ")})`;
    }),
  );
  return [...sampling, ...(seed === undefined ? [] : [`seed ${seed}`]), ...methods].join(" · ");
}

/** Pairs of settings that refuse each other, in the registry's words. */
export function conflicts(settings: Settings, registry: Registry): string[] {
  const chosen = Object.entries(settings.axes).flatMap(([axis, choices]) =>
    choices.flatMap(({ name }) => {
      const method = registry[axis]?.find((candidate) => candidate.name === name);
      return method === undefined ? [] : [{ axis, method }];
    }),
  );
  return chosen.flatMap(({ axis, method }) =>
    Object.entries(method.refuses).flatMap(([refused, why]) => {
      const others = chosen.filter((other) => other.axis === refused && !other.method.isNeutral).map((other) => other.method.name);
      const isDrawn = refused === "sample" && !hasOwnSamplers(settings) && settings.temperature > 0;
      return [...others, ...(isDrawn ? [`temperature ${settings.temperature}`] : [])].map(
        (other) => `${axis} ${method.name} can't be combined with ${other}: ${why}`,
      );
    }),
  );
}
