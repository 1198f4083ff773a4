import type { Candidates, ForwardRequest, ForwardResult, RowResult, Sequence, Want } from "../../engine/index.ts";
import { ContextOverflowError, DisposedError, OptionError, UnsupportedError } from "../../errors.ts";
import { type TokenId, tokenIds } from "../../token.ts";

/** An explicit distribution in place of a model: the next token's logits as a function of the path that leads to it. */
export interface ToyDistribution {
  readonly vocabSize: number;
  /** Default 1024. */
  readonly contextLength?: number;
  /** Logits [V] after these tokens, the last of which stands at the last position; must depend on nothing else. */
  logits(tokens: readonly TokenId[], positions: readonly number[]): ArrayLike<number>;
  /** State [C] after these tokens; without it `want.hidden` is refused. */
  hidden?(tokens: readonly TokenId[], positions: readonly number[]): ArrayLike<number>;
}

/** One appended row. `parent` is the index of the entry before it on its path, -1 at the start. */
interface Entry {
  readonly token: TokenId;
  readonly parent: number;
  readonly position: number;
}

/**
 * A {@link Sequence} over a {@link ToyDistribution}, so that searches, drafts and guides are tested without a model. It
 * implements `input` (tokens), `parents`, `positions` and `want`, and refuses everything else with an UnsupportedError.
 * `log` keeps what was asked, for tests that count passes.
 */
export class ToySequence implements Sequence {
  readonly log: ForwardRequest[] = [];
  readonly #toy: ToyDistribution;
  #entries: Entry[] = [];
  /** Where the last request's rows begin; undefined once they were kept, rewound or forked. */
  #lastRequest: number | undefined;
  #isBusy = false;
  #isDisposed = false;

  constructor(toy: ToyDistribution) {
    this.#toy = toy;
  }

  get length(): number {
    return this.#entries.length;
  }
  get vocabSize(): number {
    return this.#toy.vocabSize;
  }
  get contextLength(): number {
    return this.#toy.contextLength ?? 1024;
  }

  async forward(request: ForwardRequest): Promise<ForwardResult> {
    this.#assertUsable("forward");
    request.signal?.throwIfAborted();
    refuseUnsupported(request, this.#toy);
    const input = tokenIds(request.input as readonly number[], this.vocabSize);
    const start = this.length;
    const needed = start + input.length;
    if (input.length === 0) throw new OptionError("input", "is empty; a request needs at least one row");
    if (needed > this.contextLength) {
      throw new ContextOverflowError(`${needed} entries do not fit into a context of ${this.contextLength}`, {
        neededTokens: needed,
        contextLength: this.contextLength,
      });
    }
    const parents = checkParents(request.parents, input.length);
    if (request.positions !== undefined && request.positions.length !== input.length) {
      throw new OptionError("positions", `has ${request.positions.length} entries for ${input.length} rows`);
    }
    const entries = [...this.#entries];
    for (const [row, token] of input.entries()) {
      const parent = parents[row] === -1 ? start - 1 : start + parents[row]!;
      const position = request.positions?.[row] ?? (entries[parent]?.position ?? -1) + 1;
      entries.push({ token, parent, position });
    }
    const rows = this.#results(request.want ?? {}, entries, start);
    this.#isBusy = true;
    await new Promise((resolve) => setImmediate(resolve)); // a pass: who forks meanwhile has what was there before
    this.#isBusy = false;
    this.#assertUsable("forward");
    request.signal?.throwIfAborted();
    this.#entries = entries;
    this.#lastRequest = start;
    this.log.push(request);
    return { rows, taps: new Map(), cost: { passes: 1, rows: input.length, computeMs: 0, queueMs: 0 } };
  }

  fork(): ToySequence {
    this.#assertUsable();
    const copy = new ToySequence(this.#toy);
    copy.#entries = [...this.#entries];
    return copy;
  }

  rewind(length: number): void {
    this.#assertUsable("rewind");
    if (!Number.isInteger(length) || length < 0 || length > this.length) {
      throw new RangeError(`rewind: length ${length} is not in [0, ${this.length}]`);
    }
    if (length === this.length) return;
    this.#entries.length = length;
    this.#lastRequest = undefined;
  }

  keep(rows: readonly number[]): void {
    this.#assertUsable("keep");
    const start = this.#lastRequest;
    if (start === undefined) throw new RangeError("keep: there is no request whose rows could be kept");
    const kept: Entry[] = [];
    let parent = start - 1;
    for (const row of rows) {
      const entry = Number.isInteger(row) && row >= 0 ? this.#entries[start + row] : undefined;
      if (entry === undefined) throw new RangeError(`keep: row ${row} is not in [0, ${this.length - start})`);
      if (entry.parent !== parent) throw new RangeError(`keep: row ${row} does not follow the row kept before it`);
      parent = start + row;
      kept.push({ ...entry, parent: start + kept.length - 1 });
    }
    this.#entries = [...this.#entries.slice(0, start), ...kept];
    this.#lastRequest = undefined;
  }

  async fill(): Promise<void> {
    this.#assertUsable("fill"); // nothing is ever skipped
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
  }

  #results(want: Want, entries: readonly Entry[], start: number): RowResult[] {
    const count = entries.length - start;
    const asksLogits = want.top !== undefined || want.fullLogits === true || want.scores !== undefined;
    const logitRows = rowList(want.logits ?? (asksLogits ? "last" : []), count, "want.logits");
    const hiddenRows = rowList(want.hidden ?? [], count, "want.hidden");
    const top = want.top ?? 64;
    if (!Number.isInteger(top) || top < 1) throw new OptionError("want.top", `must be an integer >= 1, got ${top}`);
    if (want.scores !== undefined && want.scores.length !== logitRows.length) {
      throw new OptionError("want.scores", `has ${want.scores.length} lists for ${logitRows.length} rows of logits`);
    }
    return [...new Set([...logitRows, ...hiddenRows])]
      .sort((a, b) => a - b)
      .map((row) => {
        const path = pathTo(entries, start + row);
        const tokens = path.map((entry) => entry.token);
        const positions = path.map((entry) => entry.position);
        const result: { -readonly [K in keyof RowResult]: RowResult[K] } = { row };
        const place = logitRows.indexOf(row);
        if (place >= 0) {
          const logits = Float32Array.from(this.#toy.logits(tokens, positions));
          if (logits.length !== this.vocabSize) throw new TypeError(`toy: ${logits.length} logits for ${this.vocabSize} tokens`);
          result.candidates = topCandidates(logits, top);
          const list = want.scores?.[place];
          if (list !== undefined) result.scores = Float32Array.from(tokenIds(list, this.vocabSize), (id) => logits[id]!);
          if (want.fullLogits === true) result.logits = logits;
        }
        if (hiddenRows.includes(row)) result.hidden = Float32Array.from(this.#toy.hidden!(tokens, positions));
        return result;
      });
  }

  /** @param operation  one that has to wait for an earlier request */
  #assertUsable(operation?: string): void {
    if (this.#isDisposed) throw new DisposedError("the sequence");
    if (operation !== undefined && this.#isBusy) throw new OptionError(operation, "the sequence is busy with an earlier request");
  }
}

/** The k largest of a row of logits as the engine returns them: from large to small, ties to the lowest id. */
export function topCandidates(logits: Float32Array, k: number): Candidates {
  const ids = Array.from(logits.keys())
    .sort((a, b) => logits[b]! - logits[a]! || a - b)
    .slice(0, k);
  const max = logits[ids[0]!]!;
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - max), 0);
  return { ids: Int32Array.from(ids), logits: Float32Array.from(ids, (id) => logits[id]!), logSumExp: max + Math.log(sum) };
}

function pathTo(entries: readonly Entry[], last: number): Entry[] {
  const path: Entry[] = [];
  for (let index = last; index >= 0; index = entries[index]!.parent) path.push(entries[index]!);
  return path.reverse();
}

function checkParents(parents: readonly number[] | undefined, count: number): readonly number[] {
  if (parents === undefined) return Array.from({ length: count }, (_, row) => row - 1);
  if (parents.length !== count) throw new OptionError("parents", `has ${parents.length} entries for ${count} rows`);
  parents.forEach((parent, row) => {
    if (!Number.isInteger(parent) || parent < -1 || parent >= row) {
      throw new OptionError("parents", `row ${row} has parent ${parent}, expected -1 or an earlier row`);
    }
  });
  return parents;
}

function rowList(rows: "last" | "all" | readonly number[], count: number, option: string): readonly number[] {
  if (rows === "last") return [count - 1];
  if (rows === "all") return Array.from({ length: count }, (_, row) => row);
  for (const row of rows) {
    if (!Number.isInteger(row) || row < 0 || row >= count) throw new OptionError(option, `row ${row} is not in [0, ${count})`);
  }
  return rows;
}

function refuseUnsupported(request: ForwardRequest, toy: ToyDistribution): void {
  const refused = (["visible", "blocks", "exits", "inject", "adapters"] as const).filter(
    (field) => request[field] !== undefined,
  ) as string[];
  if (!Array.isArray(request.input)) refused.push("input embeddings");
  if (request.want?.taps !== undefined) refused.push("want.taps");
  if (request.want?.hidden !== undefined && toy.hidden === undefined) refused.push("want.hidden");
  if (refused.length > 0) {
    throw new UnsupportedError(`a toy sequence has no ${refused.join(", ")}; it knows tokens, parents, positions and want`);
  }
}
