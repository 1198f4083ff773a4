import type { RowResult, Sequence } from "../engine/index.ts";
import { ContextOverflowError, NativeError, OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import type { AdapterSpec } from "./adapters.ts";
import { checkParameter, choice } from "./method.ts";
import type { DecodingModel } from "./model.ts";
import { type Plan, resolveOptions, sequencesOf } from "./options.ts";
import { layoutOfRows } from "./prompting/layout.ts";
import { layOutPrompt, type Prompt } from "./prompting/prompt.ts";

export interface ScoreChoicesOptions {
  /**
   * By what choices are compared: "total", the sum of their tokens' log-probabilities; "mean", that divided by the number of tokens;
   * "unconditional", the total less the total after `without`, so that a choice that is common anyway has no advantage. Default "total".
   */
  readonly rule?: "total" | "mean" | "unconditional";
  /** What stands before a choice where the question is left out. With rule "unconditional" only; default "Answer:". */
  readonly without?: string;
  readonly parseSpecial?: boolean;
  /** Adapters that the model has loaded, `"name,scale=0.8"`. Default: none. */
  readonly adapter?: AdapterSpec;
  /** Where passes are few, higher ones go first. Default 0. */
  readonly priority?: number;
  readonly prefixKey?: string;
  readonly signal?: AbortSignal;
}

export interface ScoredChoice {
  readonly text: string;
  readonly tokens: readonly TokenId[];
  /** Sum of the tokens' log-probabilities (natural) after the prompt. */
  readonly total: number;
  /** By the rule. */
  readonly score: number;
}

export interface ScoredChoices {
  /** In the order given. */
  readonly choices: readonly ScoredChoice[];
  /** Index of the largest score; of equals the first. */
  readonly best: number;
  readonly rule: "total" | "mean" | "unconditional";
}

const optionNames: readonly string[] = ["rule", "without", "parseSpecial", "adapter", "priority", "prefixKey", "signal"];
const rules = choice({ choices: ["total", "mean", "unconditional"], doc: "" });

/**
 * Which of several continuations of a prompt the model finds most probable: multiple choice, without writing anything. The prompt is read once,
 * each choice in a fork of it. A choice begins with its space: a prompt that ends with one is cut where no tokenizer cuts.
 *
 *     const { best } = await scoreChoices(model, "The sky is", [" blue", " green"]);
 *
 * @throws OptionError for no choices, an empty one, one that does not begin where a token begins, or an option that is none or out of range;
 *         ContextOverflowError where prompt and choice exceed the context; what `generate` throws
 * @see Brown et al. 2020, Language Models are Few-Shot Learners, section 2.4, https://arxiv.org/abs/2005.14165
 */
export async function scoreChoices(
  model: DecodingModel,
  prompt: Prompt,
  choices: readonly string[],
  options: ScoreChoicesOptions = {},
): Promise<ScoredChoices> {
  for (const key of Object.keys(options))
    if (!optionNames.includes(key)) throw new OptionError(key, `is no option; the options are ${optionNames.join(", ")}`);
  const { rule = "total", without, ...others } = options;
  checkParameter(rules, rule, "rule");
  if (without !== undefined && rule !== "unconditional")
    throw new OptionError("without", `belongs to rule "unconditional", the rule is "${rule}"`);
  const plan = resolveOptions(others, model);
  if (!Array.isArray(choices) || choices.length === 0) throw new OptionError("choices", "must be a list of at least one text");
  const totals = await totalsAfter(model, prompt, choices, plan);
  const base = rule === "unconditional" ? await totalsAfter(model, without ?? "Answer:", choices, plan) : [];
  const scored = totals.map(({ tokens, total }, index) => {
    const score = rule === "total" ? total : rule === "mean" ? total / tokens.length : total - base[index]!.total;
    return { text: choices[index]!, tokens, total, score };
  });
  const best = scored.reduce((a, b, index) => (b.score > scored[a]!.score ? index : a), 0);
  return { choices: scored, best, rule };
}

interface Total {
  readonly tokens: readonly TokenId[];
  readonly total: number;
}

async function totalsAfter(model: DecodingModel, prompt: Prompt, choices: readonly string[], plan: Plan): Promise<Total[]> {
  const { signal, parseSpecial } = plan;
  const abort = signal === undefined ? {} : { signal };
  const special = parseSpecial === undefined ? {} : { parseSpecial };
  const layout = await layOutPrompt(model, prompt, { ...special, ...abort });
  const lists = choices.map((text) => tokensOf(model, prompt, layout.tokens, text, parseSpecial ?? false));
  const neededTokens = layout.tokens.length + Math.max(...lists.map(({ length }) => length)) - 1; // the last token is only predicted
  if (neededTokens > model.contextLength) {
    const message = `prompt and choice have ${neededTokens} tokens, the context holds ${model.contextLength}`;
    throw new ContextOverflowError(message, { neededTokens, contextLength: model.contextLength });
  }
  const sequence = await sequencesOf(model, plan, abort)(neededTokens);
  try {
    const input = layout.tokens;
    const { rows } = await sequence.forward({
      ...{ input, ...layoutOfRows(layout, 0, input.length), ...abort },
      want: { logits: "last", top: 1, scores: [lists.map(([first]) => first!)] },
    });
    const first = rows[0]!;
    return await Promise.all(
      lists.map(async (tokens, index) => {
        const rest = await totalOfRest(sequence, tokens, abort);
        const total = logprobOf(first, index) + rest;
        if (Number.isNaN(total)) throw new NativeError("the model returned logits that are not finite");
        return { tokens, total };
      }),
    );
  } finally {
    sequence[Symbol.dispose]();
  }
}

/** Of a choice's tokens after its first. */
async function totalOfRest(prompt: Sequence, tokens: readonly TokenId[], abort: { readonly signal?: AbortSignal }): Promise<number> {
  if (tokens.length === 1) return 0;
  const fork = prompt.fork();
  try {
    const scores = tokens.slice(1).map((token) => [token]);
    const { rows } = await fork.forward({ input: tokens.slice(0, -1), want: { logits: "all", top: 1, scores }, ...abort });
    return rows.reduce((sum, row) => sum + logprobOf(row, 0), 0);
  } finally {
    fork[Symbol.dispose]();
  }
}

const logprobOf = ({ scores, candidates }: RowResult, place: number): number => scores![place]! - candidates!.logSumExp;

/** A choice's tokens as they are in the text that it ends; for messages and layouts as they are alone. */
function tokensOf(
  { tokenizer }: DecodingModel,
  prompt: Prompt,
  before: readonly TokenId[],
  text: string,
  special: boolean,
): readonly TokenId[] {
  const tokens = typeof text === "string" ? tokenizer.encode(text, { bos: false }) : [];
  if (tokens.length === 0) throw new OptionError("choices", `must be texts that are not empty, got ${JSON.stringify(text)}`);
  if (typeof prompt !== "string") return tokens;
  const whole = tokenizer.encode(prompt + text, { special });
  if (whole.length === before.length + tokens.length && before.every((token, index) => whole[index] === token))
    return whole.slice(before.length);
  const why = "no token begins there; end the prompt with a word and begin the choices with the space";
  throw new OptionError(
    "choices",
    `${JSON.stringify(text)} can't be scored after a prompt that ends with ${JSON.stringify(prompt.slice(-12))}: ${why}`,
  );
}
