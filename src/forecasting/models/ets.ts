import { OptionError } from "../../errors.ts";
import type { FittedForecaster, Forecaster, History, ParameterSpec, ParameterValues } from "../types.ts";
import { criteria } from "./criteria.ts";
import { etsPrediction, pointForecasts } from "./ets-distribution.ts";
import { chooseForm, type EtsCandidate, fitForm, type HeldSmoothing } from "./ets-fit.ts";
import { type EtsForm, formName, formOf, isMultiplicative, stableForms } from "./ets-form.ts";
import { EtsRecursion } from "./ets-recursion.ts";
import { checkHistory, fitEach, fittedModel, loadFitted, type Method } from "./fitted-model.ts";
import { divided, magnitudeOf, saturated } from "./magnitude.ts";
import type { Fields } from "./saved-state.ts";

const parameterSchema = {
  form: "text",
  period: "integer",
  alpha: "number",
  beta: "number?",
  gamma: "number?",
  phi: "number?",
  sigma: "number?",
} as const;
const stateSchema = { level: "number", growth: "number", season: "numbers" } as const;
type EtsParameters = Fields<typeof parameterSchema>;
type EtsEnd = Fields<typeof stateSchema>;

const method: Method<typeof parameterSchema, typeof stateSchema> = {
  name: "ets",
  version: 1,
  parameters: parameterSchema,
  state: stateSchema,
  describe: ({ form }) => form,
  check(parameters, { season }) {
    const form = formOf(parameters.form);
    if (form === undefined) throw new RangeError(`unknown form ${parameters.form}`);
    if (season.length !== (form.season === "N" ? 0 : parameters.period)) throw new RangeError(`${season.length} seasonal states`);
    if ((form.trend === "N") !== (parameters.beta === undefined)) throw new RangeError("beta belongs to a form with a trend");
    if ((form.season === "N") !== (parameters.gamma === undefined)) throw new RangeError("gamma belongs to a form with a season");
    if (form.damped !== (parameters.phi !== undefined)) throw new RangeError("phi belongs to a form with a damped trend");
    if (!(parameters.alpha > 0 && parameters.alpha < 1)) throw new RangeError("alpha is not between 0 and 1");
  },
  /** Smoothing parameters stay; the start states are estimated on the history. */
  begin(parameters, history) {
    const form = formOf(parameters.form)!;
    checkHistory(`ets: ${parameters.form}`, history, shortestFor(form, parameters.period));
    checkPositive(form, history.values);
    const scale = magnitudeOf(history.values);
    const fit = fitForm(form, divided(history.values, scale), parameters.period, shares(parameters));
    return scaledEnd(form, fit.recursion.run(fit.x), scale);
  },
  advance(parameters, state, values) {
    const form = formOf(parameters.form)!;
    const scale = Math.max(magnitudeOf(values), magnitudeOf(Float64Array.of(state.level)));
    const recursion = new EtsRecursion(form, divided(values, scale), parameters.period, scaledSeason(form, state.season, scale));
    const x = new Float64Array(recursion.size);
    const { alpha, betaShare, gammaShare, phi } = shares(parameters);
    x[0] = alpha!;
    if (recursion.iBeta >= 0) x[recursion.iBeta] = betaShare!;
    if (recursion.iGamma >= 0) x[recursion.iGamma] = gammaShare!;
    if (recursion.iPhi >= 0) x[recursion.iPhi] = phi!;
    x[recursion.iLevel] = state.level / scale;
    if (recursion.iGrowth >= 0) x[recursion.iGrowth] = form.trend === "M" ? state.growth : state.growth / scale;
    const run = recursion.run(x);
    if (run.deviance === Number.POSITIVE_INFINITY) {
      throw new RangeError(`ets: the new values take ${parameters.form}, which needs positive values, to zero or below; fit again`);
    }
    return scaledEnd(form, run, scale);
  },
  predict({ form: name, alpha, beta = 0, gamma = 0, phi = 1, sigma }, state, horizon) {
    const form = formOf(name)!;
    const scale = magnitudeOf(
      Float64Array.of(state.level, form.trend === "A" ? state.growth : 0, ...(form.season === "A" ? state.season : [])),
    );
    const start = {
      level: state.level / scale,
      growth: form.trend === "M" ? state.growth : state.growth / scale,
      season: scaledSeason(form, state.season, scale),
    };
    const raise = (values: Float64Array) => values.map((value) => saturated(value * scale));
    if (sigma === undefined) return { mean: raise(pointForecasts(form, phi, start, horizon)) };
    const relative = form.error === "M" ? sigma : sigma / scale;
    const prediction = etsPrediction(form, { alpha, beta, gamma, phi }, start, relative, horizon);
    return { mean: raise(prediction.mean), quantile: (probability) => raise(prediction.quantile!(probability)) };
  },
};

function shares({ alpha, beta, gamma, phi }: EtsParameters): HeldSmoothing {
  return {
    alpha,
    ...(beta === undefined ? {} : { betaShare: beta / alpha }),
    ...(gamma === undefined ? {} : { gammaShare: gamma / (1 - alpha) }),
    ...(phi === undefined ? {} : { phi }),
  };
}

function scaledSeason(form: EtsForm, season: Float64Array, scale: number): Float64Array {
  return form.season === "A" ? divided(season, scale) : season;
}

function scaledEnd(form: EtsForm, end: EtsEnd, scale: number): EtsEnd {
  return {
    level: saturated(end.level * scale),
    growth: form.trend === "A" ? saturated(end.growth * scale) : end.growth,
    season: form.season === "A" ? end.season.map((s) => saturated(s * scale)) : end.season,
  };
}

/** With fewer values a season can't be told from a trend. */
function shortestFor(form: EtsForm, period: number): number {
  return form.season === "N" ? 2 : Math.max(4, period + 1);
}

function checkPositive(form: EtsForm, values: Float64Array): void {
  if (!isMultiplicative(form)) return;
  const index = values.findIndex((value) => !(value > 0));
  if (index >= 0) throw new RangeError(`ets: ${formName(form)} needs positive values, the one at index ${index} is ${values[index]}`);
}

const parameterSpecs = {
  error: { kind: "choice", values: ["auto", "additive", "multiplicative"], default: "auto", summary: "how errors enter" },
  trend: {
    kind: "choice",
    values: ["auto", "none", "additive", "additive-damped", "multiplicative", "multiplicative-damped"],
    default: "auto",
    summary: "auto tries all but the multiplicative ones, which extrapolate too boldly",
  },
  season: { kind: "choice", values: ["auto", "none", "additive", "multiplicative"], default: "auto", summary: "how the season enters" },
} as const satisfies Record<string, ParameterSpec>;

const source = {
  title: "Hyndman, Koehler, Ord & Snyder 2008, Forecasting with Exponential Smoothing: The State Space Approach",
  url: "https://doi.org/10.1007/978-3-540-71918-2",
};

/**
 * Exponential smoothing in state space form. Smoothing parameters and start states maximize the likelihood; the form is the one with
 * the smallest AICc among those that `parameters` allow and whose forecasts over the task's horizon, from places inside the history, seasonal
 * naive doesn't beat. Likelihood and criteria leave out the constant, as R's forecast does:
 * log L = -½ (N log Σe² + 2 Σ log f), the second term for multiplicative errors only. A history of 2 values gets a level alone.
 */
export const ets: Forecaster = {
  name: "ets",
  summary: "exponential smoothing, form by AICc",
  source,
  parameters: parameterSpecs,
  shared: false,
  minimumLength: () => 2,
  fit(histories, task, parameters = {}) {
    const forms = formsFor(parameters);
    return fitEach("ets", ets.minimumLength, (history) => fitOne(history, forms, task.horizon))(histories, task);
  },
  load: (saved) => loadFitted(method, saved),
};

/** The stable forms that the options leave. */
function formsFor({ error = "auto", trend = "auto", season = "auto" }: ParameterValues): readonly EtsForm[] {
  const forms = stableForms.filter((form) => {
    const formTrend = `${words[form.trend]}${form.damped ? "-damped" : ""}`;
    if (trend === "auto" ? form.trend === "M" : formTrend !== trend) return false;
    return (error === "auto" || words[form.error] === error) && (season === "auto" || words[form.season] === season);
  });
  if (forms.length > 0) return forms;
  const stable = stableForms.map(formName).join(" ");
  throw new OptionError("error", `no stable form has ${error} errors, ${trend} trend and ${season} season; the stable ones: ${stable}`);
}

const words = { N: "none", A: "additive", M: "multiplicative" } as const;

function fitOne(history: History, forms: readonly EtsForm[], horizon: number): FittedForecaster {
  const { values, seasonalPeriod: period } = history;
  const scale = magnitudeOf(values);
  const legal = forms.filter((form) => form.season === "N" || (period > 1 && values.length >= shortestFor(form, period)));
  if (legal.length === 0) {
    throw new OptionError("season", `${values.length} values with a season of ${period} are too few for ${forms.map(formName).join(" ")}`);
  }
  if (legal.every(isMultiplicative)) checkPositive(legal[0]!, values);
  const best = chooseForm(legal, divided(values, scale), period, horizon);
  if (best === undefined) throw new RangeError(`ets: none of ${legal.map(formName).join(" ")} can be fitted to ${values.length} values`);
  return fittedEts(best, values, period, scale);
}

function fittedEts({ recursion, x, numParameters }: EtsCandidate, values: Float64Array, period: number, scale: number): FittedForecaster {
  const { form, iBeta, iGamma, iPhi } = recursion;
  const fitted = new Float64Array(values.length);
  const run = recursion.run(x, fitted);
  const alpha = x[0]!;
  const freedom = values.length - (numParameters - 1);
  const sigma = freedom > 0 ? Math.sqrt(run.sumSquares / freedom) : undefined;
  const deviance = run.deviance + 2 * values.length * Math.log(scale);
  const parameters: EtsParameters = {
    form: formName(form),
    period,
    alpha,
    beta: iBeta < 0 ? undefined : alpha * x[iBeta]!,
    gamma: iGamma < 0 ? undefined : (1 - alpha) * x[iGamma]!,
    phi: iPhi < 0 ? undefined : x[iPhi]!,
    sigma: sigma === undefined ? undefined : form.error === "M" ? sigma : saturated(sigma * scale),
  };
  return fittedModel(method, parameters, scaledEnd(form, run, scale), {
    logLikelihood: -deviance / 2,
    ...criteria(deviance, numParameters, values.length),
    fitted: fitted.map((value) => saturated(value * scale)),
  });
}
