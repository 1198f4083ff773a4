import type { TokenId } from "../token.ts";
import type { Engine } from "./engine.ts";
import type { CostCurve } from "./sequence.ts";

/** Row counts at which the curve is measured: where passes are padded to. */
export const curveRows = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32] as const;

/** Lengths of the sequence at which curves are measured: what its entries cost grows with the rows of a pass. */
export const curveEntries = [128, 512, 2048] as const;

export interface CurvePoints {
  /** Length of the sequence that was continued. */
  readonly entries: number;
  readonly singleRowMs: number;
  readonly points: readonly { readonly rows: number; readonly ratio: number }[];
}

/**
 * Measures T(n)/T(1) on this engine: passes of n rows that continue one sequence, the counts alternated in rounds, the median of
 * each count's ratio to the single row of its round. Takes a second or two on a small model.
 *
 * @param entries         length of the sequence that is continued
 * @param options.rounds  rounds after one to warm up; default 5
 */
export async function measureCostCurve(
  engine: Engine,
  entries: number,
  options: { rounds?: number; signal?: AbortSignal } = {},
): Promise<CurvePoints> {
  const { rounds = 5, signal } = options;
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
  return { entries, singleRowMs: median(single), points };
}

/** What a curve would be at another length, by two that were measured: the time of each number of rows is linear in the length. */
export function curveAt(entries: number, shorter: CurvePoints, longer: CurvePoints): CurvePoints {
  const share = (entries - shorter.entries) / (longer.entries - shorter.entries);
  const between = (a: number, b: number) => a + share * (b - a);
  const singleRowMs = between(shorter.singleRowMs, longer.singleRowMs);
  const points = shorter.points.flatMap(({ rows, ratio }) => {
    const other = longer.points.find((point) => point.rows === rows);
    return other === undefined
      ? []
      : [{ rows, ratio: between(ratio * shorter.singleRowMs, other.ratio * longer.singleRowMs) / singleRowMs }];
  });
  return { entries, singleRowMs, points };
}

/** A curve over measured points. Passes are padded to these numbers of rows; beyond the last it goes on as between the last two. */
export function costCurve({ singleRowMs, points }: Pick<CurvePoints, "singleRowMs" | "points">): CostCurve {
  const [first] = points;
  if (first === undefined || first.rows !== 1) throw new RangeError("internal: a cost curve begins at one row");
  return {
    singleRowMs,
    points,
    ratio(rows) {
      if (!(rows >= 1)) throw new RangeError(`rows must be >= 1, got ${rows}`);
      const padded = points.find((point) => point.rows >= rows);
      if (padded !== undefined) return padded.ratio;
      const [left, right] = points.slice(-2);
      if (right === undefined) return first.ratio * rows;
      return left!.ratio + ((rows - left!.rows) / (right.rows - left!.rows)) * (right.ratio - left!.ratio);
    },
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
