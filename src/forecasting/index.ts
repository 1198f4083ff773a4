export type { ModelScore } from "./choose.ts";
export { isTrainedModel } from "./combination.ts";
export {
  describeFrequency,
  describeUnderstood,
  formatTime,
  type LoadedTable,
  type LoadOptions,
  loadTable,
  parseFrequency,
  type TableSource,
  tableColumns,
  timeAt,
  type Understood,
} from "./data/index.ts";
export { FittedTable, loadForecasts, type SavedTable, type SeriesForecast } from "./fitted-table.ts";
export {
  type BacktestOptions,
  type BacktestResult,
  backtest,
  type CoverageFact,
  type ForecastResult,
  forecast,
  type Progress,
} from "./forecast.ts";
export type { MissingRule } from "./missing.ts";
export { type ForecasterName, forecasters, inContext } from "./models/index.ts";
export { type FanChart, fanChart } from "./report/fan-chart.ts";
export { htmlReport } from "./report/html.ts";
export { shownHistory } from "./report/shown-history.ts";
export { terminalChart } from "./report/terminal-chart.ts";
export { describeBacktest, describeForecasts } from "./report/text.ts";
export type {
  Covariate,
  FitProgress,
  FitTask,
  FittedForecaster,
  Forecast,
  Forecaster,
  ForecastingMethod,
  Frequency,
  History,
  ParameterSpec,
  ParameterValue,
  ParameterValues,
  SavedForecaster,
  Series,
  TimeGrid,
  TrainedForecaster,
} from "./types.ts";
