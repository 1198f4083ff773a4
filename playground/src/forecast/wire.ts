import type { BacktestResult, ParameterSpec, Progress, SeriesForecast, Understood } from "../../../src/forecasting/index.ts";
import type { ForecastRequest, TableRequest } from "../../../src/server/forecast-schemas.ts";

// What the server says and hears of forecasts, as docs/serve.md has it.

export type { CoverageFact, ModelScore } from "../../../src/forecasting/index.ts";
export type { ForecastRequest, Progress, SeriesForecast, TableRequest, Understood };

/** The answer of `POST /v1/forecasts`. A number that is none is null. */
export interface ForecastAnswer extends BacktestResult {
  readonly forecasts: readonly SeriesForecast[];
}

/** The answer of `POST /v1/forecasts/table`. */
export interface TableAnswer {
  readonly columns: readonly string[];
  /** Absent where there is a problem. */
  readonly understood?: Understood;
  readonly series: readonly ShownSeries[];
  /** Why it can't be understood as it is, with the option that may help. */
  readonly problem?: { readonly message: string; readonly param: string | null };
}

/** Last steps of a series; null is missing. */
export interface ShownSeries {
  readonly series: string;
  readonly time: readonly string[];
  readonly values: readonly (number | null)[];
}

export type ForecastEvent = { readonly understood: Understood } | { readonly progress: Progress } | { readonly answer: ForecastAnswer };

/** One of `GET /v1/forecasts/models`. */
export interface ForecastModel {
  readonly name: string;
  readonly summary: string;
  readonly source: { readonly title: string; readonly url: string };
  readonly isOnRequest: boolean;
  readonly parameters: Readonly<Record<string, ParameterSpec>>;
}
