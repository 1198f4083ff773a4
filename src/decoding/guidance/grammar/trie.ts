import { tokenId } from "../../../token.ts";
import type { Tokenizer } from "../../../tokenizer/index.ts";

/** What a grammar needs to know of a tokenizer. */
export interface GrammarVocabulary {
  /** Number of tokens V. */
  readonly size: number;
  /** The bytes that the token adds to the text; empty for tokens that add none (control tokens), which no grammar allows. */
  piece(token: number): Uint8Array;
  /** Tokens that end the text; allowed where the text is complete. */
  readonly endTokens: Iterable<number>;
}

/**
 * The vocabulary as a tree of bytes, its nodes in preorder, so that a walk is one loop that skips dead subtrees. Built once per
 * tokenizer (about 0.1 s per 100,000 tokens) and shared by all grammars.
 *
 * Axes: N nodes beside the root, V tokens.
 */
export class TokenTrie {
  readonly size: number;
  readonly endTokens: readonly number[];
  readonly numNodes: number;
  /** [N]: the byte that leads to the node */
  readonly byte: Uint8Array;
  /** [N]: number of bytes from the root, >= 1 */
  readonly depth: Uint16Array;
  /** [N]: the first node after this one's subtree */
  readonly skip: Int32Array;
  /** [N]: number of bytes from the node's parent to the deepest node of its subtree, >= 1 */
  readonly height: Uint16Array;
  /** [N + 1]: the tokens spelled by node n are tokens[tokenOffset[n] .. tokenOffset[n + 1]) */
  readonly tokenOffset: Int32Array;
  readonly tokens: Int32Array;
  /** Length of the longest token in bytes. */
  readonly maxLength: number;
  /** [256]: whether the byte is a token by itself */
  readonly isWritable: readonly boolean[];
  readonly #pieces: readonly Uint8Array[];

  /** @throws RangeError if an end token is outside the vocabulary or a token is longer than 65,535 bytes */
  constructor(vocabulary: GrammarVocabulary) {
    this.size = vocabulary.size;
    this.endTokens = [...new Set(vocabulary.endTokens)];
    for (const token of this.endTokens) {
      if (!Number.isInteger(token) || token < 0 || token >= this.size) throw new RangeError(`end token ${token} is outside the vocabulary`);
    }
    this.#pieces = Array.from({ length: this.size }, (_, token) => vocabulary.piece(token));
    const isEnd = new Set(this.endTokens);
    const spelled = this.#pieces
      .map((piece, token) => ({ token, piece, key: Buffer.from(piece.buffer, piece.byteOffset, piece.length).toString("latin1") }))
      .filter(({ token, piece }) => piece.length > 0 && !isEnd.has(token))
      .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.token - b.token));

    this.maxLength = spelled.reduce((longest, { piece }) => Math.max(longest, piece.length), 0);
    if (this.maxLength > 0xffff) throw new RangeError(`a token of ${this.maxLength} bytes is too long`);
    const numBytes = spelled.reduce((sum, { piece }) => sum + piece.length, 0);
    const byte = new Uint8Array(numBytes);
    const depth = new Uint16Array(numBytes);
    const skip = new Int32Array(numBytes);
    const tokenOffset = new Int32Array(numBytes + 1);
    const open: number[] = []; // nodes on the path to the last token
    let numNodes = 0;
    let previous = new Uint8Array(0) as Uint8Array;
    for (const [index, { piece }] of spelled.entries()) {
      let shared = 0;
      while (shared < previous.length && shared < piece.length && previous[shared] === piece[shared]) shared++;
      while (open.length > shared) skip[open.pop()!] = numNodes;
      for (let length = shared + 1; length <= piece.length; length++) {
        byte[numNodes] = piece[length - 1]!;
        depth[numNodes] = length;
        tokenOffset[numNodes] = index;
        open.push(numNodes++);
      }
      tokenOffset[numNodes] = index + 1; // until the next node is made
      previous = piece;
    }
    for (const node of open) skip[node] = numNodes;
    tokenOffset[numNodes] = spelled.length;
    this.numNodes = numNodes;
    this.byte = byte.slice(0, numNodes);
    this.depth = depth.slice(0, numNodes);
    this.skip = skip.slice(0, numNodes);
    this.tokenOffset = tokenOffset.slice(0, numNodes + 1);
    this.height = new Uint16Array(numNodes);
    for (let node = numNodes - 1; node >= 0; node--) {
      let below = 0;
      for (let child = node + 1; child < skip[node]!; child = skip[child]!) below = Math.max(below, this.height[child]!);
      this.height[node] = below + 1;
    }
    this.tokens = Int32Array.from(spelled, ({ token }) => token);
    const single = new Set(spelled.filter(({ piece }) => piece.length === 1).map(({ piece }) => piece[0]));
    this.isWritable = Array.from({ length: 256 }, (_, value) => single.has(value));
  }

  /** Bytes of a token. @throws RangeError for a token outside the vocabulary */
  piece(token: number): Uint8Array {
    const piece = this.#pieces[token];
    if (piece === undefined) throw new RangeError(`token id ${token} is outside the vocabulary [0, ${this.size})`);
    return piece;
  }
}

/** Tries by tokenizer: a function of the tokenizer, remembered because it takes longer than most answers' grammars. */
const tries = new WeakMap<Tokenizer, TokenTrie>();

/** The trie of a tokenizer's tokens; special tokens have no text. */
export function tokenTrie(tokenizer: Tokenizer): TokenTrie {
  let trie = tries.get(tokenizer);
  if (!trie) {
    const { vocabSize, endTokens } = tokenizer;
    trie = new TokenTrie({ size: vocabSize, endTokens, piece: (token) => tokenizer.piece(tokenId(token, vocabSize), { special: false }) });
    tries.set(tokenizer, trie);
  }
  return trie;
}
