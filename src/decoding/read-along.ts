import type { ForwardRequest, RowResult, Sequence, Want } from "../engine/index.ts";
import type { TokenId } from "../token.ts";
import type { Companion } from "./companions.ts";
import { type DraftTree, noDraft } from "./drafting/draft.ts";

/** How a model reads along. */
export interface Reading {
  /** What its rows come with. */
  readonly want: Omit<Want, "logits">;
  /** Adapters that it reads with. Default: none. */
  readonly adapters?: NonNullable<ForwardRequest["adapters"]>;
}

/**
 * Another model that reads what a run writes: its row after the last token, and after tokens that may follow. It moves with the run by
 * {@link advance}, {@link rewind} and {@link fork}, none of which computes anything; {@link prepare} computes what is then missing, in one
 * pass however many tokens that are.
 */
export class ReadAlong implements Disposable {
  readonly #companion: Companion;
  readonly #sequence: Sequence;
  readonly #reading: Reading;
  readonly #numPrompt: number;
  /** Prompt and answer so far. */
  readonly #tokens: TokenId[];
  /** What the sequence holds before its tree. */
  readonly #held: TokenId[];
  /** How many leading tokens of the two are the same. */
  #numShared: number;
  /** Tokens that the sequence holds after `#held`, not all of which will stay: the last request's, after its first `#numBefore` rows. */
  #tree: DraftTree = noDraft;
  #numBefore = 0;
  /** Row 0 is that after `#held`, row i + 1 that after the tree's token i. Empty while nothing has been evaluated. */
  #rows: readonly RowResult[] = [];

  private constructor(
    companion: Companion,
    sequence: Sequence,
    reading: Reading,
    path: { readonly numPrompt: number; readonly tokens: readonly TokenId[]; readonly held: readonly TokenId[] },
  ) {
    this.#companion = companion;
    this.#sequence = sequence;
    this.#reading = reading;
    this.#numPrompt = path.numPrompt;
    this.#tokens = [...path.tokens];
    this.#held = [...path.held];
    this.#numShared = commonLength(this.#tokens, this.#held);
  }

  static async start(companion: Companion, prompt: readonly TokenId[], reading: Reading): Promise<ReadAlong> {
    return new ReadAlong(companion, await companion.sequence(), reading, { numPrompt: prompt.length, tokens: prompt, held: [] });
  }

  /** The row after the last token; {@link prepare} has computed it. */
  get row(): RowResult {
    const place = this.#place();
    if (place === undefined) throw new Error("internal: a row was read before it was prepared");
    return this.#rows[place]!;
  }

  advance(token: TokenId): void {
    const length = this.#tokens.push(token);
    if (this.#numShared === length - 1 && this.#held[this.#numShared] === token) this.#numShared = length;
  }

  /** Forgets every generated token from `length` on. */
  rewind(length: number): void {
    this.#tokens.length = this.#numPrompt + length;
    this.#numShared = Math.min(this.#numShared, this.#tokens.length);
  }

  /** Computes {@link row} here and after each of the tokens that may follow, unless it is there. False once the deadline has passed. */
  async prepare(ahead: DraftTree = noDraft): Promise<boolean> {
    if (ahead.tokens.length === 0 && this.#place() !== undefined) return true;
    this.#settle();
    const missing = this.#tokens.slice(this.#held.length);
    const isKnown = missing.length === 0;
    const room = this.#sequence.contextLength - this.#sequence.length - missing.length;
    const tree = ahead.tokens.length <= room ? ahead : noDraft; // without room for all that may follow: each row when its turn comes
    if (isKnown && tree.tokens.length === 0) return true;
    let last = this.#rows[0];
    /** Reads the first of what is missing, without more after it. */
    const take = async (count: number): Promise<boolean> => {
      const rows = await this.#forward(missing.splice(0, count), noDraft);
      last = rows?.at(-1);
      return rows !== undefined;
    };
    const promptLeft = this.#numPrompt - this.#held.length;
    const hasMore = promptLeft < missing.length || tree.tokens.length > 0;
    if (promptLeft > 0 && hasMore && !(await take(promptLeft))) return false; // the prompt is a request of its own
    if (missing.length > 1 && tree.tokens.length > 0 && !(await take(missing.length - 1))) return false;
    const rows = await this.#forward(missing, tree);
    if (rows === undefined) return false;
    this.#rows = missing.length === 0 ? [last!, ...rows] : rows;
    return true;
  }

  fork(): ReadAlong {
    this.#settle();
    const path = { numPrompt: this.#numPrompt, tokens: this.#tokens, held: this.#held };
    const copy = new ReadAlong(this.#companion, this.#sequence.fork(), this.#reading, path);
    copy.#rows = this.#rows;
    return copy;
  }

  [Symbol.dispose](): void {
    this.#sequence[Symbol.dispose]();
  }

  /** Appends tokens and a tree after them; gives the rows after the last of the tokens and after each of the tree's. */
  async #forward(tokens: readonly TokenId[], tree: DraftTree): Promise<readonly RowResult[] | undefined> {
    const count = tokens.length;
    const first = Math.max(count - 1, 0);
    const { want, adapters } = this.#reading;
    const result = await this.#companion.forward(this.#sequence, {
      ...(adapters === undefined ? {} : { adapters }),
      input: [...tokens, ...tree.tokens],
      ...(tree.tokens.length === 0
        ? {}
        : { parents: [...tokens.map((_, row) => row - 1), ...tree.parents.map((parent) => parent + count)] }),
      want: { ...want, logits: Array.from({ length: count + tree.tokens.length - first }, (_, row) => first + row) },
    });
    if (result === undefined) return undefined;
    this.#held.push(...tokens);
    this.#numShared = this.#held.length;
    this.#tree = tree;
    this.#numBefore = count;
    return result.rows;
  }

  /** Which of the rows is that after the last token. */
  #place(): number | undefined {
    if (this.#numShared < this.#held.length || this.#rows.length === 0) return undefined;
    const path = this.#pathInTree();
    return this.#held.length + path.length === this.#tokens.length ? (path.at(-1) ?? -1) + 1 : undefined;
  }

  /** The tree's nodes that the tokens after `#held` follow. */
  #pathInTree(): number[] {
    const { tokens, parents } = this.#tree;
    const path: number[] = [];
    for (let at = this.#held.length; at < this.#tokens.length; at++) {
      const parent = path.at(-1) ?? -1;
      const node = tokens.findIndex((token, index) => token === this.#tokens[at] && parents[index] === parent);
      if (node < 0) break;
      path.push(node);
    }
    return path;
  }

  /** Leaves in the sequence what the tokens share with it; the last of them is evaluated again where its row is lost. */
  #settle(): void {
    if (this.#tree.tokens.length > 0) {
      const path = this.#numShared < this.#held.length ? [] : this.#pathInTree();
      const before = Array.from({ length: this.#numBefore }, (_, row) => row);
      this.#sequence.keep([...before, ...path.map((node) => node + this.#numBefore)]);
      const last = this.#rows[(path.at(-1) ?? -1) + 1]!;
      this.#held.push(...path.map((node) => this.#tree.tokens[node]!));
      this.#numShared = commonLength(this.#tokens, this.#held, this.#numShared);
      this.#rows = [last];
      this.#tree = noDraft;
    }
    if (this.#numShared === this.#held.length) return;
    const length = this.#numShared === this.#tokens.length ? this.#numShared - 1 : this.#numShared;
    this.#sequence.rewind(length);
    this.#held.length = this.#numShared = length;
    this.#rows = [];
  }
}

function commonLength(a: readonly TokenId[], b: readonly TokenId[], from = 0): number {
  let length = from;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
