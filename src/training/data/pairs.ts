import { OptionError } from "../../errors.ts";
import { permutation } from "../random.ts";
import type { BatchSource } from "../trainer.ts";
import { type Batch, type Documents, type PackingOptions, splitDocuments } from "./batches.ts";

/** Rows of one pass, each sequence a pair of answers after their prompt. */
export interface PairBatch extends Batch {
  readonly positions: Int32Array;
  readonly deletedAt: Int32Array;
  /** Of each row whose answer its target belongs to: 1 the chosen one's, -1 the rejected one's, 0 neither's. */
  readonly side: Int8Array;
  /** Of each sequence the number of its pair; -1 where it has none. */
  readonly pairs: Int32Array;
}

/**
 * Pairs of answers, each in a sequence of its own: the prompt, the chosen answer, the prompt's last token once more, the rejected answer, which
 * sees the prompt and not the chosen one. So the prompt is read once. In each epoch the pairs are shuffled; what a batch holds is a pure
 * function of seed and number.
 */
export class PairSource implements BatchSource<PairBatch> {
  readonly #documents: Documents;
  readonly #options: PackingOptions;
  readonly #training: Uint32Array;
  readonly #validation: Uint32Array;
  #epoch: { readonly number: number; readonly order: Uint32Array } | undefined;

  /**
   * @param documents  pairs as {@link encodeSample} lays them out
   * @throws OptionError for a pair longer than `length`, or where one side of the split has no pair
   */
  constructor(documents: Documents, options: PackingOptions) {
    this.#documents = documents;
    this.#options = options;
    const longest = documents.lengths.reduce((most, length) => Math.max(most, length), 0);
    if (longest > options.length) throw new OptionError("length", `is ${options.length}, and a pair has ${longest} tokens`);
    ({ training: this.#training, validation: this.#validation } = splitDocuments(documents, options));
  }

  get identity(): unknown {
    return { ...this.#documents.identity, packing: this.#options };
  }

  get count(): number {
    return this.#documents.lengths.length;
  }

  get validationDocuments(): number {
    return this.#validation.length;
  }

  training(number: number): PairBatch {
    const { sequences, seed } = this.#options;
    const perEpoch = this.#training.length;
    const pairs = Array.from({ length: sequences }, (_, i) => {
      const at = number * sequences + i;
      const epoch = Math.floor(at / perEpoch);
      if (this.#epoch?.number !== epoch) this.#epoch = { number: epoch, order: permutation(perEpoch, seed, "documents", epoch) };
      return this.#training[this.#epoch.order[at % perEpoch]!]!;
    });
    return this.read(pairs);
  }

  *validation(maxPairs: number): Generator<PairBatch> {
    const { sequences } = this.#options;
    const pairs = [...this.#validation.subarray(0, maxPairs)];
    for (let at = 0; at < pairs.length; at += sequences) yield this.read(pairs.slice(at, at + sequences));
  }

  /** These pairs in one pass, at most as many as it has sequences. */
  read(pairs: readonly number[]): PairBatch {
    const { sequences, length } = this.#options;
    const rows = sequences * length;
    const batch = {
      ids: new Int32Array(rows),
      documents: new Int32Array(rows).fill(-1),
      positions: new Int32Array(rows),
      deletedAt: new Int32Array(rows).fill(rows),
      targets: new Int32Array(rows),
      isTarget: new Uint8Array(rows),
      side: new Int8Array(rows),
      pairs: new Int32Array(sequences).fill(-1),
    };
    for (const [sequence, pair] of pairs.entries()) {
      const count = this.#documents.lengths[pair]!;
      const ids = new Int32Array(count);
      const isLearned = new Uint8Array(count);
      this.#documents.read(pair, 0, ids, isLearned);
      const first = sequence * length;
      const numPrompt = isLearned.indexOf(1);
      const again = isLearned.indexOf(0, numPrompt); // the prompt's last token, once more
      if (numPrompt < 1 || again < 0 || again + 1 >= count)
        throw new RangeError(`internal: pair ${pair} has no two answers after a prompt`);
      batch.pairs[sequence] = pair;
      for (const [i, id] of ids.entries()) {
        const row = first + i;
        batch.ids[row] = id;
        batch.documents[row] = pair;
        batch.positions[row] = i < again ? i : i - again + numPrompt - 1;
        if (i >= numPrompt - 1 && i < again) batch.deletedAt[row] = first + again;
        if (i + 1 >= count || isLearned[i + 1] === 0) continue;
        batch.targets[row] = ids[i + 1]!;
        batch.isTarget[row] = 1;
        batch.side[row] = i < again ? 1 : -1;
      }
    }
    return { ...batch, targetCount: pairs.length, tokenCount: batch.isTarget.reduce((sum, one) => sum + one, 0), from: pairs };
  }
}
