import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Message } from "../../src/chat/index.ts";
import type { CostCurve } from "../../src/engine/index.ts";
import type { GenerateOptions, GenerateResult, Model, Prompt } from "../../src/index.ts";
import { median, summarize } from "../statistics.ts";
import prompts from "./prompts.json" with { type: "json" };

export interface Row {
  /** "axis name" of the registry, where the row is about one method. */
  readonly method: string;
  readonly model: string;
  /** What the paper says. */
  readonly claim: string;
  /** Our figure. */
  readonly figure: string;
  /** Whether it goes the way the paper says, and where not, why. */
  readonly met: string;
  /** Wall time against plain, where it is measured. */
  readonly speed?: string;
  readonly passes?: string;
}

/** Rows of a part on a model, with what is to be known about them. */
export interface Findings {
  readonly rows: readonly Row[];
  /** Markdown below the table. */
  readonly notes?: readonly string[];
  /** Load average when it was done. */
  readonly load?: number;
}

export interface Setting {
  readonly modelName: string;
  readonly model: Model;
  /** A folder for files of this run alone. */
  readonly scratch: string;
  readonly pairs: number;
  readonly maxTokens: number;
  /** Prompts per kind. */
  readonly numPrompts: number;
  readonly isQuick: boolean;
  /** A reward adapter of the model's, to be measured in place of the one that is kept. */
  readonly rewardAdapter: string | undefined;
  readonly say: (line: string) => void;
  readonly textFolder: string | undefined;
}

export const kinds = Object.keys(prompts.kinds) as (keyof typeof prompts.kinds)[];
export { prompts };

/** A kind's prompts as a model takes them. */
export function promptsOf({ model, numPrompts }: Setting, kind: keyof typeof prompts.kinds): Promise<Prompt[]> {
  const list = prompts.kinds[kind].slice(0, numPrompts) as Message[][];
  return Promise.all(list.map((messages) => asked(model, messages)));
}

/** A conversation as a model takes it: through its template, or as plain turns where it has none. */
export async function asked(model: Model, messages: readonly Message[]): Promise<Prompt> {
  try {
    return await model.encode(messages);
  } catch (error) {
    if (!/has no chat template/.test((error as Error).message)) throw error;
    return `${messages.map(({ role, content }) => `${role === "user" ? "User" : "Assistant"}: ${content}\n`).join("")}Assistant:`;
  }
}

/** T(rows)/T(1), measured in this run, in the middle of answers to these prompts. */
export async function curveAmid({ model, maxTokens }: Setting, prompts: readonly Prompt[]): Promise<CostCurve> {
  const lengths = await Promise.all(prompts.map(async (prompt) => (await model.layOut(prompt)).tokens.length));
  return model.costCurve({ entries: Math.round(mean(lengths) + maxTokens / 2) });
}

/** Time of an answer from its first token to its last; the same tokens are checked by the caller. */
export const decodeMs = ({ timings, tokens }: GenerateResult): number => timings.completionMs / Math.max(tokens.length - 1, 1);

/**
 * Decode speed of settings relative to the first, in alternating rounds over the prompts: each round takes one prompt, and begins with another
 * setting than the round before.
 *
 * @param isSame  whether every setting must give the first one's tokens
 */
export async function alternate(
  { model, maxTokens }: Setting,
  prompts: readonly Prompt[],
  settings: readonly GenerateOptions[],
  rounds: number,
  isSame: boolean,
): Promise<{
  readonly ratios: readonly ReturnType<typeof summarize>[];
  /** For each setting the ratio in each round. */
  readonly rounds: readonly (readonly number[])[];
  readonly results: readonly (readonly GenerateResult[])[];
}> {
  const ratios: number[][] = settings.map(() => []);
  const results: GenerateResult[][] = settings.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    const prompt = prompts[round % prompts.length]!;
    const order = settings.map((_, index) => (index + round) % settings.length);
    const ms: number[] = [];
    for (const index of order) {
      const result = await model.generate(prompt, { maxTokens, ignoreEndTokens: true, ...settings[index] });
      ms[index] = decodeMs(result);
      if (round < prompts.length) results[index]!.push(result);
    }
    for (const index of settings.keys()) ratios[index]!.push(ms[0]! / ms[index]!);
  }
  if (isSame)
    for (const [index, list] of results.entries())
      for (const [place, { tokens }] of list.entries())
        if (tokens.join() !== results[0]![place]!.tokens.join())
          throw new Error(`${JSON.stringify(settings[index])} gives other tokens than plain decoding`);
  return { ratios: ratios.map(summarize), rounds: ratios, results };
}

/** Share of a list's n-grams that stand in it, or in what came before it, at an earlier place. */
export function repeatedShare(context: readonly number[], tokens: readonly number[], n = 4): number {
  const all = [...context, ...tokens];
  const seen = new Set<string>();
  let repeated = 0;
  for (let end = n; end <= all.length; end += 1) {
    const key = all.slice(end - n, end).join(",");
    if (end > context.length && seen.has(key)) repeated += 1;
    seen.add(key);
  }
  return tokens.length === 0 ? 0 : repeated / tokens.length;
}

export const show = ({ median: middle, low, high }: ReturnType<typeof summarize>, digits = 2): string =>
  `${middle.toFixed(digits)} [${low.toFixed(digits)}, ${high.toFixed(digits)}]`;
export const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
export { median };

/** A part of the page, in steps of some minutes each: what a run has measured stays measured. */
export type Steps = Readonly<Record<string, (setting: Setting) => Promise<Findings>>>;

/** The first prompt of each of the six kinds. */
export async function onePerKind(setting: Setting): Promise<Prompt[]> {
  const list = await Promise.all(kinds.slice(0, setting.isQuick ? 2 : 6).map((kind) => promptsOf(setting, kind)));
  return list.map(([first]) => first!);
}

/** Mean share of repeated 4-grams of answers, the prompt's among them. */
export async function repetition({ model }: Setting, prompts: readonly Prompt[], results: readonly GenerateResult[]): Promise<number> {
  const shares = await Promise.all(
    results.map(async ({ tokens }, index) => repeatedShare((await model.layOut(prompts[index]!)).tokens, tokens)),
  );
  return mean(shares);
}

export function perPass(results: readonly GenerateResult[]): string {
  return `${mean(results.map(({ facts }) => facts.passes)).toFixed(0)} passes, ${mean(results.map(({ facts }) => facts.tokensPerPass)).toFixed(2)} tokens each`;
}

/** Findings of earlier runs, by part and model, so that a run that was cut short goes on, and a part alone can be measured anew. */
export class Store {
  readonly #path: string;
  readonly #known: Record<string, Findings & { readonly machine: string }>;

  constructor(path: string) {
    this.#path = path;
    this.#known = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
  }

  get(key: string): (Findings & { readonly machine: string }) | undefined {
    return this.#known[key];
  }

  put(key: string, findings: Findings, machine: string): void {
    this.#known[key] = { ...findings, machine };
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(this.#path, JSON.stringify(this.#known));
  }

  get all(): readonly (readonly [string, Findings & { readonly machine: string }])[] {
    return Object.entries(this.#known);
  }
}
