import { compileSource, type GrammarSource } from "./compile.ts";
import { defaultLimits, type GrammarLimits } from "./limits.ts";
import { type GrammarState, TokenGrammar } from "./state.ts";
import { TokenTrie } from "./trie.ts";

/** A vocabulary of the given pieces; the token after the last one ends the text. */
export function trieOf(pieces: readonly (string | Uint8Array)[]): TokenTrie {
  const bytes = pieces.map((piece) => (typeof piece === "string" ? new TextEncoder().encode(piece) : piece));
  return new TokenTrie({
    size: bytes.length + 1,
    piece: (token) => bytes[token] ?? new Uint8Array(0),
    endTokens: [bytes.length],
  });
}

/** All 256 bytes as tokens of their own, then `more`. */
export function byteTrie(more: readonly (string | Uint8Array)[] = []): TokenTrie {
  return trieOf([...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), ...more]);
}

export function grammarOf(source: GrammarSource, trie: TokenTrie = byteTrie(), limits: Partial<GrammarLimits> = {}): TokenGrammar {
  return new TokenGrammar(compileSource(source, { ...defaultLimits, ...limits }), trie);
}

/** The ids set in a mask. */
export function idsOf(mask: Uint32Array): number[] {
  return [...mask].flatMap((word, index) =>
    Array.from({ length: 32 }, (_, bit) => bit)
      .filter((bit) => (word >>> bit) & 1)
      .map((bit) => 32 * index + bit),
  );
}

/** The state after the text, byte by byte, from a grammar over {@link byteTrie}. */
export function after(grammar: TokenGrammar, text: string | Uint8Array): GrammarState | undefined {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  let state: GrammarState | undefined = grammar.start;
  for (const byte of bytes) state = state?.advance(byte);
  return state;
}

export function acceptsText(grammar: TokenGrammar, text: string): boolean {
  return after(grammar, text)?.isComplete === true;
}
