/**
 * A form of exponential smoothing: how error, trend and season enter. N none, A additive, M multiplicative.
 *
 * @see Hyndman, Koehler, Ord & Snyder 2008, Forecasting with Exponential Smoothing, table 2.2 and 2.3, https://doi.org/10.1007/978-3-540-71918-2
 */
export interface EtsForm {
  readonly error: "A" | "M";
  readonly trend: "N" | "A" | "M";
  readonly damped: boolean;
  readonly season: "N" | "A" | "M";
}

/** "ETS(A,Ad,M)" */
export function formName({ error, trend, damped, season }: EtsForm): string {
  return `ETS(${error},${trend}${damped ? "d" : ""},${season})`;
}

/** The inverse of `formName`, for forms that are stable; undefined for anything else. */
export function formOf(name: string): EtsForm | undefined {
  return stableForms.find((form) => formName(form) === name);
}

/** Needs values > 0. */
export function isMultiplicative({ error, trend, season }: EtsForm): boolean {
  return error === "M" || trend === "M" || season === "M";
}

/**
 * The 19 forms that are numerically stable, simplest first. Left out: additive errors with a multiplicative trend or season
 * (division by a state near zero), and M,M,A and M,Md,A (infinite forecast variance). Same restriction as ets() of R's
 * forecast package.
 */
export const stableForms: readonly EtsForm[] = (["N", "A", "M"] as const).flatMap((season) =>
  (["N", "A", "Ad", "M", "Md"] as const).flatMap((trend) =>
    (["A", "M"] as const).flatMap((error) => {
      const form: EtsForm = { error, trend: trend[0] as "N" | "A" | "M", damped: trend.length === 2, season };
      const unstable = error === "A" ? form.trend === "M" || season === "M" : form.trend === "M" && season === "A";
      return unstable ? [] : [form];
    }),
  ),
);
