import { type Deltas, noDeltas } from "../adapters/index.ts";
import { OptionError } from "../errors.ts";
import type { ModelConfig, Pass, Transformer } from "../models/index.ts";
import { add, explicitAttention, input, type Program, permute, recompute, reshape, type Tensor } from "../tensor/index.ts";

// Legend: B sequences, L rows per sequence, N = B·L rows, C hidden size, H heads, K kv heads, D head dim.

export interface ForwardOptions {
  /** B and L. */
  readonly sequences: number;
  readonly length: number;
  /** [N, C] f32, what stands in place of token embeddings: any tensor, of which parts may come from `model.embed`. Default: input `ids`. */
  readonly embeddings?: Tensor;
  /** What adapters add to linear layers and half-blocks; default nothing. */
  readonly deltas?: Deltas;
  /** Keep each block's input only, and compute the block once more for its gradient. Default false. */
  readonly recompute?: boolean;
}

export interface Forward {
  /** The residual stream after each block: [N, C]. */
  readonly states: readonly Tensor[];
  /** After the final norm: [N, C]. `model.head` makes logits of it, or of some of its rows. */
  readonly hidden: Tensor;
}

/**
 * A model without a cache, as a graph that {@link grad} differentiates: by the embeddings, by trained weights, by whatever adapters add.
 *
 * Inputs of a program made of it, which {@link setRows} fills: `ids` [N] i32 (unless embeddings are given), `positions` [N] i32, and a mask
 * [B, 1, L, L] f16 per attention window, `mask` or `mask.<window>`.
 */
export function forward(model: Transformer, options: ForwardOptions): Forward {
  const { sequences, length, deltas = noDeltas } = options;
  for (const [name, value] of Object.entries({ sequences, length }))
    if (!Number.isInteger(value) || value < 1) throw new OptionError(name, `must be a whole number >= 1, got ${value}`);
  const rows = sequences * length;
  const masks = new Map<string, Tensor>();
  const pass: Pass = {
    positions: input("positions", "i32", [rows]),
    linear: deltas.linear,
    attend(block, q, k, v, { scale, softcap = 0 }) {
      const { numHeads, numKvHeads, headDim, slidingWindow } = model.config.blocks[block]!;
      const name = maskName(slidingWindow);
      const mask = masks.get(name) ?? input(name, "f16", [sequences, 1, length, length]);
      masks.set(name, mask);
      const heads = (x: Tensor, count: number) => permute(reshape(x, [sequences, length, count, headDim]), [0, 2, 1, 3]); // [B, heads, L, D]
      const { out } = explicitAttention(heads(q, numHeads), heads(k, numKvHeads), heads(v, numKvHeads), mask, scale, softcap);
      return reshape(out, [rows, numHeads * headDim]); // [B, L, H, D] -> [N, H·D]
    },
  };
  const start = options.embeddings ?? model.embed(input("ids", "i32", [rows]));
  let x = model.position?.(start, pass) ?? start; // [N, C]
  const states: Tensor[] = [];
  for (const [index, { attention, feedForward }] of model.blocks.entries()) {
    const block = (before: Tensor): Tensor => {
      const middle = add(deltas.half(`blocks.${index}.attn`, before, attention(before, pass)), before);
      return add(deltas.half(`blocks.${index}.ffn`, middle, feedForward(middle, pass)), middle);
    };
    x = options.recompute === true ? recompute(block, x) : block(x);
    states.push(x);
  }
  return { states, hidden: model.norm(x) };
}

const maskName = (slidingWindow: number | undefined): string => (slidingWindow === undefined ? "mask" : `mask.${slidingWindow}`);

/** What stands in the rows of one run. Every list has N entries: sequence after sequence. */
export interface Rows {
  /** Token ids; not for a graph over embeddings. */
  readonly ids?: ArrayLike<number>;
  /**
   * Which document a row belongs to; a row sees itself and the earlier rows of its document in its sequence. Default: each sequence is one.
   */
  readonly documents?: ArrayLike<number>;
  /** Default: counted from where the row's document begins in its sequence. */
  readonly positions?: ArrayLike<number>;
  /** Of each row the row from which on no other sees it, as if its token had been taken back; default none: N and more mean never. */
  readonly deletedAt?: ArrayLike<number>;
}

/**
 * Fills the inputs of {@link forward} in a compiled program.
 * @throws RangeError for an id outside the vocabulary or a position outside the context; OptionError for a list of another length, or ids that
 *   are missing or not wanted
 */
export function setRows(
  program: Program,
  config: ModelConfig,
  shape: { readonly sequences: number; readonly length: number },
  data: Rows,
): void {
  const { sequences, length } = shape;
  const rows = sequences * length;
  for (const [name, list] of Object.entries(data) as [string, ArrayLike<number> | undefined][])
    if (list !== undefined && list.length !== rows)
      throw new OptionError(name, `expected one entry for each of ${rows} rows, got ${list.length}`);
  if (program.hasInput("ids") !== (data.ids !== undefined))
    throw new OptionError("ids", data.ids === undefined ? "this graph reads token ids" : "this graph reads embeddings, not token ids");
  if (data.ids !== undefined) fill(program.input<"i32">("ids"), data.ids, config.vocabSize, "token id");
  const documents = data.documents ?? new Int32Array(rows);
  const positions = data.positions ?? documentPositions(documents, sequences, length);
  if (program.hasInput("positions")) fill(program.input<"i32">("positions"), positions, config.contextLength, "position");
  for (const slidingWindow of new Set(config.blocks.map((block) => block.slidingWindow))) {
    const name = maskName(slidingWindow);
    if (program.hasInput(name)) fillMask(program.input<"f16">(name), { ...data, documents, positions }, sequences, length, slidingWindow);
  }
}

function fill(target: Int32Array, values: ArrayLike<number>, end: number, what: string): void {
  for (let i = 0; i < target.length; i += 1) {
    const value = values[i]!;
    if (!(Number.isInteger(value) && value >= 0 && value < end))
      throw new RangeError(`${what} ${value} in row ${i} is outside [0, ${end})`);
    target[i] = value;
  }
}

function documentPositions(documents: ArrayLike<number>, sequences: number, length: number): Int32Array {
  const positions = new Int32Array(sequences * length);
  for (let row = 0; row < positions.length; row += 1)
    positions[row] = row % length > 0 && documents[row] === documents[row - 1] ? positions[row - 1]! + 1 : 0;
  return positions;
}

const hiddenBits = 0xfc00; // -Infinity in f16

function fillMask(
  mask: Uint16Array,
  { documents, positions, deletedAt }: Rows & { readonly documents: ArrayLike<number>; readonly positions: ArrayLike<number> },
  sequences: number,
  length: number,
  slidingWindow = Number.POSITIVE_INFINITY,
): void {
  mask.fill(hiddenBits);
  for (let sequence = 0; sequence < sequences; sequence += 1) {
    const first = sequence * length;
    for (let row = first; row < first + length; row += 1) {
      const at = row * length - first;
      for (let other = first; other <= row; other += 1)
        if (
          documents[other] === documents[row] &&
          positions[row]! - positions[other]! < slidingWindow &&
          (other === row || deletedAt === undefined || deletedAt[other]! > row)
        )
          mask[at + other] = 0;
    }
  }
}
