import type { Sequence } from "../engine/index.ts";
import { ContextOverflowError, NativeError, OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import type { DecodingModel } from "./model.ts";
import { checkPrefixKey } from "./options.ts";
import { encodePrompt } from "./prompting/prompt.ts";

export interface EmbedOptions {
  /** "mean": of all tokens' states (the default). "last": the last token's, which alone has seen the whole text. */
  readonly pooling?: "mean" | "last";
  /** Scale each vector to length 1, so that a dot product is the cosine. Default true. */
  readonly normalize?: boolean;
  /** Prefixes are handed on between runs of the same key only; at most 256 characters. Default "". */
  readonly prefixKey?: string;
  readonly signal?: AbortSignal;
}

export interface EmbedResult {
  /** One vector [C] per text, in their order. */
  readonly vectors: readonly Float32Array[];
  readonly usage: { readonly promptTokens: number };
}

const knownOptions: readonly string[] = ["pooling", "normalize", "prefixKey", "signal"];
/** Texts in flight at once, for the scheduler to fuse. */
const concurrency = 16;
/** Rows of one request: bounds the states it returns. */
const rowsPerRequest = 512;

/**
 * Texts as vectors: the states after the model's final norm, pooled. BOS counts where the vocabulary puts it. Language models
 * are not trained for this: expect less than from an embedding model.
 *
 * @throws OptionError for unknown options, no texts or an empty text; ContextOverflowError for a text longer than the context,
 *         before anything is computed; the signal's reason when aborted
 */
export async function embed(model: DecodingModel, texts: string | readonly string[], options: EmbedOptions = {}): Promise<EmbedResult> {
  for (const key of Object.keys(options)) {
    if (!knownOptions.includes(key)) throw new OptionError(key, `is no option; the options are ${knownOptions.join(", ")}`);
  }
  const { pooling = "mean", normalize = true } = options;
  if (pooling !== "mean" && pooling !== "last")
    throw new OptionError("pooling", `must be "mean" or "last", got ${JSON.stringify(pooling)}`);
  if (typeof normalize !== "boolean") throw new OptionError("normalize", `must be true or false, got ${String(normalize)}`);
  checkPrefixKey(options.prefixKey);
  const list = typeof texts === "string" ? [texts] : texts;
  if (list.length === 0) throw new OptionError("texts", "is an empty list");
  const prompts = await Promise.all(list.map((text) => encodePrompt(model, text)));
  for (const [index, { length }] of prompts.entries()) {
    if (length > model.contextLength) {
      const message = `text ${index} has ${length} tokens, the context holds ${model.contextLength}`;
      throw new ContextOverflowError(message, { neededTokens: length, contextLength: model.contextLength });
    }
  }
  const vectors: Float32Array[] = [];
  for (let from = 0; from < prompts.length; from += concurrency) {
    const running = prompts.slice(from, from + concurrency).map((tokens) => embedOne(model, tokens, pooling, options));
    await Promise.allSettled(running); // none is left running when one fails
    for (const one of running) vectors.push(normalize ? unit(await one) : await one);
  }
  return { vectors, usage: { promptTokens: prompts.reduce((sum, tokens) => sum + tokens.length, 0) } };
}

async function embedOne(
  model: DecodingModel,
  tokens: readonly TokenId[],
  pooling: "mean" | "last",
  { prefixKey, signal }: EmbedOptions,
): Promise<Float32Array> {
  const abort = signal === undefined ? {} : { signal };
  const sequence: Sequence = await model.sequence({
    maxLength: tokens.length,
    ...(prefixKey === undefined ? {} : { prefixKey }),
    ...abort,
  });
  try {
    if (pooling === "last") {
      const { rows } = await sequence.forward({ input: tokens, want: { hidden: "last" }, ...abort });
      return checkFinite(rows[0]!.hidden!);
    }
    let sum: Float64Array | undefined;
    for (let from = 0; from < tokens.length; from += rowsPerRequest) {
      const input = tokens.slice(from, from + rowsPerRequest);
      const { rows } = await sequence.forward({ input, want: { hidden: "all" }, ...abort });
      for (const { hidden } of rows) {
        sum ??= new Float64Array(hidden!.length);
        for (let channel = 0; channel < sum.length; channel++) sum[channel]! += hidden![channel]!;
      }
    }
    return checkFinite(Float32Array.from(sum!, (value) => value / tokens.length));
  } finally {
    sequence[Symbol.dispose]();
  }
}

function checkFinite(vector: Float32Array): Float32Array {
  if (!vector.every(Number.isFinite)) throw new NativeError("the model returned states that are not finite");
  return vector;
}

/** The vector of length 1 in the same direction; a zero vector stays as it is. */
function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}
