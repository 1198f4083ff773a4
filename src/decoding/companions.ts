import type { ForwardRequest, ForwardResult, Sequence } from "../engine/index.ts";
import { ContextOverflowError, OptionError, UnsupportedError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { type DecodingModel, decodingModel, type ModelSource } from "./model.ts";

/** Another model that takes part in a run. */
export interface Companion {
  /** As the caller named it. */
  readonly name: string;
  readonly model: DecodingModel;
  /** An empty sequence of it, for the run's prompt and answer; its owner disposes it. */
  sequence(): Sequence | Promise<Sequence>;
  /**
   * `sequence.forward`, counted in the run's facts; undefined once the deadline has passed. The prompt is read as it is laid out, by
   * requests that hold nothing else.
   */
  forward(sequence: Sequence, request: ForwardRequest): Promise<ForwardResult | undefined>;
}

/** Opens the models that methods name. @throws OptionError where one has another vocabulary; what loading throws */
export async function openModels(
  model: DecodingModel,
  sources: readonly ModelSource[],
  { maxLength, signal }: { readonly maxLength: number; readonly signal: AbortSignal | undefined },
): Promise<ReadonlyMap<ModelSource, DecodingModel>> {
  const opened = new Map<ModelSource, DecodingModel>();
  for (const source of sources) {
    if (opened.has(source)) continue;
    const other = await open(model, source, signal);
    const name = nameOf(source);
    checkVocabulary(model, other, name);
    if (other.contextLength < maxLength)
      throw new ContextOverflowError(`prompt and answer of ${maxLength} tokens exceed the context of ${name}, ${other.contextLength}`, {
        neededTokens: maxLength,
        contextLength: other.contextLength,
      });
    opened.set(source, other);
  }
  return opened;
}

export function nameOf(source: ModelSource): string {
  return typeof source === "string" ? source : (source[decodingModel].name ?? "the model given");
}

async function open(model: DecodingModel, source: ModelSource, signal: AbortSignal | undefined): Promise<DecodingModel> {
  if (typeof source !== "string") return source[decodingModel];
  if (model.beside === undefined) throw new UnsupportedError(`${source}: this model opens no others; give one that load() gave`);
  return model.beside(source, signal === undefined ? {} : { signal });
}

const alike = new WeakMap<object, WeakSet<object>>();

/**
 * Refuses a model in which a token id may mean another text. Rows of logits may differ in length: files pad them.
 *
 * @throws OptionError naming the sizes, or the first token that differs
 */
export function checkVocabulary(model: DecodingModel, other: DecodingModel, name: string): void {
  const [ours, theirs] = [model.tokenizer, other.tokenizer];
  if (ours === theirs || alike.get(ours)?.has(theirs) === true) return;
  const shared = Math.min(ours.vocabSize, theirs.vocabSize);
  for (let id = 0; id < shared; id++) {
    const [mine, its] = [ours, theirs].map((tokenizer) => Buffer.from(tokenizer.piece(id as TokenId, { special: true })));
    if (mine!.equals(its!)) continue;
    const sizes = ours.vocabSize === theirs.vocabSize ? "" : ` (${theirs.vocabSize} tokens, not ${ours.vocabSize})`;
    const [ourText, theirText] = [mine!, its!].map((bytes) => JSON.stringify(bytes.toString()));
    throw new OptionError("model", `${name} has another vocabulary${sizes}: token ${id} is ${theirText} there and ${ourText} here`);
  }
  if (ours.vocabSize !== theirs.vocabSize)
    throw new OptionError(
      "model",
      `${name} has another vocabulary: ${theirs.vocabSize} tokens, not ${ours.vocabSize}; the first ${shared} are the same`,
    );
  if (!alike.has(ours)) alike.set(ours, new WeakSet());
  alike.get(ours)!.add(theirs);
}
