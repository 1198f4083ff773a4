import type { Tokenizer } from "../../../tokenizer/index.ts";
import type { GrammarSource } from "./compile.ts";
import { compileGrammar } from "./grammar.ts";
import type { TokenGrammar } from "./state.ts";
import { tokenTrie } from "./trie.ts";

/** Threads that compile at the same time, each within the limits of one; more would only take each other's cores and memory. */
const maxCompiling = 2;
/** What kept grammars hold together, with their masks. A larger one is kept alone. */
const maxBytes = 128 * 2 ** 20;

interface Entry {
  readonly grammar: Promise<TokenGrammar>;
  /** Ends the compilation when nobody waits for it any more. */
  readonly abandoned: AbortController;
  waiting: number;
  /** Once it has been compiled. */
  made: TokenGrammar | undefined;
}

/**
 * The grammars of one tokenizer: requests with the same source share one compilation and its masks, whether they come together or one
 * after the other. The one that was not asked for the longest goes first.
 */
export class Grammars {
  readonly #tokenizer: Tokenizer;
  readonly #compile: typeof compileGrammar;
  readonly #maxBytes: number;
  /** By the source as JSON text, the last asked for at the end. */
  readonly #entries = new Map<string, Entry>();
  readonly #queue: (() => void)[] = [];
  #numCompiling = 0;

  /** @param options  tests count compilations and fill the shelf */
  constructor(tokenizer: Tokenizer, options: { readonly compile?: typeof compileGrammar; readonly maxBytes?: number } = {}) {
    this.#tokenizer = tokenizer;
    this.#compile = options.compile ?? compileGrammar;
    this.#maxBytes = options.maxBytes ?? maxBytes;
  }

  /** Grammars that are kept or being compiled. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * @param signal  ends the wait, and the compilation where nobody else waits for it
   * @throws as {@link compileGrammar} and `Grammar.bind` do; the signal's reason
   */
  async get(source: GrammarSource, signal?: AbortSignal): Promise<TokenGrammar> {
    signal?.throwIfAborted();
    const key = JSON.stringify(source);
    const entry = this.#entries.get(key) ?? this.#make(source);
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.waiting += 1;
    try {
      entry.made = await unlessAborted(entry.grammar, signal);
      return entry.made;
    } finally {
      entry.waiting -= 1;
      if (entry.made === undefined && entry.waiting === 0) {
        entry.abandoned.abort(new Error("nobody waits for the grammar any more"));
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
      }
      this.#shrink();
    }
  }

  #make(source: GrammarSource): Entry {
    const abandoned = new AbortController();
    const { signal } = abandoned;
    const grammar = this.#inTurn(() => this.#compile(source, { signal }), signal).then((one) => one.bind(tokenTrie(this.#tokenizer)));
    grammar.catch(() => undefined); // those who wait are told; after the last has left nobody is
    return { grammar, abandoned, waiting: 0, made: undefined };
  }

  async #inTurn<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#numCompiling >= maxCompiling) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#numCompiling += 1;
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#numCompiling -= 1;
      else next(); // it takes this place
    }
  }

  #shrink(): void {
    const kept = [...this.#entries].flatMap(([key, { made }]) => (made === undefined ? [] : [{ key, bytes: made.bytes }]));
    let total = kept.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { key, bytes } of kept.slice(0, -1)) {
      if (total <= this.#maxBytes) return;
      this.#entries.delete(key);
      total -= bytes;
    }
  }
}

const shelves = new WeakMap<Tokenizer, Grammars>();

/** The grammars that a tokenizer's runs share. */
export function grammarsOf(tokenizer: Tokenizer): Grammars {
  let grammars = shelves.get(tokenizer);
  if (grammars === undefined) {
    grammars = new Grammars(tokenizer);
    shelves.set(tokenizer, grammars);
  }
  return grammars;
}

/** @throws the signal's reason as soon as it is aborted */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort!);
  }
}
