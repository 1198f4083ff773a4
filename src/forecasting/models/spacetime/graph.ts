import {
  add,
  affine,
  concat,
  contiguous,
  div,
  expand,
  linear,
  mul,
  narrow,
  permute,
  reshape,
  sub,
  sumLast,
  type Tensor,
  unary,
} from "../../../tensor/index.ts";
import type { NetworkShape, TensorName } from "./network.ts";

/** Values that the graph needs and nobody trains; F = L + 1 frequencies of a transform over 2L places. */
export interface Constants {
  /** [d, d] ones above the diagonal */
  readonly shift: Tensor;
  /** [1, d] one at 0 */
  readonly first: Tensor;
  /** [d · d, d] one in row (r, j) at r + d - 1 - j, where that is < d */
  readonly moves: Tensor;
  /** [F, L] the transform's real and imaginary part */
  readonly cosine: Tensor;
  readonly sine: Tensor;
  /** [L, F] and back */
  readonly backCosine: Tensor;
  readonly backSine: Tensor;
  /** [S, L] impulse responses of the fixed filters */
  readonly filters: Tensor;
}

export interface Outputs {
  /** [B, H] */
  readonly forecast: Tensor;
  /** [B, L] one-step forecasts: of values 1 … L - 1 and of the first one ahead */
  readonly fitted: Tensor;
  /** [S, B, L - 1] the decoder's inputs 1 … L - 1, and what it expected */
  readonly inputs: Tensor;
  readonly expected: Tensor;
}

/**
 * The network as a differentiable graph; `runNetwork` is its definition. Kernels come from powers of the companion matrices by doubling, and
 * convolutions are products of discrete Fourier transforms, which are matrix products here: both are large products, which is what a
 * processor does best, where the recurrence would be hundreds of small operations.
 *
 * @param values   [B, L]
 * @param weights  the trained tensors, of the shapes in `tensorShapes`
 */
export function network(
  values: Tensor,
  weights: (name: TensorName) => Tensor,
  constants: Constants,
  { channels, state, lookback }: NetworkShape,
  horizon: number,
): Outputs {
  const batch = values.shape[0]!;
  const row = (name: TensorName) => reshape(l1Normalized(weights(name)), [channels, 1, state]);
  const input = expand(reshape(values, [1, batch, lookback]), [channels, batch, lookback]);
  const spectrum = (x: Tensor) => transform(x, constants);
  const convolve = (x: Spectrum, response: Tensor) => transformBack(product(x, spectrum(response)), constants); // [S, B, L]

  const encoder = companion(row("encoderA"), constants);
  const response = linear(row("encoderB"), powers(row("encoderC"), encoder, lookback)); // [S, 1, L]
  const filtered = convolve(spectrum(response), reshape(constants.filters, [channels, 1, lookback]));
  const encoded = rows(unary("gelu", convolve(spectrum(input), filtered))); // [B·L, S]
  const mixed = add(linear(encoded, weights("mixWeight")), weights("mixBias"));
  const decoded = add(input, channelsFirst(mixed, batch, lookback)); // [S, B, L]

  const [a, b, c, k] = [row("decoderA"), row("decoderB"), row("decoderC"), row("decoderK")];
  const decoder = companion(a, constants);
  const observed = expand(reshape(constants.first, [1, 1, state]), [channels, 1, state]);
  const starts = concat(concat(c, k, 1), observed, 1);
  const kernels = reshape(linear(b, powers(starts, decoder, lookback)), [channels, lookback, 3]);
  const kernel = (index: number) => reshape(contiguous(narrow(kernels, 2, index, 1)), [channels, 1, lookback]);
  const decodedSpectrum = spectrum(decoded);
  const [outputs, expected, first] = [0, 1, 2].map((index) => convolve(decodedSpectrum, kernel(index))) as [Tensor, Tensor, Tensor];
  const end = stateAfter(decoded, first, a, b, constants); // [S, B, d]
  const closed = add(decoder, mul(column(b), k)); // A + B K
  const ahead = linear(end, powers(c, closed, horizon)); // [S, B, H]
  const head = (x: Tensor, length: number) => {
    const summed = linear(rows(unary("gelu", x)), weights("headWeight")); // [B·T, 1]
    return reshape(add(summed, weights("headBias")), [batch, length]);
  };
  return {
    forecast: head(ahead, horizon),
    fitted: head(outputs, lookback),
    inputs: contiguous(narrow(decoded, 2, 1, lookback - 1)),
    expected: contiguous(narrow(expected, 2, 0, lookback - 1)),
  };
}

export const l1Normalized = (x: Tensor): Tensor => div(x, sumLast(unary("abs", x)));

/** [S, 1, d] -> [S, d, d], the same in every column */
export function column(x: Tensor): Tensor {
  const [channels, , state] = x.shape as [number, number, number];
  return expand(reshape(x, [channels, state, 1]), [channels, state, state]);
}

/** x'_r = x_(r+1) + a_r x_0 as matrices: [S, 1, d] -> [S, d, d]. */
export function companion(a: Tensor, { shift, first }: Constants): Tensor {
  const [, state] = shift.shape as [number, number];
  return add(mul(column(a), reshape(first, [1, 1, state])), reshape(shift, [1, state, state]));
}

/** v Mⁿ for n < length and each row v of `starts`, by doubling: [S, r, d], [S, d, d] -> [S, length · r, d], all rows of n before those of n + 1. */
export function powers(starts: Tensor, matrix: Tensor, length: number): Tensor {
  const perPower = starts.shape[1]!;
  let done = starts;
  let power = matrix;
  while (done.shape[1]! < length * perPower) {
    const across = contiguous(permute(power, [0, 2, 1]));
    done = concat(done, linear(done, across), 1);
    power = linear(power, across);
  }
  return contiguous(narrow(done, 1, 0, length * perPower));
}

/** Real and imaginary part, [S, B, F]. */
type Spectrum = readonly [real: Tensor, imaginary: Tensor];

const transform = (x: Tensor, { cosine, sine }: Constants): Spectrum => [linear(x, cosine), linear(x, sine)];

const transformBack = ([real, imaginary]: Spectrum, { backCosine, backSine }: Constants): Tensor =>
  add(linear(real, backCosine), linear(imaginary, backSine));

/** y's axis B may have length 1. */
const product = ([xr, xi]: Spectrum, [yr, yi]: Spectrum): Spectrum => [sub(mul(xr, yr), mul(xi, yi)), add(mul(xr, yi), mul(xi, yr))];

/**
 * The state after the last input: x_r = Σ_m a_(r+m) s_(L-1-m) + b_(r+m) u_(L-1-m), s being the observed coordinate before each input.
 *
 * @param inputs    [S, B, L], L > d
 * @param observed  [S, B, L] the observed coordinate after each input
 * @param a         [S, 1, d], as b
 */
function stateAfter(inputs: Tensor, observed: Tensor, a: Tensor, b: Tensor, { moves }: Constants): Tensor {
  const [channels, , state] = a.shape as [number, number, number];
  const length = inputs.shape[2]!;
  const recent = contiguous(narrow(inputs, 2, length - state, state)); // [S, B, d]
  const before = contiguous(narrow(observed, 2, length - state - 1, state));
  // [S, d, d] with a_(r + d - 1 - j) in row r, column j
  const reach = (x: Tensor) => reshape(linear(reshape(x, [channels, state]), moves), [channels, state, state]);
  return add(linear(before, reach(a)), linear(recent, reach(b)));
}

/** [S, B, T] -> [B·T, S] */
function rows(x: Tensor): Tensor {
  const [channels, batch, length] = x.shape as [number, number, number];
  return reshape(contiguous(permute(x, [1, 2, 0])), [batch * length, channels]);
}

/** [B·T, S] -> [S, B, T] */
const channelsFirst = (x: Tensor, batch: number, length: number): Tensor =>
  contiguous(permute(reshape(x, [batch, length, x.shape[1]!]), [2, 0, 1]));

/** The square root of the mean squared difference, [1, 1]. */
export function rootMeanSquare(x: Tensor, y: Tensor): Tensor {
  const count = x.shape.reduce((total, length) => total * length, 1);
  const squares = reshape(unary("sqr", sub(x, y)), [1, count]);
  return unary("sqrt", affine(sumLast(squares), 1 / count, 1e-12));
}

/** Columns from `from` on: [B, n] -> [B, n - from]. */
export const tail = (x: Tensor, from: number): Tensor => contiguous(narrow(x, 1, from, x.shape[1]! - from));
