import type { ByteDfa } from "./automaton.ts";

/** A set of bytes: 256 bits in eight words. */
export type ByteSet = Uint32Array;

/**
 * What the three source languages are translated to: regular expressions over bytes, with references to named rules. Text is
 * UTF-8 from here on, so a token that holds part of a character is nothing special.
 */
export type Expression =
  | { readonly kind: "bytes"; readonly set: ByteSet }
  | { readonly kind: "sequence"; readonly parts: readonly Expression[] }
  | { readonly kind: "choice"; readonly parts: readonly Expression[] }
  /** `max` may be Infinity. */
  | { readonly kind: "repeat"; readonly body: Expression; readonly min: number; readonly max: number }
  /** Members in this order with separators between those present, as in the members of a JSON object. */
  | { readonly kind: "list"; readonly members: readonly ListMember[]; readonly separator: Expression }
  | { readonly kind: "rule"; readonly name: string }
  /** A regular language given by its automaton over the 256 bytes: what intersections and differences come out as. */
  | { readonly kind: "automaton"; readonly dfa: ByteDfa };

export interface ListMember {
  readonly body: Expression;
  readonly isRequired: boolean;
}

/** Named rules; the text is what `root` generates. */
export interface RuleSet {
  readonly root: string;
  readonly rules: ReadonlyMap<string, Expression>;
}

export const empty: Expression = { kind: "sequence", parts: [] };
/** The language without any text. */
export const nothing: Expression = { kind: "choice", parts: [] };

export function sequence(...parts: Expression[]): Expression {
  return parts.length === 1 ? parts[0]! : { kind: "sequence", parts };
}

export function choice(...parts: Expression[]): Expression {
  return parts.length === 1 ? parts[0]! : { kind: "choice", parts };
}

export function repeat(body: Expression, min: number, max: number): Expression {
  return { kind: "repeat", body, min, max };
}

export function optional(body: Expression): Expression {
  return repeat(body, 0, 1);
}

export function rule(name: string): Expression {
  return { kind: "rule", name };
}

/** Bytes from `first` to `last`, both included. */
export function byteRange(first: number, last: number): Expression {
  const set = new Uint32Array(8);
  for (let byte = first; byte <= last; byte++) set[byte >> 5]! |= 1 << (byte & 31);
  return { kind: "bytes", set };
}

/** Exactly `text`, in UTF-8. */
export function literal(text: string): Expression {
  return sequence(...Array.from(new TextEncoder().encode(text), (byte) => byteRange(byte, byte)));
}

export function hasByte(set: ByteSet, byte: number): boolean {
  return (set[byte >> 5]! & (1 << (byte & 31))) !== 0;
}
