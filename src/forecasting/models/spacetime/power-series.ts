/** Power series modulo z^n in float64, by the fast Fourier transform: coefficient i at index i. */

/** The first `count` coefficients of x · y. */
export function multiplySeries(x: Float64Array, y: Float64Array, count: number): Float64Array {
  const size = powerOfTwo(x.length + y.length - 1);
  const [xReal, xImaginary] = padded(x, size);
  const [yReal, yImaginary] = padded(y, size);
  transform(xReal, xImaginary, 1);
  transform(yReal, yImaginary, 1);
  for (let k = 0; k < size; k++) {
    const real = xReal[k]! * yReal[k]! - xImaginary[k]! * yImaginary[k]!;
    xImaginary[k] = xReal[k]! * yImaginary[k]! + xImaginary[k]! * yReal[k]!;
    xReal[k] = real;
  }
  transform(xReal, xImaginary, -1);
  const product = new Float64Array(count);
  for (let i = 0; i < Math.min(count, size); i++) product[i] = xReal[i]! / size;
  return product;
}

/**
 * The first `count` coefficients of 1 / f, by Newton's iteration g ← g (2 - f g), which doubles the number that are right.
 *
 * @param f  f[0] must be 1
 */
export function invertSeries(f: Float64Array, count: number): Float64Array {
  let inverse: Float64Array = Float64Array.of(1);
  while (inverse.length < count) {
    const length = Math.min(2 * inverse.length, count);
    const error = multiplySeries(f.subarray(0, length), inverse, length).map((value) => -value);
    error[0]! += 2;
    inverse = multiplySeries(inverse, error, length);
  }
  return inverse.slice(0, count);
}

function padded(x: Float64Array, size: number): [Float64Array, Float64Array] {
  const real = new Float64Array(size);
  real.set(x);
  return [real, new Float64Array(size)];
}

const powerOfTwo = (least: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, least)));

/**
 * The discrete Fourier transform in place, unscaled; the length is a power of two.
 * @see Cooley & Tukey 1965, https://doi.org/10.2307/2003354
 */
function transform(real: Float64Array, imaginary: Float64Array, sign: 1 | -1): void {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; (j & bit) !== 0; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    [real[i], real[j]] = [real[j]!, real[i]!];
    [imaginary[i], imaginary[j]] = [imaginary[j]!, imaginary[i]!];
  }
  for (let length = 2; length <= size; length *= 2) {
    const half = length / 2;
    for (let k = 0; k < half; k++) {
      const angle = (-sign * 2 * Math.PI * k) / length;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let at = k; at < size; at += length) {
        const other = at + half;
        const re = real[other]! * cos - imaginary[other]! * sin;
        const im = real[other]! * sin + imaginary[other]! * cos;
        real[other] = real[at]! - re;
        imaginary[other] = imaginary[at]! - im;
        real[at]! += re;
        imaginary[at]! += im;
      }
    }
  }
}
