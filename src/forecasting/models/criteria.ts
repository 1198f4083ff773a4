/** Information criteria from the deviance, as R's forecast defines them; AICc is Infinity where no freedom is left. */
export function criteria(deviance: number, numParameters: number, numValues: number): { aic: number; aicc: number; bic: number } {
  const aic = deviance + 2 * numParameters;
  const left = numValues - numParameters - 1;
  return {
    aic,
    aicc: left > 0 ? aic + (2 * numParameters * (numParameters + 1)) / left : Number.POSITIVE_INFINITY,
    bic: deviance + Math.log(numValues) * numParameters,
  };
}
