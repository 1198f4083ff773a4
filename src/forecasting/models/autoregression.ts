import { OptionError } from "../../errors.ts";
import type { FittedForecaster, Forecaster, History, ParameterSpec, ParameterValues } from "../types.ts";
import { type Autoregression, autoregressiveMethod } from "./autoregressive-method.ts";
import { fitEach, fittedModel, loadFitted } from "./fitted-model.ts";
import { LeastSquares } from "./householder-qr.ts";
import { divided, magnitudeOf, saturated } from "./magnitude.ts";

const method = autoregressiveMethod("ar", ({ coefficients }) => `AR(${coefficients.length}) with constant`);

const criterionNames = ["aicc", "aic", "bic", "hqic"] as const;
type CriterionName = (typeof criterionNames)[number];

const parameterSpecs = {
  order: { kind: "integer", min: 0, summary: "number of lags; left out, it is chosen by the criterion" },
  maxOrder: {
    kind: "integer",
    min: 0,
    summary: "largest order tried; default max(⌊10 log10 N⌋, period + 1), at most a third of the history",
  },
  criterion: { kind: "choice", values: criterionNames, default: "aicc", summary: "what chooses the order" },
} as const satisfies Record<string, ParameterSpec>;

/**
 * Autoregression with a constant, y_t = c + Σ φ_i y_(t-i) + e_t, by least squares (conditional maximum likelihood), solved by
 * Householder's triangularization. Orders are compared on the same N - maxOrder rows, from one factorization; the chosen one is fitted
 * to all its N - p rows. The log-likelihood is that of normal errors with the maximum-likelihood variance; the criteria count
 * p + 2 parameters. Errors for the intervals have RSS / (rows - p - 1) as variance. Forecasts are iterated.
 */
export const autoregression: Forecaster = {
  name: "ar",
  summary: "autoregression by least squares, order by AICc",
  source: {
    title: "Hamilton 1994, Time Series Analysis, 5.2 (conditional maximum likelihood)",
    url: "https://doi.org/10.2307/j.ctv14jx6sm",
  },
  parameters: parameterSpecs,
  shared: false,
  minimumLength: () => 1,
  fit(histories, task, parameters = {}) {
    return fitEach("ar", autoregression.minimumLength, (history) => fitOne(history, parameters))(histories, task);
  },
  load: (saved) => loadFitted(method, saved),
};

function fitOne(history: History, options: ParameterValues): FittedForecaster {
  const { values } = history;
  const scale = magnitudeOf(values);
  const scaled = divided(values, scale);
  const center = scaled.reduce((sum, value) => sum + value, 0) / scaled.length;
  const centered = scaled.map((value) => value - center);
  const order = orderFor(centered, history.seasonalPeriod, options);
  const rows = centered.length - order;
  const system = new LeastSquares(design(centered, order, order), centered.slice(order));
  const solution = system.solve(order + 1);
  const coefficients = solution.slice(1);
  const sumOfCoefficients = coefficients.reduce((sum, value) => sum + value, 0);
  const constant = (solution[0]! + center * (1 - sumOfCoefficients)) * scale;
  const rss = system.residualSumOfSquares(order + 1);
  const freedom = rows - order - 1;
  const parameters: Autoregression = {
    constant: saturated(constant),
    coefficients,
    sigma: freedom > 0 ? saturated(Math.sqrt(rss / freedom) * scale) : undefined,
  };
  const fitted = new Float64Array(values.length).fill(Number.NaN);
  for (let t = order; t < values.length; t++) {
    let sum = solution[0]!;
    for (let lag = 1; lag <= order; lag++) sum += coefficients[lag - 1]! * centered[t - lag]!;
    fitted[t] = saturated((sum + center) * scale);
  }
  // a perfect fit has an infinite likelihood: errors of the last bits stand for none
  const variance = Math.max(rss / rows, 1e-30);
  const logLikelihood = (-rows / 2) * (Math.log(2 * Math.PI * variance) + 1 + 2 * Math.log(scale));
  const numParameters = order + 2;
  const aic = 2 * numParameters - 2 * logLikelihood;
  const left = rows - numParameters - 1;
  return fittedModel(method, parameters, method.begin(parameters, history), {
    logLikelihood,
    aic,
    ...(left > 0 ? { aicc: aic + (2 * numParameters * (numParameters + 1)) / left } : {}),
    bic: Math.log(rows) * numParameters - 2 * logLikelihood,
    fitted,
  });
}

/** Columns [1 + order, N - skipped]: ones, then lag 1 … lag `order`, for the rows from `skipped` on. */
function design(values: Float64Array, order: number, skipped: number): Float64Array {
  const rows = values.length - skipped;
  const columns = new Float64Array((order + 1) * rows);
  columns.fill(1, 0, rows);
  for (let lag = 1; lag <= order; lag++) columns.set(values.subarray(skipped - lag, values.length - lag), lag * rows);
  return columns;
}

function orderFor(centered: Float64Array, period: number, { order, maxOrder, criterion = "aicc" }: ParameterValues): number {
  const numValues = centered.length;
  if (typeof order === "number") {
    if (maxOrder !== undefined) throw new OptionError("maxOrder", "has no meaning beside order");
    if (numValues < 2 * order + 1)
      throw new OptionError("order", `${order} lags and a constant need ${2 * order + 1} values, the history has ${numValues}`);
    return order;
  }
  const usual = Math.max(Math.floor(10 * Math.log10(numValues)), period + 1);
  const largest = Math.min(typeof maxOrder === "number" ? maxOrder : usual, Math.floor(numValues / 3));
  const rows = numValues - largest;
  const system = new LeastSquares(design(centered, largest, largest), centered.slice(largest));
  let best = { order: 0, value: Number.POSITIVE_INFINITY };
  for (let p = 0; p <= largest; p++) {
    const variance = Math.max(system.residualSumOfSquares(p + 1) / rows, 1e-30);
    const value = rows * Math.log(variance) + penalty(criterion as CriterionName, p + 2, rows);
    if (value < best.value) best = { order: p, value };
  }
  return best.order;
}

function penalty(criterion: CriterionName, numParameters: number, rows: number): number {
  const left = rows - numParameters - 1;
  switch (criterion) {
    case "aic":
      return 2 * numParameters;
    case "aicc":
      return left > 0 ? 2 * numParameters + (2 * numParameters * (numParameters + 1)) / left : Number.POSITIVE_INFINITY;
    case "bic":
      return Math.log(rows) * numParameters;
    case "hqic":
      return 2 * Math.log(Math.log(rows)) * numParameters;
    default:
      return criterion satisfies never;
  }
}
