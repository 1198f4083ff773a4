import { randomInt } from "node:crypto";
import type { StringArray } from "./metadata.ts";

const maxProbes = 1024; // at half load, chance needs a few dozen even for 262,144 tokens

/** What {@link TokenTable.add} found out about a token. */
export type Added =
  | { readonly kind: "new"; readonly bytes: number }
  | { readonly kind: "twin"; readonly of: number }
  | { readonly kind: "crowded" };

/**
 * Tokens by their bytes, a zero byte ending a token as it does for the C code that reads them. Works on the header's bytes without
 * making a string per token. The hash begins with a random number, so that no file can be made to fill one bucket knowingly; one
 * that does so all the same is called crowded.
 */
export class TokenTable {
  readonly #tokens: StringArray;
  readonly #bytes: Uint8Array;
  readonly #slots: Int32Array; // id + 1, 0 for free
  readonly #hashes: Int32Array; // [tokens]
  readonly #seed = randomInt(2 ** 32);
  #hash = 0; // of the last text hashed
  #length = 0;

  constructor(tokens: StringArray) {
    this.#tokens = tokens;
    this.#bytes = tokens.bytes;
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * tokens.length + 1)));
    this.#hashes = new Int32Array(tokens.length);
  }

  add(id: number): Added {
    const start = this.#tokens.start(id);
    const slot = this.#find(this.#bytes, start, this.#tokens.end(id));
    if (slot === undefined) return { kind: "crowded" };
    const taken = this.#slots[slot]!;
    if (taken !== 0) return { kind: "twin", of: taken - 1 };
    this.#slots[slot] = id + 1;
    this.#hashes[id] = this.#hash;
    return { kind: "new", bytes: this.#length };
  }

  has(text: Uint8Array): boolean {
    const slot = this.#find(text, 0, text.length);
    return slot !== undefined && this.#slots[slot] !== 0;
  }

  /** The slot that holds these bytes, or the free one where they belong. */
  #find(bytes: Uint8Array, start: number, end: number): number | undefined {
    let hash = this.#seed | 0;
    let at = start;
    for (; at < end; at++) {
      const byte = bytes[at]!;
      if (byte === 0) break;
      hash = Math.imul(hash ^ byte, 0x01000193); // FNV-1a
    }
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    hash ^= hash >>> 13;
    this.#hash = hash;
    this.#length = at - start;
    const mask = this.#slots.length - 1;
    for (let probe = 0, slot = hash & mask; probe < maxProbes; probe++, slot = (slot + 1) & mask) {
      const taken = this.#slots[slot]!;
      if (taken === 0) return slot;
      if (this.#hashes[taken - 1] === hash && this.#equals(taken - 1, bytes, start, at)) return slot;
    }
    return undefined;
  }

  #equals(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    const offset = this.#tokens.start(id) - start;
    for (let at = start; at < end; at++) if (this.#bytes[at + offset] !== bytes[at]) return false;
    const next = end + offset;
    return next === this.#tokens.end(id) || this.#bytes[next] === 0;
  }
}
