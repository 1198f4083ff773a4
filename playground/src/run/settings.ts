import type { ChatBody, CompletionBody, Extension, Message, Registry } from "../api/wire.ts";

/** A method that was picked, with the parameters that were changed. */
export interface MethodChoice {
  readonly name: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/** Everything a person can set for a run, but the prompt. */
export interface Settings {
  readonly maxTokens: number;
  /** Answers to the prompt, side by side; the i-th is drawn with seed + i. */
  readonly answers: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number | undefined;
  readonly stop: readonly string[];
  readonly axes: Readonly<Record<string, readonly MethodChoice[]>>;
}

export const defaultSettings: Settings = { maxTokens: 96, answers: 1, temperature: 0, topP: 1, seed: undefined, stop: [], axes: {} };

/** Axes that take a list; on the others one method is chosen. */
export const listAxes: ReadonlySet<string> = new Set(["adapter", "guide", "sample"]);

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
  const { temperature, topP, seed, stop, maxTokens, answers } = settings;
  const shared = {
    model,
    max_tokens: maxTokens,
    ...(answers === 1 ? {} : { n: answers }),
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
  const { temperature, topP, seed, answers, axes } = settings;
  const sampling = hasOwnSamplers(settings)
    ? []
    : [temperature === 0 ? "greedy" : `temperature ${temperature}`, ...(topP < 1 && temperature > 0 ? [`top-p ${topP}`] : [])];
  const methods = Object.values(axes).flatMap((choices) =>
    choices.map(({ name, values }) => {
      const given = Object.entries(values).map(([key, value]) => `${key} ${typeof value === "object" ? "…" : value}`);
      return given.length === 0 ? name : `${name} (${given.join(", ")})`;
    }),
  );
  return [...sampling, ...(seed === undefined ? [] : [`seed ${seed}`]), ...(answers === 1 ? [] : [`${answers} answers`]), ...methods].join(
    " · ",
  );
}

/** Two settings that refuse each other, in the server's words. */
export interface Conflict {
  /** The axes whose methods they are. */
  readonly axes: readonly string[];
  readonly text: string;
}

/** Everything among the settings that can't be combined; temperature and top-p are samplers too. */
export function conflicts(settings: Settings, registry: Registry): Conflict[] {
  const chosen = Object.entries(settings.axes).flatMap(([axis, choices]) =>
    choices.flatMap(({ name }) => {
      const method = registry[axis]?.find((candidate) => candidate.name === name);
      return method === undefined ? [] : [{ axis, name, label: name, cannotCompose: method.cannotCompose }];
    }),
  );
  return chosen.flatMap((one, index) =>
    [...chosen.slice(index + 1), ...shortSamplers(settings)].flatMap((other) => {
      const why = one.cannotCompose[`${other.axis} ${other.name}`];
      return why === undefined
        ? []
        : [{ axes: [one.axis, other.axis], text: `${one.axis} ${one.name} can't be combined with ${other.label}: ${why}` }];
    }),
  );
}

/** The samplers that temperature and top-p stand for. */
function shortSamplers(settings: Settings): { readonly axis: string; readonly name: string; readonly label: string }[] {
  const { temperature, topP } = settings;
  if (hasOwnSamplers(settings)) return [];
  if (temperature === 0) return [{ axis: "sample", name: "greedy", label: "temperature 0" }];
  const drawn = { axis: "sample", name: "temperature", label: `temperature ${temperature}` };
  return topP < 1 ? [drawn, { axis: "sample", name: "top-p", label: `top-p ${topP}` }] : [drawn];
}
