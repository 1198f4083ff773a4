import { type AdapterStacks, noDeltas } from "../adapters/index.ts";
import { UnsupportedError } from "../errors.ts";
import type { Pass, Transformer } from "../models/index.ts";
import {
  add,
  attention,
  explicitAttention,
  gather,
  input,
  mul,
  permute,
  reshape,
  setRows,
  softmax,
  sub,
  type Tensor,
  window,
} from "../tensor/index.ts";
import { pieceLength } from "./candidates.ts";
import type { KvCache } from "./kv-cache.ts";
import type { Structure } from "./structure.ts";

// Legend: S streams, R rows per stream, N = S·R rows, C cells, E hidden size, O output rows, V vocabulary size.

/** Maps that injections name: [N, E] -> [N, E]. */
export type StateMaps = ReadonlyMap<string, (state: Tensor) => Tensor>;

/** Name of the mask for a sliding window; rows that see everything use "mask". */
export const maskName = (slidingWindow: number | undefined): string => (slidingWindow === undefined ? "mask" : `mask.${slidingWindow}`);

/** Tap names of one block, in the order in which a pass reaches them. */
export const blockTaps = ["resid_pre", "attn.pattern", "attn_out", "resid_mid", "mlp_out", "resid_post"] as const;

/** @throws UnsupportedError naming a tap that the model has not */
export function checkTaps(model: Transformer, taps: readonly string[]): void {
  for (const tap of taps) {
    const match = /^blocks\.(\d+)\.(.+)$/.exec(tap);
    const known = match !== null && Number(match[1]) < model.config.blocks.length && (blockTaps as readonly string[]).includes(match[2]!);
    if (!known)
      throw new UnsupportedError(`no tap "${tap}"; taps are blocks.<0..${model.config.blocks.length - 1}>.{${blockTaps.join(",")}}`);
  }
}

/**
 * A part of a pass: half-blocks [from, to), counted as {@link halfIndex} does; the index after the last one stands for the final norm and the
 * head. A part that does not begin with the embedding reads the residual stream from the input `x` [N, E]; one that does not end with the
 * head gives it as the output `x`.
 */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Place of a half-block in the order of the pass: 2 i for `blocks.<i>.attn`, 2 i + 1 for `blocks.<i>.ffn`. */
export function halfIndex(half: string): number {
  const [, block, kind] = half.split(".");
  return 2 * Number(block) + (kind === "ffn" ? 1 : 0);
}

/**
 * The graph of a pass, or of a part of one, which also gives the residual stream around each feed-forward half: `ffn.<i>.before` (unless that
 * is its input) and `ffn.<i>.after` [N, E]. Inputs: `ids` [N] or `embeddings` [N, E], `positions` [N], `cells` [N], masks [S, 1, R, C], `outputs` [O] and per injection
 * `inject.<tap>` [N, E] or [N, 1], `inject.<tap>.from` [N], and those of adapters. Outputs: `logits`, `shares`, `state`, taps and exits by name.
 * `halves`: what each half-block adds to the residual stream, [N, E]; [O, E] where the last feed-forward half runs for the outputs only.
 */
export function buildPass(
  model: Transformer,
  cache: KvCache,
  structure: Structure,
  { maps, adapters }: { readonly maps: StateMaps; readonly adapters: AdapterStacks },
  span?: Span,
): { outputs: Record<string, Tensor>; effects: readonly Tensor[]; halves: ReadonlyMap<string, Tensor> } {
  const { streams, rows, cells } = structure;
  const { hiddenSize } = model.config;
  const N = streams * rows;
  const deltas = structure.adapters.length === 0 ? noDeltas : adapters.deltas(structure.adapters, N);
  const positions = input("positions", "i32", [N]);
  const cellRows = input("cells", "i64", [N]);
  const masks = new Map<string, Tensor>();
  const outputs: Record<string, Tensor> = {};
  const tapped = new Set(structure.taps);
  const injections = new Map(structure.injections.map((injection) => [injection.tap, injection]));
  const skipped = new Set(structure.skipped);

  const last = model.config.blocks.length - 1;
  const writes: Tensor[] = []; // computed whatever is asked for: later passes read them
  const pass: Pass = {
    positions,
    linear: deltas.linear,
    attend(block, q, k, v, { scale, softcap = 0 }) {
      const { numHeads, numKvHeads, headDim, slidingWindow } = model.config.blocks[block]!;
      const name = maskName(slidingWindow);
      const mask = masks.get(name) ?? input(name, "f16", [streams, 1, rows, cells]);
      masks.set(name, mask);
      const stored = cache.block(block);
      const view = { streams, cells, heads: numKvHeads, headDim, rowsPerStream: cache.shape.cells };
      const heads = (x: Tensor) => permute(x, [0, 2, 1, 3]); // [S, rows or cells, heads, D] -> [S, heads, rows or cells, D]
      const remember = (all: Tensor, rowsOf: Tensor) => {
        const written = setRows(all, reshape(rowsOf, [N, numKvHeads * headDim]), cellRows);
        writes.push(written);
        return heads(window(written, view));
      };
      const keys = remember(stored.keys, k); // [S, K, C, D]
      const values = remember(stored.values, v);
      const queries = heads(reshape(q, [streams, rows, numHeads, headDim])); // [S, H, R, D]
      const patternTap = `blocks.${block}.attn.pattern`;
      if (tapped.has(patternTap)) {
        const { out, pattern } = explicitAttention(queries, keys, values, mask, scale, softcap);
        outputs[patternTap] = pattern; // [S, H, R, C]
        return reshape(out, [N, numHeads * headDim]);
      }
      return reshape(attention(queries, keys, values, mask, scale, softcap), [N, numHeads * headDim]);
    },
  };

  /** A named point of the residual stream: something may be added there, and it may be an output. */
  const point = (name: string, x: Tensor): Tensor => {
    const { map, moves = false } = injections.get(name) ?? {};
    let y = x;
    if (map !== undefined && moves) {
      const state = maps.get(map)!(gather(x, input(`inject.${name}.from`, "i32", [N])));
      y = add(x, mul(sub(state, x), input(`inject.${name}`, "f32", [N, 1])));
    } else if (map === "identity") y = add(x, input(`inject.${name}`, "f32", [N, hiddenSize]));
    else if (map !== undefined) y = add(x, mul(maps.get(map)!(x), input(`inject.${name}`, "f32", [N, 1])));
    if (tapped.has(name)) outputs[name] = y;
    return y;
  };

  const outputRows = structure.outputs > 0 ? input("outputs", "i32", [structure.outputs]) : undefined;
  const select = (x: Tensor) => (outputRows === undefined || structure.outputs === N ? x : gather(x, outputRows)); // [N, E] -> [O, E]
  const finish = (prefix: string, x: Tensor): void => {
    const state = model.norm(x);
    if (!structure.head) {
      outputs[`${prefix}state`] = state;
      return;
    }
    const logits = model.head(state); // [O, V]
    if (prefix === "") outputs.state = state;
    outputs[`${prefix}logits`] = logits;
    outputs[`${prefix}shares`] = sharesOf(logits);
  };

  const end = 2 * model.config.blocks.length;
  const { from, to } = span ?? { from: 0, to: end + 1 };
  const runs = (half: number) => half >= from && half < to;
  const embedded = () => {
    const start = structure.input === "tokens" ? model.embed(input("ids", "i32", [N])) : input("embeddings", "f32", [N, hiddenSize]);
    return model.position?.(start, pass) ?? start;
  };
  let x = from === 0 ? embedded() : input("x", "f32", [N, hiddenSize]); // [N, E]
  let selected = false;
  const halves = new Map<string, Tensor>();
  const added = (name: string, from: Tensor, out: Tensor) => {
    const delta = deltas.half(name, from, out);
    halves.set(name, delta);
    return delta;
  };
  model.blocks.forEach(({ attention: attend, feedForward }, block) => {
    const at = `blocks.${block}`;
    x = point(`${at}.resid_pre`, x);
    if (runs(2 * block) && !skipped.has(`${at}.attn`)) {
      let delta = point(`${at}.attn_out`, added(`${at}.attn`, x, attend(x, pass)));
      // the last block's feed-forward half is computed for the rows that are asked for only
      const early = block === last && outputRows !== undefined && structure.outputs < N && to > end && !wantsAllRows(structure, at);
      if (early) {
        delta = select(delta);
        x = select(x);
        selected = true;
      }
      x = add(delta, x);
    }
    x = point(`${at}.resid_mid`, x);
    if (runs(2 * block + 1) && !skipped.has(`${at}.ffn`)) {
      const before = x;
      x = add(point(`${at}.mlp_out`, added(`${at}.ffn`, x, feedForward(x, pass))), x);
      if (span !== undefined && !selected) {
        if (from < 2 * block + 1) outputs[`ffn.${block}.before`] = before;
        outputs[`ffn.${block}.after`] = x;
      }
    }
    x = point(`${at}.resid_post`, x);
    if (structure.exits.includes(block)) finish(`exit.${block}.`, select(x));
  });
  if (to <= end) outputs.x = x;
  else if (structure.outputs > 0) finish("", selected ? x : select(x));
  // nothing is asked for: the last block need not be computed beyond what it writes to the cache
  if (Object.keys(outputs).length === 0 && writes.length === 0) outputs.end = x;
  return { outputs, effects: writes, halves };
}

/** Whether something after the last block's attention needs every row: adapters' choices are given for all. */
function wantsAllRows({ taps, exits, injections, adapters }: Structure, lastBlock: string): boolean {
  if (adapters.length > 0) return true;
  const after = ["resid_mid", "mlp_out", "resid_post"].map((name) => `${lastBlock}.${name}`);
  return exits.length > 0 || after.some((name) => taps.includes(name) || injections.some(({ tap }) => tap === name));
}

/** The softmax of each piece of each row of logits [O, V], in the same order. */
export function sharesOf(logits: Tensor): Tensor {
  const [rows, vocabSize] = logits.shape as [number, number];
  const piece = pieceLength(vocabSize);
  return softmax(reshape(logits, [(rows * vocabSize) / piece, piece]));
}
