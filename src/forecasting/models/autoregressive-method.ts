import { checkHistory, gaussian, type Method } from "./fitted-model.ts";
import { latest } from "./latest.ts";
import { saturated } from "./magnitude.ts";
import type { Fields } from "./saved-state.ts";

const parameterSchema = { constant: "number", coefficients: "numbers", sigma: "number?" } as const;
/** The last p values, oldest first. */
const stateSchema = { recent: "numbers" } as const;

/** y_t = c + Σ φ_i y_(t-i) + e_t, however it was fitted. */
export type Autoregression = Fields<typeof parameterSchema>;

/** What every autoregression does once it has its coefficients: forecasts are iterated, errors are normal. */
export function autoregressiveMethod(
  name: string,
  describe: (parameters: Autoregression) => string,
): Method<typeof parameterSchema, typeof stateSchema> {
  return {
    name,
    version: 1,
    parameters: parameterSchema,
    state: stateSchema,
    describe,
    check({ coefficients }, { recent }) {
      if (recent.length !== coefficients.length) throw new RangeError(`${recent.length} recent values for order ${coefficients.length}`);
    },
    begin({ coefficients }, history) {
      const order = coefficients.length;
      checkHistory(name, history, order);
      return { recent: history.values.slice(history.values.length - order) };
    },
    advance: ({ coefficients }, { recent }, values) => ({ recent: latest(recent, values, coefficients.length) }),
    predict({ constant, coefficients, sigma }, { recent }, horizon) {
      const mean = iterate(constant, coefficients, recent, horizon);
      return sigma === undefined ? { mean } : gaussian(mean, deviations(coefficients, sigma, horizon));
    },
  };
}

/**
 * Forecasts [H], each computed from those before it. An explosive model ends at the largest double.
 *
 * @param recent  [p], oldest first
 */
export function iterate(constant: number, coefficients: Float64Array, recent: Float64Array, horizon: number): Float64Array {
  const order = coefficients.length;
  const path = new Float64Array(order + horizon);
  path.set(recent);
  for (let t = order; t < path.length; t++) {
    let sum = constant;
    for (let lag = 1; lag <= order; lag++) sum += coefficients[lag - 1]! * path[t - lag]!;
    // Terms beyond 1e308 of both signs have no sum; halved often enough they do.
    path[t] = Number.isFinite(sum) ? sum : saturated(sumOfHuge(constant, coefficients, path, t));
  }
  return path.slice(order);
}

function sumOfHuge(constant: number, coefficients: Float64Array, path: Float64Array, t: number): number {
  const down = 2 ** -600;
  let sum = constant * down;
  for (let lag = 1; lag <= coefficients.length; lag++) sum += coefficients[lag - 1]! * (path[t - lag]! * down);
  if (Number.isNaN(sum)) return Math.sign(path[t - 1]!) * Number.MAX_VALUE;
  return sum / down;
}

/** sd_h = σ √(ψ₀² + … + ψ_(h-1)²), ψ being the reaction to one error: ψ₀ = 1, ψ_j = Σ φ_i ψ_(j-i). */
function deviations(coefficients: Float64Array, sigma: number, horizon: number): Float64Array {
  const psi = new Float64Array(horizon);
  psi[0] = 1;
  let sum = 0;
  return psi.map((_, j) => {
    if (j > 0) {
      let reaction = 0;
      for (let lag = 1; lag <= Math.min(j, coefficients.length); lag++) reaction += coefficients[lag - 1]! * psi[j - lag]!;
      psi[j] = Math.max(-1e150, Math.min(1e150, reaction)); // its square must stay a number
    }
    sum += psi[j]! ** 2;
    return Math.min(sigma * Math.sqrt(sum), Number.MAX_VALUE);
  });
}
