import { OptionError } from "../errors.ts";
import { type Documents, type PackedBatch, Packing, type PackingOptions } from "./data/batches.ts";
import { type Purpose, uniform } from "./random.ts";
import { type ActionBatch, unrollActions, withMistakes } from "./sequence-match.ts";
import type { BatchSource } from "./trainer.ts";

export interface ActionOptions extends PackingOptions {
  /** Part of the learned tokens before which a wrong one is written and taken back, in [0, 1). */
  readonly rate: number;
  readonly backspace: number;
  readonly endTokens: ReadonlySet<number>;
  readonly vocabSize: number;
}

/**
 * Packed texts as actions: before some tokens a wrong one and a backspace, each a row more, laid out so that a row sees only what is alive in its
 * state. The window of text is so much shorter that the mistakes find room; where more are drawn than find it, the last ones are left out. A wrong
 * token is read and not learned; the backspace after it is.
 */
export class ActionSource implements BatchSource<ActionBatch> {
  readonly #packing: Packing;
  readonly #options: ActionOptions;
  /** Tokens of text in a sequence. */
  readonly #window: number;

  constructor(documents: Documents, options: ActionOptions) {
    const { length, rate, sequences, seed, validation } = options;
    if (!(rate >= 0 && rate < 1)) throw new OptionError("rate", `must be in [0, 1), got ${rate}`);
    this.#window = Math.floor((length - 1) / (1 + 2 * rate)); // one row is for the state after the window's last action
    if (this.#window < 2) throw new OptionError("length", `${length} rows have no room for two tokens and their mistakes`);
    this.#packing = new Packing(documents, { sequences, length: this.#window, seed, validation });
    this.#options = options;
  }

  get identity(): unknown {
    const { length, rate, backspace } = this.#options;
    return { packing: this.#packing.identity, length, rate, backspace };
  }

  get validationDocuments(): number {
    return this.#packing.validationDocuments;
  }

  training(number: number): ActionBatch {
    return this.#unroll(this.#packing.training(number), "mistakes", number);
  }

  *validation(maxWindows: number): Generator<ActionBatch> {
    let number = 0;
    for (const batch of this.#packing.validation(maxWindows)) yield this.#unroll(batch, "held-out mistakes", number++);
  }

  #unroll(packed: PackedBatch, purpose: Purpose, stream: number): ActionBatch {
    const { sequences, length, seed, rate, backspace, vocabSize, endTokens } = this.#options;
    const count = sequences * length;
    const rows = {
      ids: new Int32Array(count),
      documents: new Int32Array(count).fill(-1),
      positions: new Int32Array(count),
      deletedAt: new Int32Array(count).fill(count),
      targets: new Int32Array(count),
      isTarget: new Uint8Array(count),
      nextRow: new Int32Array(count).fill(-1),
    };
    let draws = 0;
    const draw = () => uniform(seed, purpose, stream, draws++);
    for (let sequence = 0; sequence < sequences; sequence += 1) {
      let start = sequence * length;
      let room = Math.floor((length - 1 - this.#window) / 2);
      for (const { document, tokens, isLearned } of partsOf(packed, sequence * this.#window, this.#window)) {
        const actions: number[] = [];
        const learned: boolean[] = [];
        for (const [index, token] of tokens.entries()) {
          if (index === 0) continue;
          const wrong = isLearned[index]! && room > 0 ? withMistakes([token], { rate, vocabSize, backspace, draw }) : [token];
          if (wrong.length > 1) room -= 1;
          actions.push(...wrong);
          learned.push(...wrong.map((_, place) => isLearned[index]! && (wrong.length === 1 || place > 0)));
        }
        const unrolled = unrollActions([tokens[0]!], actions, backspace);
        const size = unrolled.ids.length;
        rows.ids.set(unrolled.ids, start);
        rows.positions.set(unrolled.positions, start);
        rows.documents.fill(document, start, start + size);
        for (const [row, at] of unrolled.deletedAt.entries()) rows.deletedAt[start + row] = at < size ? start + at : count;
        for (const [index, action] of actions.entries()) {
          rows.targets[start + index] = action;
          rows.isTarget[start + index] = learned[index] ? 1 : 0;
          rows.nextRow[start + index] = endTokens.has(action) ? -1 : start + index + 1;
        }
        start += size;
      }
    }
    const targetCount = rows.isTarget.reduce((sum, one) => sum + one, 0);
    return { ...rows, isData: new Uint8Array(count).fill(1), targetCount, from: packed.from };
  }
}

interface Part {
  readonly document: number;
  readonly tokens: readonly number[];
  readonly isLearned: readonly boolean[];
}

/** Stretches of one document in a window of rows, each with the token after its last row where that is learned. */
function* partsOf({ ids, documents, targets, isTarget }: PackedBatch, from: number, length: number): Generator<Part> {
  for (let row = from; row < from + length; ) {
    const document = documents[row]!;
    if (document < 0) return; // padding: the rest of the last window
    const tokens = [ids[row]!];
    const isLearned = [false];
    for (;;) {
      const isLast = row + 1 === from + length || documents[row + 1] !== document;
      if (isLast && isTarget[row] === 0) break;
      tokens.push(targets[row]!);
      isLearned.push(isTarget[row] === 1);
      if (isLast) break;
      row += 1;
    }
    yield { document, tokens, isLearned };
    row += 1;
  }
}
