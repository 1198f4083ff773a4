/** A linear classifier on the model's last states: how probable it is that the finished answer has an attribute. */
export interface AttributeHead {
  readonly name: string;
  /** [C], for states after the final norm. */
  readonly weights: readonly number[];
  readonly bias: number;
  /** How it was made and how well it does on answers that it was not fitted on. */
  readonly facts: {
    /** Answers with and without the attribute that it was fitted on. */
    readonly numGood: number;
    readonly numBad: number;
    /** The share of pairs (with, without) that it orders rightly, of states of held-out answers; 0.5 is chance. */
    readonly auc: number;
    readonly accuracy: number;
    readonly numHeldOut: number;
  };
}

/** log σ(w · state + bias), <= 0. @param state  [C] */
export function headLogprob({ weights, bias }: AttributeHead, state: Float32Array): number {
  const logit = weights.reduce((sum, weight, channel) => sum + weight * state[channel]!, bias);
  return logit >= 0 ? -Math.log1p(Math.exp(-logit)) : logit - Math.log1p(Math.exp(logit));
}

/** Whether a value read from a file is a head for states of `size` channels. */
export function isAttributeHead(value: unknown, size: number): value is AttributeHead {
  const { name, weights, bias, facts } = (value ?? {}) as Partial<AttributeHead>;
  return (
    typeof name === "string" &&
    Array.isArray(weights) &&
    weights.length === size &&
    [...weights, bias].every(Number.isFinite) &&
    [facts?.auc, facts?.accuracy, facts?.numGood, facts?.numBad, facts?.numHeldOut].every(Number.isFinite)
  );
}

/** States with what is known of them. */
export interface LabelledStates {
  /** Each [C]. */
  readonly states: readonly Float32Array[];
  /** Whether the answer that the state belongs to has the attribute. */
  readonly labels: readonly boolean[];
}

/**
 * The weights and bias that minimize the mean log loss, both classes counting alike, + l2/2 · |weights of the standardized
 * channels|². Convex, so the minimum is one; found by Nesterov's method from zero, so the same states give the same head.
 *
 * @throws RangeError where one of the two classes is missing
 */
export function fitLogistic({ states, labels }: LabelledStates, l2 = 0.1): { readonly weights: number[]; readonly bias: number } {
  const numGood = labels.filter((label) => label).length;
  if (numGood === 0 || numGood === labels.length) throw new RangeError("fitting needs states of both kinds");
  const size = states[0]!.length;
  const { mean, scale } = channelStatistics(states);
  const rows = states.map((state) =>
    Float64Array.from({ length: size }, (_, channel) => (state[channel]! - mean[channel]!) * scale[channel]!),
  );
  const shares = labels.map((label) => 0.5 / (label ? numGood : labels.length - numGood));
  const step = 1 / (0.25 * largestEigenvalue(rows, shares) + l2);
  let parameters = new Float64Array(size + 1); // the last one is the bias
  let ahead = parameters;
  for (let iteration = 1; iteration <= maxIterations; iteration++) {
    const gradient = gradientAt(ahead, rows, labels, shares, l2);
    const next = ahead.map((value, index) => value - step * gradient[index]!);
    const momentum = (iteration - 1) / (iteration + 2);
    ahead = next.map((value, index) => value + momentum * (value - parameters[index]!));
    parameters = next;
    if (gradient.every((value) => Math.abs(value) < 1e-9)) break;
  }
  const weights = Array.from({ length: size }, (_, channel) => parameters[channel]! * scale[channel]!);
  const bias = parameters[size]! - weights.reduce((sum, weight, channel) => sum + weight * mean[channel]!, 0);
  return { weights, bias };
}

const maxIterations = 3000;

function gradientAt(
  parameters: Float64Array,
  rows: readonly Float64Array[],
  labels: readonly boolean[],
  shares: readonly number[],
  l2: number,
): Float64Array {
  const size = parameters.length - 1;
  const gradient = new Float64Array(size + 1);
  for (const [index, row] of rows.entries()) {
    let logit = parameters[size]!;
    for (let channel = 0; channel < size; channel++) logit += parameters[channel]! * row[channel]!;
    const error = shares[index]! * (1 / (1 + Math.exp(-logit)) - (labels[index] ? 1 : 0));
    for (let channel = 0; channel < size; channel++) gradient[channel]! += error * row[channel]!;
    gradient[size]! += error;
  }
  for (let channel = 0; channel < size; channel++) gradient[channel]! += l2 * parameters[channel]!;
  return gradient;
}

/** Of Σ share · (row, 1)(row, 1)ᵀ, by the power method; a little more, so that a step by it never overshoots. */
function largestEigenvalue(rows: readonly Float64Array[], shares: readonly number[]): number {
  const size = rows[0]!.length;
  let vector = new Float64Array(size + 1).fill(1);
  let value = 1;
  for (let round = 0; round < 50; round++) {
    const image = new Float64Array(size + 1);
    for (const [index, row] of rows.entries()) {
      let dot = vector[size]!;
      for (let channel = 0; channel < size; channel++) dot += vector[channel]! * row[channel]!;
      dot *= shares[index]!;
      for (let channel = 0; channel < size; channel++) image[channel]! += dot * row[channel]!;
      image[size]! += dot;
    }
    value = Math.hypot(...image);
    vector = image.map((entry) => entry / value);
  }
  return 1.1 * value;
}

/** Mean and 1 / standard deviation of each channel; a constant channel has scale 0. */
function channelStatistics(states: readonly Float32Array[]): { mean: Float64Array; scale: Float64Array } {
  const size = states[0]!.length;
  const [mean, scale] = [new Float64Array(size), new Float64Array(size)];
  for (const state of states) for (let channel = 0; channel < size; channel++) mean[channel]! += state[channel]! / states.length;
  for (const state of states)
    for (let channel = 0; channel < size; channel++) scale[channel]! += (state[channel]! - mean[channel]!) ** 2 / states.length;
  return { mean, scale: scale.map((variance) => (variance === 0 ? 0 : 1 / Math.sqrt(variance))) };
}

/** The share of pairs (good, bad) of which the good one has the larger score; a tie counts half. NaN where a class is missing. */
export function areaUnderCurve(scores: readonly number[], labels: readonly boolean[]): number {
  const order = [...scores.keys()].sort((a, b) => scores[a]! - scores[b]!);
  let [rankSum, numGood] = [0, 0];
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to < order.length && scores[order[to]!] === scores[order[from]!]) to++;
    for (let place = from; place < to; place++) {
      if (!labels[order[place]!]) continue;
      numGood++;
      rankSum += (from + 1 + to) / 2; // ranks from 1; those that tie share their mean
    }
    from = to;
  }
  const numBad = scores.length - numGood;
  return (rankSum - (numGood * (numGood + 1)) / 2) / (numGood * numBad);
}
