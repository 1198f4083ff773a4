import type { TokenId } from "../token.ts";
import type { Engine } from "./engine.ts";
import type { CostCurve } from "./sequence.ts";

/** Row counts at which the curve is measured: where passes are padded to. */
export const curveRows = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32] as const;

export interface CurvePoints {
  readonly singleRowMs: number;
  readonly points: readonly { readonly rows: number; readonly ratio: number }[];
}

/**
 * Measures T(n)/T(1) on this engine: passes of n rows that continue one sequence, the counts alternated in rounds, the median of
 * each count's ratio to the single row of its round. Takes a second or two on a small model.
 *
 * @param options.rounds   rounds after one to warm up; default 5
 * @param options.entries  length of the sequence that is continued; default 128
 */
export async function measureCostCurve(
  engine: Engine,
  options: { rounds?: number; entries?: number; signal?: AbortSignal } = {},
): Promise<CurvePoints> {
  const { rounds = 5, entries = Math.min(128, Math.floor(engine.contextLength / 2)), signal } = options;
  const { vocabSize } = engine.model.config;
  const tokens = (count: number) => Array.from({ length: count }, (_, index) => ((index * 7919 + 13) % vocabSize) as TokenId);
  using sequence = engine.sequence();
  const abort = signal === undefined ? {} : { signal };
  await sequence.forward({ input: tokens(entries), ...abort });
  const counts = curveRows.filter((rows) => entries + rows <= engine.contextLength);
  const times = new Map<number, number[]>(counts.map((rows) => [rows, []]));
  for (let round = 0; round <= rounds; round += 1) {
    for (const rows of counts) {
      const { cost } = await sequence.forward({ input: tokens(rows), want: { logits: "all", top: 1 }, ...abort });
      sequence.rewind(entries);
      if (round > 0) times.get(rows)!.push(cost.computeMs);
    }
  }
  const single = times.get(1)!;
  const points = counts.map((rows) => ({ rows, ratio: median(times.get(rows)!.map((ms, round) => ms / single[round]!)) }));
  return { singleRowMs: median(single), points };
}

/** A curve over measured points: linear between them and beyond the last. */
export function costCurve({ singleRowMs, points }: CurvePoints): CostCurve {
  const [first] = points;
  if (first === undefined || first.rows !== 1) throw new RangeError("internal: a cost curve begins at one row");
  return {
    singleRowMs,
    points,
    ratio(rows) {
      if (!(rows >= 1)) throw new RangeError(`rows must be >= 1, got ${rows}`);
      const after = points.findIndex((point) => point.rows >= rows);
      const right = points[after === -1 ? points.length - 1 : Math.max(after, 1)] ?? first;
      const left = points[points.indexOf(right) - 1] ?? first;
      if (right === left) return first.ratio * rows;
      return left.ratio + ((rows - left.rows) / (right.rows - left.rows)) * (right.ratio - left.ratio);
    },
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
