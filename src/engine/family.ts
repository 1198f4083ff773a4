import type { AppliedAdapter } from "../adapters/index.ts";

/** What a sequence holds at one place: where its keys and values lie, and what is needed to compute them again. */
export interface Entry {
  /** Index in the family's stream. Changes when the stream is compacted. */
  cell: number;
  readonly position: number;
  /** Token id, or the embedding [C] that stood in its place. */
  readonly content: number | Float32Array;
  /** Ranges of entry indices that this entry saw; undefined for all before it. */
  readonly sees: readonly (readonly [from: number, to: number])[] | undefined;
  /** Adapters that changed the model for it; part of what its keys and values depend on. */
  readonly adapters: readonly AppliedAdapter[];
  /** Half-blocks whose keys and values were not computed (`blocks.<i>.attn`), by an early exit or a skipped half. */
  missing: ReadonlySet<string> | undefined;
  /**
   * Set where these keys and values are what any sequence of the same entries gets that a prompt's passes write: the key under which the
   * prefix cache may hand them on. Then every entry before it has the same.
   */
  readonly root: string | undefined;
}

/**
 * A stream's bookkeeping: a prompt with its forks and tree nodes. Cells are counted by the sequences that hold them. A row's
 * cells always ascend in the order of its entries, whatever shares the stream, so that attention adds up in the same order.
 */
export class Family {
  /** Where the stream lies in the cache, or undefined while it is kept in host memory (or holds nothing yet). */
  slot: number | undefined;
  /** Keys and values of a stream that had to make room. */
  saved: { readonly cells: readonly number[]; readonly bytes: Uint8Array } | undefined;
  /** Whether more than one sequence ever held its cells: where they lie then depends on what the others did meanwhile. */
  isShared = false;
  /** Step at which it last took part in a pass. */
  lastUsed = 0;
  /** `performance.now()` when that pass ended. */
  lastUsedAt = 0;
  /** Until this step it keeps the stream that it was given because it had waited so long. */
  turnEnds = 0;
  /** Root of its lineage: arrival order among groups; younger groups make room for older ones. */
  readonly group: number;
  readonly priority: number;
  /** Whose the content is: prefixes are handed on only within one. */
  readonly tenant: string;
  /** Entries that the prefix cache points to, and whose cells it retains: a prefix. */
  readonly held: Entry[] = [];
  readonly capacity: number;
  readonly #references: Uint16Array;
  readonly #members = new Set<Iterable<Entry>>();
  #end = 0;

  constructor(group: number, priority: number, tenant: string, capacity: number) {
    this.group = group;
    this.priority = priority;
    this.tenant = tenant;
    this.capacity = capacity;
    this.#references = new Uint16Array(capacity);
  }

  /** One past the last cell in use. */
  get end(): number {
    return this.#end;
  }

  /** Sequences and requests that need it; none where it is only kept for the prefix cache. */
  get memberCount(): number {
    return this.#members.size;
  }

  /** Counts a list of entries whose cells move with the family's: a sequence's, or the rows of a request under way. */
  join(member: Iterable<Entry>): void {
    this.#members.add(member);
  }

  leave(member: Iterable<Entry>): void {
    this.#members.delete(member);
  }

  retain(cell: number): void {
    const references = this.#references[cell]!;
    if (references === 65_535) throw new RangeError("internal: a cell is shared by more than 65,535 sequences");
    this.#references[cell] = references + 1;
    this.#end = Math.max(this.#end, cell + 1);
  }

  release(cell: number): void {
    const references = this.#references[cell]!;
    if (references === 0) throw new RangeError(`internal: cell ${cell} was released twice`);
    this.#references[cell] = references - 1;
    while (this.#end > 0 && this.#references[this.#end - 1] === 0) this.#end -= 1;
  }

  /** Takes `count` free cells after cell `after`, ascending; undefined where there are too few. */
  take(after: number, count: number): number[] | undefined {
    const cells: number[] = [];
    for (let cell = after + 1; cell < this.capacity && cells.length < count; cell += 1) {
      if (this.#references[cell] === 0) cells.push(cell);
    }
    if (cells.length < count) return undefined;
    for (const cell of cells) this.retain(cell);
    return cells;
  }

  /** Whether `take` would give so many. */
  hasRoom(after: number, count: number): boolean {
    let free = 0;
    for (let cell = after + 1; cell < this.capacity && free < count; cell += 1) if (this.#references[cell] === 0) free += 1;
    return free === count;
  }

  /** Cells in use, ascending. */
  usedCells(): number[] {
    const cells: number[] = [];
    for (let cell = 0; cell < this.#end; cell += 1) if (this.#references[cell]! > 0) cells.push(cell);
    return cells;
  }

  /** Moves what is in use to the front, keeping the order. The caller copies the cells' content: from[i] -> i. */
  compact(): number[] {
    const from = this.usedCells();
    const to = new Map(from.map((cell, index) => [cell, index]));
    const moved = new Set<Entry>();
    for (const member of [...this.#members, this.held]) {
      for (const entry of member) {
        if (moved.has(entry)) continue;
        moved.add(entry);
        entry.cell = to.get(entry.cell)!;
      }
    }
    const references = from.map((cell) => this.#references[cell]!);
    this.#references.fill(0);
    this.#references.set(references);
    this.#end = from.length;
    return from;
  }
}
