import { NativeError, OptionError, UnsupportedError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { type AdapterSpec, parseAdapters } from "./adapters.ts";
import { checkParameter, integer } from "./method.ts";
import type { DecodingModel } from "./model.ts";
import { layOutPrompt, type Prompt } from "./prompting/prompt.ts";

export interface ScoreOptions {
  /** Tokens a window holds, in [2, contextLength]. Default: the context. */
  readonly window?: number;
  /** Tokens from one window's start to the next one's, in [1, window - 1]. Default: half a window. */
  readonly stride?: number;
  /** Read special tokens written in a text as such. Default false. */
  readonly parseSpecial?: boolean;
  /** Adapters that the model has loaded, `"name,scale=0.8"`. Default: none. */
  readonly adapter?: AdapterSpec;
  readonly signal?: AbortSignal;
}

/** Log-probabilities are natural logarithms. */
export interface ScoreResult {
  readonly tokens: readonly TokenId[];
  /** Of each token given those before it in its window; undefined for the first, which nothing predicts. */
  readonly logprobs: readonly (number | undefined)[];
  /** Sum of all log-probabilities. */
  readonly total: number;
  readonly numScored: number;
  /** exp(-total / numScored) */
  readonly perplexity: number;
  /** Bytes of text that the scored tokens hold; special tokens hold none. */
  readonly bytes: number;
  /** total / bytes: comparable between vocabularies. */
  readonly logprobPerByte: number;
  readonly window: number;
  readonly stride: number;
  readonly cost: { readonly passes: number; readonly rows: number; readonly computeMs: number };
}

const knownOptions: readonly string[] = ["window", "stride", "parseSpecial", "adapter", "signal"];
/** Rows of one request: bounds what a request returns; the engine cuts further as it likes. */
const rowsPerRequest = 512;

/**
 * How probable a text, a conversation or a list of tokens is to the model. A text longer than the window is read in windows
 * `stride` apart; each token is scored once, in the first window that holds it, so that it sees at least `window - stride`
 * tokens (its position in the text allowing). Windows after the first begin in the middle of the text, without BOS.
 *
 * @throws OptionError for unknown or out-of-range options or fewer than two tokens; the signal's reason when aborted
 * @see https://huggingface.co/docs/transformers/perplexity for the sliding window
 */
export async function score(model: DecodingModel, input: Prompt, options: ScoreOptions = {}): Promise<ScoreResult> {
  for (const key of Object.keys(options)) {
    if (!knownOptions.includes(key)) throw new OptionError(key, `is no option; the options are ${knownOptions.join(", ")}`);
  }
  const { window = model.contextLength, parseSpecial, signal } = options;
  checkParameter(integer({ min: 2, max: model.contextLength, doc: "" }), window, "window");
  const { stride = Math.floor(window / 2) } = options;
  checkParameter(integer({ min: 1, max: window - 1, doc: "" }), stride, "stride");
  const abort = signal === undefined ? {} : { signal };
  const adapters = parseAdapters(options.adapter, model);
  const { tokens, positions } = await layOutPrompt(model, input, {
    ...(parseSpecial === undefined ? {} : { parseSpecial }),
    ...{ addGenerationPrompt: false, ...abort },
  });
  if (positions !== undefined)
    throw new UnsupportedError("score: a text with sets without an order has no probability token by token; give it as plain text");
  if (tokens.length < 2)
    throw new OptionError("prompt", "is a single token; the first token has no probability, so nothing could be scored");

  const logprobs: (number | undefined)[] = [undefined];
  const cost = { passes: 0, rows: 0, computeMs: 0 };
  const sequence = await model.sequence({
    maxLength: Math.min(window, tokens.length),
    ...(adapters.length === 0 ? {} : { adapters }),
    ...abort,
  });
  try {
    for (let start = 0; logprobs.length < tokens.length; start += stride) {
      sequence.rewind(0);
      const end = Math.min(start + window, tokens.length) - 1; // the last token is predicted, it predicts nothing
      for (let from = start; from < end; from += rowsPerRequest) {
        const input = tokens.slice(from, Math.min(from + rowsPerRequest, end));
        // the row of token i predicts token i + 1; those scored by an earlier window only give context here
        const rows = [...input.keys()].filter((row) => from + row + 1 >= logprobs.length);
        const scores = rows.map((row) => [tokens[from + row + 1]!]);
        const want = rows.length === 0 ? {} : { want: { logits: rows, top: 1, scores } };
        const result = await sequence.forward({ input, ...want, ...abort });
        for (const { scores, candidates } of result.rows) logprobs.push(scores![0]! - candidates!.logSumExp);
        cost.passes += result.cost.passes;
        cost.rows += result.cost.rows;
        cost.computeMs += result.cost.computeMs;
      }
    }
  } finally {
    sequence[Symbol.dispose]();
  }
  const total = logprobs.reduce((sum: number, logprob) => sum + (logprob ?? 0), 0);
  if (Number.isNaN(total)) throw new NativeError("the model returned logits that are not finite");
  const bytes = tokens.slice(1).reduce((sum, token) => sum + model.tokenizer.piece(token).length, 0);
  const numScored = tokens.length - 1;
  return {
    ...{ tokens, logprobs, total, numScored, bytes, window, stride, cost },
    perplexity: Math.exp(-total / numScored),
    logprobPerByte: bytes === 0 ? 0 : total / bytes,
  };
}
