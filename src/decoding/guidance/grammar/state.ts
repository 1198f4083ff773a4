import type { CompiledGrammar } from "./network.ts";
import { type Configuration, type Loop, Pushdown } from "./pushdown.ts";
import type { TokenTrie } from "./trie.ts";

/** Masks remembered, and tokens by where they lead: bytes of each. */
const cacheBytes = 32 << 20;
/** Shortest texts longer than this (bytes) are not cut into the fewest tokens: one token per byte is assumed. */
const maxTokenizedLength = 4096;
/** Smaller subtrees are sooner walked than compared with a loop. */
const smallestLoop = 8;
/** Default bound on the places an ambiguous grammar may be in at once. */
export const defaultMaxThreads = 16_384;

interface MaskEntry {
  /** [ceil(V / 32)] */
  readonly words: Uint32Array;
  /** How much further from the end (bytes) than before an allowed token may lead. May be negative. */
  readonly growth: number;
}

/** Tokens that lead from one configuration to others at the same distance from the end: `example` is the bytes of one of them. */
interface TokenGroup {
  readonly example: Uint8Array;
  readonly tokens: Int32Array;
}

/** A grammar over a vocabulary. Make one per grammar and tokenizer; all states share its caches. */
export class TokenGrammar {
  readonly trie: TokenTrie;
  readonly start: GrammarState;
  readonly #pushdown: Pushdown;
  readonly #masks: Recent<MaskEntry>;
  readonly #groups: Recent<readonly TokenGroup[]>;
  readonly #path: Configuration[] = [];
  /** [N, W]: the byte classes in a node's subtree, its own among them, as W words of 32 bits. */
  readonly #subtrees: Uint32Array;

  /** @throws OptionError if no text of the grammar can be written with the vocabulary's single-byte tokens */
  constructor(grammar: CompiledGrammar, trie: TokenTrie, maxThreads: number = defaultMaxThreads) {
    this.trie = trie;
    this.#masks = new Recent(Math.max(16, Math.floor((8 * cacheBytes) / trie.size)));
    this.#groups = new Recent(Math.max(4, Math.floor(cacheBytes / (4 * trie.size))));
    this.#pushdown = new Pushdown(grammar, trie.isWritable, trie.maxLength, maxThreads);
    this.#subtrees = subtreeClasses(trie, grammar);
    this.start = new GrammarState(this, this.#pushdown.start, false);
  }

  /** What it holds by now: tables, masks and what else it remembers. */
  get bytes(): number {
    const { next, edgeCall, edgeTarget, edgeOffset } = this.#pushdown.grammar;
    const tables = [next, edgeCall, edgeTarget, edgeOffset, this.#subtrees].reduce((sum, { byteLength }) => sum + byteLength, 0);
    const { size } = this.trie;
    return tables + this.#masks.size * Math.ceil(size / 8) + this.#groups.size * size * 4 + this.#pushdown.numRemembered * 1024;
  }

  /** @internal */
  advance(from: Configuration, bytes: Uint8Array): Configuration | undefined {
    const { classOf } = this.#pushdown.grammar;
    let at = from;
    for (const byte of bytes) {
      const next = this.#pushdown.step(at, classOf[byte]!);
      if (!next) return undefined;
      at = next;
    }
    return at;
  }

  /** @internal Tokens allowed in a configuration, the end tokens among them where the text is complete. */
  mask(from: Configuration): MaskEntry {
    return this.#masks.get(this.#pushdown.signature(from), () => {
      const words = this.#emptyMask(from);
      const { skip } = this.trie;
      let farthest = Number.NEGATIVE_INFINITY;
      this.#walk(
        from,
        (node, to) => {
          farthest = Math.max(farthest, to.distance);
          this.#allow(words, node, node + 1);
        },
        (node, parent, { growth }) => {
          farthest = Math.max(farthest, parent.distance + (growth > 0 ? growth * this.trie.maxLength : growth));
          this.#allow(words, node, skip[node]!);
        },
      );
      return { words, growth: farthest - from.distance };
    });
  }

  /** @internal Tokens after which the text can still be ended with `tokensLeft` tokens in all, the end token included. */
  tightMask(from: Configuration, tokensLeft: number): Uint32Array {
    const after = tokensLeft - 2; // this token, and the one that ends the text
    const plain = this.mask(from);
    if (from.distance + plain.growth <= after) return plain.words;
    const words = this.#emptyMask(from);
    let isPossible = from.isComplete;
    for (const { example, tokens } of this.#groupsOf(from)) {
      const to = this.advance(from, example)!;
      if (to.distance > after && this.neededTokens(to, after) > after) continue;
      isPossible = true;
      for (const token of tokens) words[token >> 5]! |= 1 << (token & 31);
    }
    return isPossible ? words : plain.words;
  }

  /**
   * The allowed tokens by where they lead. Two tokens that lead to one configuration do so from every configuration of the same
   * signature, since these differ in counts alone. So do the configurations of a loop that keeps the distance: the same text ends them.
   */
  #groupsOf(from: Configuration): readonly TokenGroup[] {
    return this.#groups.get(this.#pushdown.signature(from), () => {
      const { tokens, tokenOffset, skip } = this.trie;
      const groups = new Map<Configuration | Loop, number[]>();
      const add = (key: Configuration | Loop, first: number, end: number) => {
        let group = groups.get(key);
        if (group === undefined) {
          group = [];
          groups.set(key, group);
        }
        for (let i = tokenOffset[first]!; i < tokenOffset[end]!; i++) group.push(tokens[i]!);
      };
      this.#walk(
        from,
        (node, to) => add(to, node, node + 1),
        (node, _parent, loop) => add(loop, node, skip[node]!),
        ({ keepsDistance }) => keepsDistance,
      );
      return Array.from(groups.values(), (group) => ({ example: this.trie.piece(group[0]!), tokens: Int32Array.from(group) }));
    });
  }

  /**
   * @internal Fewest tokens that spell the first of the shortest texts that end here (in bytes; among these the first by byte
   * classes). After the first of these tokens one less is needed, so whoever can afford this number now can afford the rest.
   *
   * @param enough  a caller that only asks whether the answer is above this saves the work where that is plain
   */
  neededTokens(from: Configuration, enough: number = Number.POSITIVE_INFINITY): number {
    if (from.neededTokens !== undefined) return from.neededTokens;
    if (from.distance > maxTokenizedLength) return from.distance;
    const fewest = Math.ceil(from.distance / this.trie.maxLength);
    if (fewest > enough) return fewest;
    // The text, until its end or until as many numbers are known as the longest token can reach.
    const text: number[] = []; // byte classes
    const chain = [from]; // chain[i]: the configuration before text[i]
    for (let numKnown = 0, at = from; at.distance > 0 && numKnown < this.trie.maxLength; ) {
      const [symbol, next] = this.#nearer(at);
      text.push(symbol);
      chain.push(next);
      numKnown = next.neededTokens === undefined ? 0 : numKnown + 1;
      at = next;
    }
    chain.at(-1)!.neededTokens ??= 0;
    for (let i = chain.length - 2; i >= 0; i--) chain[i]!.neededTokens ??= this.#fewestTokens(text, chain, i);
    return from.neededTokens!;
  }

  /** One token more than what is needed after it, for the best token that begins text[from ..]. */
  #fewestTokens(text: readonly number[], chain: readonly Configuration[], from: number): number {
    const { byte, depth, skip, tokenOffset, numNodes } = this.trie;
    const { classOf } = this.#pushdown.grammar;
    let best = Number.POSITIVE_INFINITY;
    for (let node = 0; node < numNodes; ) {
      const end = from + depth[node]!;
      if (text[end - 1] !== classOf[byte[node]!]!) {
        node = skip[node]!;
        continue;
      }
      if (tokenOffset[node + 1]! > tokenOffset[node]!) best = Math.min(best, 1 + chain[end]!.neededTokens!);
      node++;
    }
    return best;
  }

  /** The first byte class (with a byte that is a token) after which the text's end is one byte nearer. */
  #nearer(from: Configuration): readonly [symbol: number, next: Configuration] {
    const { classOf } = this.#pushdown.grammar;
    for (let byte = 0; byte < 256; byte++) {
      if (!this.trie.isWritable[byte]) continue;
      const next = this.#pushdown.step(from, classOf[byte]!);
      if (next && next.distance === from.distance - 1) return [classOf[byte]!, next];
    }
    throw new Error("internal: no byte brings the grammar nearer to its end");
  }

  /** @internal The only byte with which the text can go on, if there is just one and the text is not complete. */
  onlyByte(from: Configuration): readonly [byte: number, next: Configuration] | undefined {
    if (from.isComplete) return undefined;
    const { classOf } = this.#pushdown.grammar;
    let only: readonly [number, Configuration] | undefined;
    for (let byte = 0; byte < 256; byte++) {
      const next = this.#pushdown.step(from, classOf[byte]!);
      if (!next) continue;
      if (only) return undefined;
      only = [byte, next];
    }
    return only;
  }

  /**
   * Calls `visit` for every node of the trie that spells a token and can be reached; and where a whole subtree stays in a loop of its
   * parent's configuration, `visitLoop` for its root instead.
   */
  #walk(
    from: Configuration,
    visit: (node: number, to: Configuration) => void,
    visitLoop: (root: number, parent: Configuration, loop: Loop) => void,
    isWanted: (loop: Loop) => boolean = () => true,
  ): void {
    const { byte, depth, height, skip, tokenOffset, numNodes } = this.trie;
    const { classOf } = this.#pushdown.grammar;
    const path = this.#path; // path[d]: the configuration after the first d bytes
    path[0] = from;
    const pushdown = this.#pushdown;
    for (let node = 0; node < numNodes; ) {
      const level = depth[node]!;
      const parent = path[level - 1]!;
      if (skip[node]! - node >= smallestLoop) {
        const loop = pushdown.loop(parent);
        if (loop !== null && isWanted(loop) && height[node]! <= pushdown.room(parent, loop) && this.#isWithin(node, loop)) {
          visitLoop(node, parent, loop);
          node = skip[node]!;
          continue;
        }
      }
      const symbol = classOf[byte[node]!]!;
      // The look-up of `step` written out: this loop is the cost of a new mask.
      const known = parent.epoch === pushdown.epoch ? parent.successors[symbol] : undefined;
      const to = known === undefined ? pushdown.step(parent, symbol) : known;
      if (to === null) {
        node = skip[node]!;
        continue;
      }
      path[level] = to;
      if (tokenOffset[node + 1]! > tokenOffset[node]!) visit(node, to);
      node++;
    }
    path.length = 0;
  }

  /** Whether all bytes of a node's subtree are of a loop's classes. */
  #isWithin(node: number, { classes }: Loop): boolean {
    const words = classes.length;
    for (let word = 0; word < words; word++) if ((this.#subtrees[node * words + word]! & ~classes[word]!) !== 0) return false;
    return true;
  }

  #emptyMask(from: Configuration): Uint32Array {
    const words = new Uint32Array(Math.ceil(this.trie.size / 32));
    if (from.isComplete) for (const token of this.trie.endTokens) words[token >> 5]! |= 1 << (token & 31);
    return words;
  }

  /** Allows the tokens of the nodes [first, end). */
  #allow(words: Uint32Array, first: number, end: number): void {
    const { tokens, tokenOffset } = this.trie;
    for (let i = tokenOffset[first]!; i < tokenOffset[end]!; i++) words[tokens[i]! >> 5]! |= 1 << (tokens[i]! & 31);
  }
}

/** [N, W]: see {@link TokenGrammar}. Children come after their parent, so the nodes are taken from the last. */
function subtreeClasses({ byte, skip, numNodes }: TokenTrie, { classOf, numClasses }: CompiledGrammar): Uint32Array {
  const words = Math.ceil(numClasses / 32);
  const subtrees = new Uint32Array(numNodes * words);
  for (let node = numNodes - 1; node >= 0; node--) {
    const symbol = classOf[byte[node]!]!;
    subtrees[node * words + (symbol >> 5)] = 1 << (symbol & 31);
    for (let child = node + 1; child < skip[node]!; child = skip[child]!)
      for (let word = 0; word < words; word++) subtrees[node * words + word]! |= subtrees[child * words + word]!;
  }
  return subtrees;
}

/** Values by number; the one that was not asked for the longest goes first. */
class Recent<T> {
  readonly #values = new Map<number, T>();
  readonly #capacity: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#values.size;
  }

  get(key: number, make: () => T): T {
    const known = this.#values.get(key);
    if (known !== undefined) this.#values.delete(key); // to the end: a map lists its entries in the order of their coming
    const value = known ?? make();
    if (this.#values.size >= this.#capacity) this.#values.delete(this.#values.keys().next().value!);
    this.#values.set(key, value);
    return value;
  }
}

/**
 * Where a text stands in a grammar. A value: advancing makes a new one, and every old one stays good, so it forks and rewinds
 * with a sequence by being kept.
 */
export class GrammarState {
  readonly #grammar: TokenGrammar;
  readonly #configuration: Configuration;
  /** Whether an end token was read; nothing may follow. */
  readonly isEnded: boolean;

  /** @internal */
  constructor(grammar: TokenGrammar, configuration: Configuration, isEnded: boolean) {
    this.#grammar = grammar;
    this.#configuration = configuration;
    this.isEnded = isEnded;
  }

  /** Whether the text may end here. */
  get isComplete(): boolean {
    return this.#configuration.isComplete;
  }

  /** Whether the text must end here: nothing but an end token is allowed, or one was read. */
  get isFinal(): boolean {
    return this.isEnded || (this.#configuration.isComplete && this.#configuration.states.length === 0);
  }

  /**
   * The tokens that may follow: bit `id & 31` of word `id >> 5`. End tokens are among them where the text is complete. Shared
   * with other states: don't write to it.
   *
   * @param tokensLeft  how many more tokens there may be, the end token included; >= 1. Only tokens are allowed after which the
   *                    text can still be completed and ended in time. If that is out of reach already, this has no effect.
   * @returns [ceil(V / 32)]
   */
  mask(tokensLeft: number = Number.POSITIVE_INFINITY): Uint32Array {
    if (!(tokensLeft >= 1)) throw new RangeError(`tokensLeft must be at least 1, not ${tokensLeft}`);
    if (this.isEnded) return new Uint32Array(Math.ceil(this.#grammar.trie.size / 32));
    if (tokensLeft === Number.POSITIVE_INFINITY) return this.#grammar.mask(this.#configuration).words;
    return this.#grammar.tightMask(this.#configuration, tokensLeft);
  }

  /** Whether the token may follow. @throws RangeError for a token outside the vocabulary */
  allows(token: number): boolean {
    return this.advance(token) !== undefined;
  }

  /** The state after one more token; undefined if it is not allowed. @throws RangeError for a token outside the vocabulary */
  advance(token: number): GrammarState | undefined {
    const piece = this.#grammar.trie.piece(token);
    if (this.isEnded) return undefined;
    if (this.#grammar.trie.endTokens.includes(token)) {
      return this.isComplete ? new GrammarState(this.#grammar, this.#configuration, true) : undefined;
    }
    if (piece.length === 0) return undefined;
    const next = this.#grammar.advance(this.#configuration, piece);
    return next && new GrammarState(this.#grammar, next, false);
  }

  /**
   * A number of tokens that completes the text (the end token not counted): the fewest for one text among the shortest in
   * bytes. It falls by one along that text, so it is always kept.
   */
  shortestCompletion(): number {
    return this.#grammar.neededTokens(this.#configuration);
  }

  /**
   * The tokens that must follow because at each step only one is allowed; without end tokens.
   * @param limit  at most so many
   */
  forcedTokens(limit = 64): number[] {
    const forced: number[] = [];
    for (let state: GrammarState | undefined = this; state !== undefined && !state.isFinal && forced.length < limit; ) {
      const token = onlyToken(state.mask());
      if (token === undefined || this.#grammar.trie.endTokens.includes(token)) break;
      forced.push(token);
      state = state.advance(token);
    }
    return forced;
  }

  /**
   * The bytes with which every text goes on, whatever tokens spell them: what a draft may propose. May end inside a character.
   * @param limit  at most so many
   */
  forcedBytes(limit = 256): Uint8Array {
    const bytes: number[] = [];
    if (this.isEnded) return new Uint8Array(0);
    for (let at = this.#configuration; bytes.length < limit; ) {
      const step = this.#grammar.onlyByte(at);
      if (!step) break;
      bytes.push(step[0]);
      at = step[1];
    }
    return Uint8Array.from(bytes);
  }
}

function onlyToken(mask: Uint32Array): number | undefined {
  let only: number | undefined;
  for (const [index, word] of mask.entries()) {
    if (word === 0) continue;
    if (only !== undefined || (word & (word - 1)) !== 0) return undefined;
    only = 32 * index + (31 - Math.clz32(word));
  }
  return only;
}
