/** Rounds to the nearest number with `mantissaBits` bits after the leading one and exponents in [minExponent, maxExponent], ties to even. */
function round(value: number, mantissaBits: number, minExponent: number, maxExponent: number): number {
  if (!Number.isFinite(value) || value === 0) return value;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), minExponent);
  const unit = 2 ** (exponent - mantissaBits);
  const quotient = value / unit; // exact: a power of two
  const floor = Math.floor(quotient);
  const rest = quotient - floor;
  const whole = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
  const rounded = whole * unit;
  return Math.abs(rounded) >= 2 ** (maxExponent + 1) ? Math.sign(value) * Number.POSITIVE_INFINITY : rounded;
}

/** The nearest half-precision number (IEEE 754 binary16), ties to even. */
export const roundToF16 = (value: number): number => round(value, 10, -14, 15);
/** The nearest bfloat16 number, ties to even. */
export const roundToBf16 = (value: number): number => round(value, 7, -126, 127);

/** The bits of a half-precision number; `value` is rounded first. NaN becomes a quiet one. */
export function f16Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  if (Number.isNaN(value)) return 0x7e00;
  const magnitude = Math.abs(roundToF16(value));
  if (magnitude === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | (magnitude / 2 ** -24); // subnormal, zero
  const exponent = Math.floor(Math.log2(magnitude));
  return sign | ((exponent + 15) << 10) | (magnitude / 2 ** (exponent - 10) - 1024);
}

/** The number that half-precision bits stand for. */
export function f16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}
