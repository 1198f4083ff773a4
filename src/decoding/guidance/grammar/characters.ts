import { byteRange, choice, type Expression, literal, nothing, sequence } from "./expression.ts";
import type { Budget } from "./limits.ts";
import { regularAutomaton } from "./nfa.ts";

/** A set of code points: disjoint ranges [first, last], sorted, without the surrogates. */
export type CodePoints = readonly (readonly [first: number, last: number])[];

const lastCodePoint = 0x10ffff;
export const anyCodePoint: CodePoints = [
  [0, 0xd7ff],
  [0xe000, lastCodePoint],
];

/** Sorts and joins ranges and takes the surrogates out of them. */
export function codePoints(ranges: Iterable<readonly [number, number]>): CodePoints {
  const joined: [number, number][] = [];
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const previous = joined.at(-1);
    if (previous && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else joined.push([first, last]);
  }
  return joined.flatMap(([first, last]) => {
    if (last < 0xd800 || first > 0xdfff) return [[first, last] as const];
    const parts: (readonly [number, number])[] = [];
    if (first < 0xd800) parts.push([first, 0xd7ff]);
    if (last > 0xdfff) parts.push([0xe000, last]);
    return parts;
  });
}

export function complement(set: CodePoints): CodePoints {
  const rest: [number, number][] = [];
  let next = 0;
  for (const [first, last] of set) {
    if (first > next) rest.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= lastCodePoint) rest.push([next, lastCodePoint]);
  return codePoints(rest);
}

export function intersect(a: CodePoints, b: CodePoints): CodePoints {
  return complement(codePoints([...complement(a), ...complement(b)]));
}

/** How one character of a set is written as bytes. */
export type CharacterWriter = (set: CodePoints, budget: Budget) => Expression;

/** One character of the set in UTF-8. */
export const writeUtf8: CharacterWriter = (set, budget) => {
  const parts = set.flatMap(([first, last]) => utf8Ranges(first, last));
  if (parts.length <= 16) return parts.length === 0 ? nothing : choice(...parts);
  // A large class (\p{L}) is shared as its minimal automaton: hundreds of branches become a few dozen states.
  return { kind: "automaton", dfa: regularAutomaton(choice(...parts), budget) };
};

const shortEscapes = new Map([
  [0x08, "\\b"],
  [0x09, "\\t"],
  [0x0a, "\\n"],
  [0x0c, "\\f"],
  [0x0d, "\\r"],
  [0x22, '\\"'],
  [0x5c, "\\\\"],
]);
const needsEscape = codePoints([
  [0x00, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);
const plainInJson = complement(needsEscape);

/** One character of the set inside a JSON string, in the one form in which `JSON.stringify` writes it. */
export const writeJson: CharacterWriter = (set, budget) => {
  const parts = [writeUtf8(intersect(set, plainInJson), budget)];
  for (const [first, last] of intersect(set, needsEscape)) {
    for (let code = first; code <= last; code++) {
      parts.push(literal(shortEscapes.get(code) ?? `\\u${code.toString(16).padStart(4, "0")}`));
    }
  }
  return choice(...parts);
};

/** The UTF-8 byte sequences of the code points first..last, cut where the number of bytes or a continuation range changes. */
function utf8Ranges(first: number, last: number): Expression[] {
  for (const limit of [0x7f, 0x7ff, 0xffff]) {
    if (first <= limit && last > limit) return [...utf8Ranges(first, limit), ...utf8Ranges(limit + 1, last)];
  }
  const low = utf8(first);
  const high = utf8(last);
  for (let tail = 1; tail < low.length; tail++) {
    const mask = 64 ** tail - 1; // the code point bits held by the last `tail` bytes
    if (Math.floor(first / (mask + 1)) === Math.floor(last / (mask + 1))) continue;
    if ((first & mask) !== 0) return [...utf8Ranges(first, first | mask), ...utf8Ranges((first | mask) + 1, last)];
    if ((last & mask) !== mask) return [...utf8Ranges(first, (last & ~mask) - 1), ...utf8Ranges(last & ~mask, last)];
  }
  return [sequence(...low.map((byte, index) => byteRange(byte, high[index]!)))];
}

function utf8(code: number): number[] {
  if (code < 0x80) return [code];
  const tail = [0x80 | (code & 0x3f)];
  if (code < 0x800) return [0xc0 | (code >> 6), ...tail];
  tail.unshift(0x80 | ((code >> 6) & 0x3f));
  if (code < 0x10000) return [0xe0 | (code >> 12), ...tail];
  return [0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), ...tail];
}
