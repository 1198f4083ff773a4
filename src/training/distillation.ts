import { crossEntropy } from "../nn/index.ts";
import { input } from "../tensor/index.ts";
import { type Batch, type Documents, type PackedBatch, Packing, type PackingOptions } from "./data/batches.ts";
import type { Objective } from "./objective.ts";
import type { BatchSource } from "./trainer.ts";
import type { WrittenText } from "./write-texts.ts";

/** Rows of one pass with what the teacher believed of the token after each. */
export interface DistillationBatch extends Batch {
  /** Per target its candidates, pairs of token id and log-probability; undefined where nothing is learned. */
  readonly candidates: readonly (readonly (readonly [id: number, logprob: number])[] | undefined)[];
}

/** Texts that a teacher wrote, in memory: prompts are read, answers learned. */
class WrittenDocuments implements Documents {
  readonly lengths: Uint32Array;
  readonly identity: Readonly<Record<string, unknown>>;
  readonly #texts: readonly WrittenText[];

  constructor(texts: readonly WrittenText[]) {
    this.#texts = texts;
    this.lengths = Uint32Array.from(texts, ({ promptTokens, tokens }) => promptTokens.length + tokens.length);
    this.identity = { texts: texts.length, tokens: this.lengths.reduce((sum, length) => sum + length, 0) };
  }

  read(document: number, from: number, ids: Int32Array, isLearned: Uint8Array): void {
    const { promptTokens, tokens } = this.#texts[document]!;
    for (let i = 0; i < ids.length; i += 1) {
      const at = from + i - promptTokens.length;
      ids[i] = at < 0 ? promptTokens[from + i]! : tokens[at]!;
      isLearned[i] = at < 0 ? 0 : 1;
    }
  }

  candidates(document: number, place: number): WrittenText["top"] extends readonly (infer C)[] | undefined ? C | undefined : never {
    const { promptTokens, top } = this.#texts[document]!;
    return top?.[place - promptTokens.length];
  }
}

/** Batches of texts with a teacher's candidates. */
export class DistillationSource implements BatchSource<DistillationBatch> {
  readonly #documents: WrittenDocuments;
  readonly #packing: Packing;

  constructor(texts: readonly WrittenText[], options: PackingOptions) {
    this.#documents = new WrittenDocuments(texts);
    this.#packing = new Packing(this.#documents, options);
  }

  get identity(): unknown {
    return this.#packing.identity;
  }

  get validationDocuments(): number {
    return this.#packing.validationDocuments;
  }

  training(number: number): DistillationBatch {
    return this.#withCandidates(this.#packing.training(number));
  }

  *validation(maxWindows: number): Generator<DistillationBatch> {
    for (const batch of this.#packing.validation(maxWindows)) yield this.#withCandidates(batch);
  }

  #withCandidates(batch: PackedBatch): DistillationBatch {
    const candidates = Array.from(batch.isTarget, (isTarget, row) =>
      isTarget === 1 ? this.#documents.candidates(batch.documents[row]!, batch.places[row]! + 1) : undefined,
    );
    return { ...batch, candidates };
  }
}

/**
 * Cross-entropy with the teacher's distribution over its `count` most probable tokens, made to sum to one: what is learned of a token is not
 * only that it was written but what else could have been.
 *
 * @see Hinton et al. 2015, Distilling the knowledge in a neural network, https://arxiv.org/abs/1503.02531
 */
export function distillation(count: number): Objective<DistillationBatch> {
  return {
    name: `the teacher's ${count} candidates`,
    loss({ hidden }, model) {
      const entries = hidden.shape[0]! * count;
      return crossEntropy(model.head(hidden), input("targets", "i32", [entries]), input("weights", "f32", [entries]));
    },
    fill(program, { candidates, isTarget }, targets, { config }) {
      const places = program.input<"i32">("targets").fill(0);
      const weights = program.input("weights").fill(0);
      for (const [row, isLearned] of isTarget.entries()) {
        if (isLearned === 0) continue;
        const pairs = candidates[row]?.slice(0, count);
        if (pairs === undefined || pairs.length === 0) throw new RangeError(`internal: row ${row} is learned and has no candidates`);
        const mass = pairs.reduce((sum, [, logprob]) => sum + Math.exp(logprob), 0);
        for (const [i, [id, logprob]] of pairs.entries()) {
          places[row * count + i] = row * config.vocabSize + id;
          weights[row * count + i] = Math.exp(logprob) / mass / targets;
        }
      }
    },
  };
}
