import type { SeriesScore } from "./backtest.ts";
import { type Combination, combinationName } from "./combination.ts";
import { finiteMean } from "./metrics.ts";

/** A row of the table by which a model is chosen: means over the series that the model could be fitted to. */
export interface ModelScore {
  readonly model: string;
  readonly series: number;
  readonly windows: number;
  readonly mse: number;
  readonly mae: number;
  readonly mase: number;
  readonly smape: number;
  /** Weighted quantile loss over the deciles: of the model's own distribution, where it has one, over all windows; */
  readonly wql?: number;
  /** and of the conformal intervals made from earlier windows, over the windows that have at least five before them. */
  readonly conformalWql?: number;
  /** 1 - MASE / MASE of seasonal naive, on the series that both could forecast: above 0 is better. */
  readonly skill: number;
}

export interface Choice {
  readonly model: string;
  readonly because: string;
  /** Best first. */
  readonly table: readonly ModelScore[];
}

/** Scores of one model on each series; undefined where it could not be fitted. */
export type ModelScores = readonly (SeriesScore | undefined)[];

/** An average must be better than its best member by this much to be worth its cost and its opacity. */
const ensembleGain = 0.01;

export const reference = "seasonal-naive";

/** The table, best MASE first (MAE where no series has a scale). Models that could be fitted to no series are left out. */
export function scoreTable(scores: ReadonlyMap<string, ModelScores>): readonly ModelScore[] {
  const base = scores.get(reference) ?? [];
  const rows = [...scores].flatMap(([model, list]): ModelScore[] => {
    const scored = list.filter((score) => score !== undefined && score.windows > 0) as readonly SeriesScore[];
    if (scored.length === 0) return [];
    const mean = (key: keyof SeriesScore) => finiteMean(scored.map((score) => score[key] ?? Number.NaN));
    const [wql, conformalWql] = [mean("wql"), mean("conformalWql")];
    const windows = scored.reduce((sum, score) => sum + score.windows, 0);
    return [
      {
        ...{ model, series: scored.length, windows, mse: mean("mse"), mae: mean("mae"), mase: mean("mase"), smape: mean("smape") },
        ...(!Number.isNaN(wql) && { wql }),
        ...(!Number.isNaN(conformalWql) && { conformalWql }),
        skill: skill(list, base),
      },
    ];
  });
  const size = (row: ModelScore) => (Number.isNaN(row.mase) ? row.mae : row.mase);
  return rows.sort((a, b) => size(a) - size(b));
}

/** On common series only: a model that fails on the hard ones gains nothing by it. */
function skill(list: ModelScores, base: ModelScores): number {
  const common = list.flatMap((score, index) =>
    score !== undefined && base[index] !== undefined && !Number.isNaN(score.mase + base[index].mase)
      ? [[score.mase, base[index].mase] as const]
      : [],
  );
  const [own, other] = [finiteMean(common.map(([mase]) => mase)), finiteMean(common.map(([, mase]) => mase))];
  return other > 0 ? 1 - own / other : own === 0 ? 0 : Number.NaN;
}

/**
 * The best model of a table that can be fitted to as many series as any, has a skill above 0, and, as an average, is better than its
 * best member by 1 %. Where nothing beats seasonal naive, seasonal naive, be it that some series are too short for it.
 *
 * @param isAverage  names of averages in the table
 */
export function choose(table: readonly ModelScore[], isAverage: (model: string) => boolean): { model: string; because: string } {
  const most = Math.max(...table.map(({ series }) => series));
  const complete = table.filter(({ series }) => series === most);
  const single = complete.find(({ model, skill }) => !isAverage(model) && skill > 0);
  const average = complete.find(({ model, skill }) => isAverage(model) && skill > 0);
  const percent = (part: number) => `${(100 * part).toFixed(1)} %`;
  if (average !== undefined && (single === undefined || average.mase < single.mase * (1 - ensembleGain))) {
    return {
      model: average.model,
      because: `lowest MASE of the backtest; the average is ${percent(single === undefined ? average.skill : 1 - average.mase / single.mase)} better than ${single?.model ?? reference}`,
    };
  }
  if (single !== undefined)
    return { model: single.model, because: `lowest MASE of the backtest, ${percent(single.skill)} below seasonal naive` };
  const fallback = table.find(({ model }) => model === reference);
  if (fallback !== undefined) return { model: reference, because: "no model beats seasonal naive in the backtest" };
  return { model: complete[0]!.model, because: "lowest error of the backtest; seasonal naive could not be fitted to any series" };
}

/** The models whose average is tried: up to three best single ones with a skill above 0. */
export function ensembleMembers(table: readonly ModelScore[], candidates: readonly Combination[]): Combination | undefined {
  const most = Math.max(...table.map(({ series }) => series));
  const names = table.filter(({ series, skill }) => series === most && skill > 0).slice(0, 3);
  const members = names.flatMap(({ model }) => candidates.find((candidate) => combinationName(candidate) === model) ?? []);
  return members.length >= 2 ? members : undefined;
}
