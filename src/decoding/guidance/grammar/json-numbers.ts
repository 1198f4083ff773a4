import { OptionError, UnsupportedError } from "../../../errors.ts";
import { type ByteDfa, intersection } from "./automaton.ts";
import { byteRange, choice, type Expression, empty, literal, nothing, optional, repeat, sequence } from "./expression.ts";
import type { Budget } from "./limits.ts";
import { regularAutomaton } from "./nfa.ts";

/** What a schema says about a number, by value. */
export interface NumberBounds {
  readonly min: number | undefined;
  readonly max: number | undefined;
  readonly isMinExclusive: boolean;
  readonly isMaxExclusive: boolean;
  readonly multipleOf: readonly { readonly value: number; readonly pointer: string }[];
  /** Where errors say the bounds are. */
  readonly pointer: string;
}

const digit = byteRange(0x30, 0x39);
const nonZero = byteRange(0x31, 0x39);
const minus = literal("-");
const point = literal(".");
/** Remainders are states. */
const maxMultiple = 10_000;
/** A decimal of so many digits is told apart from every other one by the double it is read as. */
const exactDigits = 15;

/** Integers without exponent and fraction, at most `maxDigits` digits (more where a bound has more). */
export function integerExpression(bounds: NumberBounds, maxDigits: number, budget: Budget): Expression {
  const { min, max, isMinExclusive, isMaxExclusive } = bounds;
  let low = min === undefined ? undefined : BigInt(Math.ceil(min));
  let high = max === undefined ? undefined : BigInt(Math.floor(max));
  if (low !== undefined && isMinExclusive && Number.isInteger(min)) low += 1n;
  if (high !== undefined && isMaxExclusive && Number.isInteger(max)) high -= 1n;
  const length = Math.max(maxDigits, digitsOf(low), digitsOf(high));
  const widest = 10n ** BigInt(length) - 1n;
  const range = integerRange(low ?? -widest, high ?? widest);
  if (bounds.multipleOf.length === 0) return range;
  let dfa = regularAutomaton(range, budget);
  for (const multiple of bounds.multipleOf) dfa = intersection(dfa, multiples(multiple, budget), budget);
  return { kind: "automaton", dfa };
}

/** Decimal numbers; with an exponent only where there are no bounds. */
export function numberExpression(bounds: NumberBounds, maxDigits: number, budget: Budget): Expression {
  // A multiple of an integer is an integer; other divisors depend on rounding.
  if (bounds.multipleOf.length > 0) return integerExpression(bounds, maxDigits, budget);
  const { min, max, isMinExclusive, isMaxExclusive } = bounds;
  if (min === undefined && max === undefined) {
    const exponent = sequence(choice(literal("e"), literal("E")), optional(choice(literal("+"), minus)), repeat(digit, 1, 2));
    return sequence(optional(minus), unsigned(maxDigits, maxDigits), optional(exponent));
  }
  const low = min === undefined ? undefined : decimal(min);
  const high = max === undefined ? undefined : decimal(max);
  const ends = [low, high].filter((end) => end !== undefined);
  const integerDigits = Math.max(maxDigits, ...ends.map((end) => end.integer.length));
  let fractionDigits = Math.max(maxDigits, ...ends.map((end) => end.fraction.length));
  if (isMinExclusive || isMaxExclusive) {
    // The text and the bound are compared after rounding: with few digits, different texts stay different.
    fractionDigits = exactDigits - Math.max(...ends.map((end) => end.integer.length));
    if (ends.some((end) => end.fraction.length > fractionDigits) || fractionDigits < 1) {
      throw new UnsupportedError(`${bounds.pointer}: an exclusive bound with more than ${exactDigits} digits is not supported`);
    }
  }
  const all = regularAutomaton(unsigned(integerDigits, fractionDigits), budget);
  /** Unsigned decimals between two unsigned ends. */
  const between = (from: End | undefined, to: End | undefined): Expression => {
    let dfa = all;
    if (from) dfa = intersection(dfa, regularAutomaton(atLeast(from), budget), budget);
    if (to) dfa = intersection(dfa, regularAutomaton(atMost(to), budget), budget);
    return { kind: "automaton", dfa };
  };
  const lowEnd = low && { ...low, isExclusive: isMinExclusive };
  const highEnd = high && { ...high, isExclusive: isMaxExclusive };
  const zero = { isNegative: false, integer: "0", fraction: "", isExclusive: true };
  const parts: Expression[] = [];
  if (!highEnd?.isNegative) parts.push(between(lowEnd?.isNegative ? undefined : lowEnd, highEnd));
  if (!lowEnd || lowEnd.isNegative) parts.push(sequence(minus, between(highEnd?.isNegative ? highEnd : zero, lowEnd)));
  return choice(...parts);
}

interface Decimal {
  readonly isNegative: boolean;
  /** Digits before the point, without leading zeros but for a single one. */
  readonly integer: string;
  /** Digits after the point, without trailing zeros. */
  readonly fraction: string;
}

interface End extends Decimal {
  readonly isExclusive: boolean;
}

/** A double as the shortest decimal that is read as it. */
function decimal(value: number): Decimal {
  const [mantissa = "", exponent = "0"] = Math.abs(value).toExponential().split("e");
  const digits = mantissa.replace(".", "");
  const pointAt = 1 + Number(exponent); // digits before the point
  const padded = pointAt > 0 ? digits.padEnd(pointAt, "0") : "0".repeat(1 - pointAt) + digits;
  const split = Math.max(pointAt, 1);
  return {
    isNegative: value < 0,
    integer: padded.slice(0, split),
    fraction: padded.slice(split).replace(/0+$/, ""),
  };
}

function unsigned(integerDigits: number, fractionDigits: number): Expression {
  const integer = choice(literal("0"), sequence(nonZero, repeat(digit, 0, integerDigits - 1)));
  return sequence(integer, optional(sequence(point, repeat(digit, 1, fractionDigits))));
}

const digits = repeat(digit, 0, Number.POSITIVE_INFINITY);
const zeros = repeat(literal("0"), 0, Number.POSITIVE_INFINITY);
const anyFraction = optional(sequence(point, digit, digits));
const positiveDigits = sequence(zeros, nonZero, digits);

function atMost({ integer, fraction, isExclusive }: End): Expression {
  const below = integer === "0" ? nothing : sequence(integerRange(0n, BigInt(integer) - 1n), anyFraction);
  // After the digits of `fraction`: equal, so nothing but zeros.
  let rest = isExclusive ? nothing : zeros;
  for (let i = fraction.length - 1; i >= 0; i--) {
    const smaller = digitsFrom(0, Number(fraction[i]) - 1, digits);
    const same = sequence(literal(fraction[i]!), i + 1 < fraction.length ? choice(empty, rest) : rest);
    rest = choice(smaller, same);
  }
  const withPoint = sequence(point, fraction === "" ? (isExclusive ? nothing : sequence(literal("0"), zeros)) : rest);
  const withoutPoint = fraction === "" && isExclusive ? nothing : empty;
  return choice(below, sequence(literal(integer), choice(withoutPoint, withPoint)));
}

function atLeast({ integer, fraction, isExclusive }: End): Expression {
  const above = sequence(atLeastInteger(BigInt(integer) + 1n), anyFraction);
  let rest: Expression = isExclusive ? positiveDigits : digits;
  for (let i = fraction.length - 1; i >= 0; i--) {
    rest = choice(digitsFrom(Number(fraction[i]) + 1, 9, digits), sequence(literal(fraction[i]!), rest));
  }
  const same = fraction === "" && !isExclusive ? anyFraction : sequence(point, rest);
  return choice(above, sequence(literal(integer), same));
}

function digitsFrom(first: number, last: number, then: Expression): Expression {
  return first > last ? nothing : sequence(byteRange(0x30 + first, 0x30 + last), then);
}

function digitsOf(value: bigint | undefined): number {
  return value === undefined ? 0 : String(value < 0n ? -value : value).length;
}

function integerRange(low: bigint, high: bigint): Expression {
  if (low > high) return nothing;
  if (high < 0n) return sequence(minus, integerRange(-high, -low));
  if (low < 0n) return choice(sequence(minus, integerRange(1n, -low)), integerRange(0n, high));
  const parts: Expression[] = [];
  const longest = digitsOf(high);
  for (let length = digitsOf(low); length <= longest; length++) {
    const first = length === 1 ? 0n : 10n ** BigInt(length - 1);
    const last = 10n ** BigInt(length) - 1n;
    parts.push(sameLength(String(low > first ? low : first), String(high < last ? high : last)));
  }
  return choice(...parts);
}

function atLeastInteger(low: bigint): Expression {
  const length = digitsOf(low);
  const longer = sequence(nonZero, repeat(digit, length, Number.POSITIVE_INFINITY));
  return choice(sameLength(String(low), "9".repeat(length)), longer);
}

/** Digit strings of one length from `low` to `high`, low <= high. */
function sameLength(low: string, high: string): Expression {
  if (low === "") return empty;
  const [from, to] = [Number(low[0]), Number(high[0])];
  const rest = low.length - 1;
  if (/^0*$/.test(low) && /^9*$/.test(high)) return repeat(digit, low.length, low.length);
  if (from === to) return sequence(literal(low[0]!), sameLength(low.slice(1), high.slice(1)));
  const middle = from + 1 > to - 1 ? nothing : sequence(byteRange(0x30 + from + 1, 0x30 + to - 1), repeat(digit, rest, rest));
  return choice(
    sequence(literal(low[0]!), sameLength(low.slice(1), "9".repeat(rest))),
    middle,
    sequence(literal(high[0]!), sameLength("0".repeat(rest), high.slice(1))),
  );
}

/** Decimal integers divisible by `value`: the remainder so far is the state. */
function multiples({ value, pointer }: { readonly value: number; readonly pointer: string }, budget: Budget): ByteDfa {
  if (!(value > 0)) throw new OptionError(pointer, `must be above 0, not ${value}`);
  if (!Number.isInteger(value) || value > maxMultiple) {
    throw new UnsupportedError(`${pointer}: ${value} is not supported; multipleOf must be an integer from 1 to ${maxMultiple}`);
  }
  // Classes: 0 other bytes, 1 minus, 2..11 the digits. States: 0 start, 1 after the minus, 2 + remainder.
  const classOf = new Uint8Array(256);
  classOf[0x2d] = 1;
  for (let i = 0; i < 10; i++) classOf[0x30 + i] = 2 + i;
  const numSymbols = 12;
  const numStates = 2 + value;
  const next = new Int32Array(numStates * numSymbols).fill(-1);
  const accepting = new Uint8Array(numStates);
  accepting[2] = 1;
  next[1] = 1;
  for (let state = 0; state < numStates; state++) {
    budget.state();
    const remainder = Math.max(0, state - 2);
    for (let i = 0; i < 10; i++) next[state * numSymbols + 2 + i] = 2 + ((10 * remainder + i) % value);
  }
  return { classOf, numClasses: numSymbols, numSymbols, numStates, next, accepting };
}
