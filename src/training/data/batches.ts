import { OptionError } from "../../errors.ts";
import { permutation, uniform } from "../random.ts";

/** Tokenized documents, in a file or in memory. */
export interface Documents {
  /** Tokens of each. */
  readonly lengths: Uint32Array;
  /** What they depend on, for comparing runs. */
  readonly identity: Readonly<Record<string, unknown>>;
  /** Tokens [from, from + ids.length) of a document, and whether each is learned. */
  read(document: number, from: number, ids: Int32Array, isLearned: Uint8Array): void;
}

/** Rows of one pass: N = sequences · length of each. */
export interface PassRows {
  /** Unless the model reads embeddings. */
  readonly ids?: Int32Array;
  /** Default: each sequence is one. */
  readonly documents?: Int32Array;
  /** Default: counted from where a document begins in its sequence. */
  readonly positions?: Int32Array;
  /** The row from which on a row is no longer seen; default: never. */
  readonly deletedAt?: Int32Array;
  /** What a step's loss is the mean over: tokens that are learned, values, or pairs of answers. */
  readonly targetCount: number;
  /** Tokens that are learned, where the targets are something else. */
  readonly tokenCount?: number;
  /** Documents that take part, for messages. */
  readonly from: readonly number[];
}

/** Rows of tokens. */
export interface Batch extends PassRows {
  readonly ids: Int32Array;
  readonly documents: Int32Array;
  /** The token after each row's; anything where the weight is 0. */
  readonly targets: Int32Array;
  /** 1 where the next token is learned, 0 at a document's end, in what is read only, and in padding. */
  readonly isTarget: Uint8Array;
}

export interface PackedBatch extends Batch {
  /** Of each row the place of its token in its document. */
  readonly places: Int32Array;
}

export interface PackingOptions {
  readonly sequences: number;
  readonly length: number;
  readonly seed: number;
  /** Part of the documents held out, in [0, 0.5]. */
  readonly validation: number;
}

/** @throws OptionError */
export function checkHeldOutPart(validation: number): void {
  if (!(validation >= 0 && validation <= 0.5)) throw new OptionError("validation", `must be in [0, 0.5], got ${validation}`);
}

/** Which documents are learned and which are held out. @throws OptionError where none is left to learn */
export function splitDocuments(
  { lengths }: Documents,
  { validation, seed }: Pick<PackingOptions, "validation" | "seed">,
): { readonly training: Uint32Array; readonly validation: Uint32Array } {
  checkHeldOutPart(validation);
  const all = Uint32Array.from(lengths, (_, i) => i);
  const isHeldOut = (document: number) => uniform(seed, "split", 0, document) < validation;
  const training = all.filter((document) => !isHeldOut(document));
  if (training.length === 0) throw new OptionError("validation", `holds out all of ${all.length} documents`);
  return { training, validation: all.filter(isHeldOut) };
}

/**
 * Documents laid end to end and cut into windows of `length` tokens, none lost: a window's rows see only their own document. In each epoch the
 * documents and then the windows are shuffled. What a batch holds is a pure function of seed and number, so a run can go on anywhere.
 */
export class Packing {
  readonly #file: Documents;
  readonly #options: PackingOptions;
  readonly #training: Uint32Array;
  readonly #validation: Uint32Array;
  #epoch: { readonly number: number; readonly windows: Windows; readonly order: Uint32Array } | undefined;

  /** @throws OptionError where one side of the split has no document */
  constructor(file: Documents, options: PackingOptions) {
    this.#file = file;
    this.#options = options;
    ({ training: this.#training, validation: this.#validation } = splitDocuments(file, options));
  }

  /** What the batches depend on, for comparing runs. */
  get identity(): unknown {
    return { ...this.#file.identity, packing: this.#options };
  }

  get trainingDocuments(): number {
    return this.#training.length;
  }

  get validationDocuments(): number {
    return this.#validation.length;
  }

  /** Windows of one epoch. */
  get windowsPerEpoch(): number {
    return Math.ceil(this.#training.reduce((sum, document) => sum + this.#file.lengths[document]!, 0) / this.#options.length);
  }

  /** The training batch of this number, from 0. */
  training(number: number): PackedBatch {
    const { sequences } = this.#options;
    const perEpoch = this.windowsPerEpoch;
    const places: { windows: Windows; window: number }[] = [];
    for (let at = number * sequences; at < (number + 1) * sequences; at += 1) {
      const { windows, order } = this.#epochOf(Math.floor(at / perEpoch));
      places.push({ windows, window: order[at % perEpoch]! });
    }
    return this.#read(places);
  }

  /** The first held-out windows, in the order of the file; fewer where there are fewer. */
  *validation(maxWindows: number): Generator<PackedBatch> {
    if (this.#validation.length === 0) return;
    const windows = new Windows(this.#validation, this.#file.lengths, this.#options.length);
    const count = Math.min(maxWindows, windows.count);
    for (let at = 0; at < count; at += this.#options.sequences)
      yield this.#read(Array.from({ length: Math.min(this.#options.sequences, count - at) }, (_, i) => ({ windows, window: at + i })));
  }

  #epochOf(number: number) {
    if (this.#epoch?.number === number) return this.#epoch;
    const { seed, length } = this.#options;
    const order = permutation(this.#training.length, seed, "documents", number);
    const windows = new Windows(
      order.map((place) => this.#training[place]!),
      this.#file.lengths,
      length,
    );
    this.#epoch = { number, windows, order: permutation(windows.count, seed, "windows", number) };
    return this.#epoch;
  }

  #read(places: readonly { windows: Windows; window: number }[]): PackedBatch {
    const { sequences, length } = this.#options;
    const rows = sequences * length;
    const batch = {
      ids: new Int32Array(rows),
      documents: new Int32Array(rows).fill(-1),
      places: new Int32Array(rows),
      targets: new Int32Array(rows),
      isTarget: new Uint8Array(rows),
    };
    const from = new Set<number>();
    for (const [sequence, { windows, window }] of places.entries()) {
      let row = sequence * length;
      for (const { document, start, count } of windows.parts(window)) {
        // one token more than is read here, where the document has one: the last row's target
        const available = Math.min(count + 1, this.#file.lengths[document]! - start);
        const ids = new Int32Array(available);
        const isLearned = new Uint8Array(available);
        this.#file.read(document, start, ids, isLearned);
        from.add(document);
        for (let i = 0; i < count; i += 1, row += 1) {
          batch.ids[row] = ids[i]!;
          batch.documents[row] = document;
          batch.places[row] = start + i;
          if (i + 1 >= available) continue;
          batch.targets[row] = ids[i + 1]!;
          batch.isTarget[row] = isLearned[i + 1]!;
        }
      }
    }
    return { ...batch, targetCount: batch.isTarget.reduce((sum, one) => sum + one, 0), from: [...from] };
  }
}

/** Where windows of one length lie in documents laid end to end. */
class Windows {
  readonly count: number;
  readonly #documents: Uint32Array;
  readonly #ends: Float64Array;
  readonly #length: number;

  constructor(documents: Uint32Array, lengths: Uint32Array, length: number) {
    this.#documents = documents;
    this.#length = length;
    this.#ends = new Float64Array(documents.length);
    let end = 0;
    for (const [place, document] of documents.entries()) {
      end += lengths[document]!;
      this.#ends[place] = end;
    }
    this.count = Math.ceil(end / length);
  }

  *parts(window: number): Generator<{ document: number; start: number; count: number }> {
    const total = this.#ends.at(-1)!;
    let at = window * this.#length;
    const end = Math.min(at + this.#length, total);
    let place = this.#placeOf(at);
    while (at < end) {
      const documentEnd = this.#ends[place]!;
      const start = at - (place === 0 ? 0 : this.#ends[place - 1]!);
      const count = Math.min(end, documentEnd) - at;
      yield { document: this.#documents[place]!, start, count };
      at += count;
      place += 1;
    }
  }

  /** The first document that ends behind a position. */
  #placeOf(position: number): number {
    let [low, high] = [0, this.#ends.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ends[middle]! > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
