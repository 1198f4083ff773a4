import type { ForwardRequest, ForwardResult, Sequence } from "../../src/engine/index.ts";
import type { TokenId } from "../../src/token.ts";

/**
 * A sequence without a cache of its own: every request evaluates the whole text anew, in a fresh sequence. What a search must be equal to,
 * on an engine that is `strict`. Knows tokens in a chain and `want` for the request's rows.
 */
export class ReencodingSequence implements Sequence {
  readonly #fresh: () => Sequence;
  #tokens: readonly TokenId[];

  constructor(fresh: () => Sequence, tokens: readonly TokenId[] = []) {
    this.#fresh = fresh;
    this.#tokens = tokens;
  }

  get length(): number {
    return this.#tokens.length;
  }
  get vocabSize(): number {
    using sequence = this.#fresh();
    return sequence.vocabSize;
  }
  get contextLength(): number {
    using sequence = this.#fresh();
    return sequence.contextLength;
  }

  async forward({ input, want = {}, signal, ...rest }: ForwardRequest): Promise<ForwardResult> {
    if (Object.keys(rest).length > 0) throw new Error(`re-encoding: knows no ${Object.keys(rest).join(", ")}`);
    const tokens = [...this.#tokens, ...(input as readonly TokenId[])];
    const before = this.length;
    const rows = (names: "last" | "all" | readonly number[]) =>
      names === "last" ? names : names === "all" ? tokens.slice(before).map((_, row) => before + row) : names.map((row) => before + row);
    using sequence = this.#fresh();
    const result = await sequence.forward({
      input: tokens,
      want: {
        ...want,
        ...(want.logits === undefined ? {} : { logits: rows(want.logits) }),
        ...(want.hidden === undefined ? {} : { hidden: rows(want.hidden) }),
      },
      ...(signal === undefined ? {} : { signal }),
    });
    this.#tokens = tokens;
    return { ...result, rows: result.rows.map((row) => ({ ...row, row: row.row - before })) };
  }

  fork(): Sequence {
    return new ReencodingSequence(this.#fresh, this.#tokens);
  }
  rewind(length: number): void {
    this.#tokens = this.#tokens.slice(0, length);
  }
  keep(): void {
    throw new Error("re-encoding: there is no tree to keep rows of");
  }
  async fill(): Promise<void> {}
  [Symbol.dispose](): void {}
}
