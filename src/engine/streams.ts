import type { Family } from "./family.ts";
import type { KvCache } from "./kv-cache.ts";

/** Where cells lie, and how their content is moved: the cache, or an array in tests. */
export type CellStore = Pick<KvCache, "save" | "restore" | "copyRows"> & {
  readonly shape: { readonly streams: number; readonly cells: number };
};

/**
 * Which stream of the cache each family has. A family that has none gets one: a free one, else that of the family that was idle
 * longest, else that of the last in order which waits; what had to go is kept in host memory and put back, bit for bit.
 */
export class Streams {
  readonly #cache: CellStore;
  readonly #slots: (Family | undefined)[];
  /** Families that were put aside since the start. */
  preemptions = 0;

  constructor(cache: CellStore) {
    this.#cache = cache;
    this.#slots = new Array(cache.shape.streams).fill(undefined);
  }

  get usedCount(): number {
    return this.#slots.filter((family) => family !== undefined).length;
  }

  /** Bytes of host memory that hold what was put aside. */
  get savedBytes(): number {
    return this.#savedBytes;
  }
  #savedBytes = 0;

  /**
   * Gives streams to the families of a pass that have none.
   * @param isWaiting  whether a family outside the pass has queued work
   * @returns those that have a stream now; the others wait, since families that go before them hold all streams
   */
  admit(families: readonly Family[], isWaiting: (family: Family) => boolean): Family[] {
    const inPass = new Set(families);
    return families.filter((family) => {
      if (family.slot !== undefined) return true;
      const slot = this.#findRoom(family, inPass, isWaiting);
      if (slot !== undefined) this.#settle(family, slot);
      return slot !== undefined;
    });
  }

  /**
   * Brings families that have streams into `width` adjacent ones.
   * @returns the first of these
   */
  arrange(families: readonly Family[], width: number): number {
    const inPass = new Set(families);
    const first = this.#bestWindow(inPass, width);
    for (const family of families) {
      if (family.slot! >= first && family.slot! < first + width) continue;
      for (let slot = first; slot < first + width; slot += 1) {
        const other = this.#slots[slot];
        if (other !== undefined && inPass.has(other)) continue;
        this.#swap(family.slot!, slot);
        break;
      }
    }
    return first;
  }

  /** Frees what a family holds. */
  forget(family: Family): void {
    if (family.slot !== undefined) this.#slots[family.slot] = undefined;
    if (family.saved !== undefined) this.#savedBytes -= family.saved.bytes.length;
    family.slot = undefined;
    family.saved = undefined;
  }

  /** Rows of the cache that hold a family's cells. */
  rowsOf(family: Family, cells: readonly number[]): number[] {
    const base = family.slot! * this.#cache.shape.cells;
    return cells.map((cell) => base + cell);
  }

  /** Makes the cells of a family that has a stream lie at the front of it. */
  compact(family: Family): void {
    const from = family.compact();
    this.#cache.copyRows(
      this.rowsOf(family, from),
      this.rowsOf(
        family,
        from.map((_, index) => index),
      ),
    );
  }

  /** Counts a family that begins in host memory. */
  adoptSaved(family: Family): void {
    this.#savedBytes += family.saved!.bytes.length;
  }

  /** Puts a family aside: its keys and values go to host memory. */
  putAside(family: Family): void {
    const cells = family.usedCells();
    family.saved = { cells, bytes: this.#cache.save(this.rowsOf(family, cells)) };
    this.#savedBytes += family.saved.bytes.length;
    this.#slots[family.slot!] = undefined;
    family.slot = undefined;
    this.preemptions += 1;
  }

  /** Puts aside every family that the test picks. @returns how many */
  putAsideAll(isPicked: (family: Family) => boolean): number {
    const picked = this.#slots.filter((family): family is Family => family !== undefined && isPicked(family));
    for (const family of picked) this.putAside(family);
    return picked.length;
  }

  #findRoom(family: Family, inPass: ReadonlySet<Family>, isWaiting: (family: Family) => boolean): number | undefined {
    const free = this.#slots.indexOf(undefined);
    if (free !== -1) return free;
    const others = this.#slots.filter((other): other is Family => other !== undefined && !inPass.has(other));
    const idle = others.filter((other) => !isWaiting(other)).sort((a, b) => a.lastUsed - b.lastUsed)[0];
    const victim = idle ?? others.filter((other) => goesBefore(family, other)).sort((a, b) => (goesBefore(a, b) ? 1 : -1))[0];
    if (victim === undefined) return undefined;
    const slot = victim.slot!;
    this.putAside(victim);
    return slot;
  }

  #settle(family: Family, slot: number): void {
    family.slot = slot;
    this.#slots[slot] = family;
    if (family.saved !== undefined) {
      this.#cache.restore(family.saved.bytes, this.rowsOf(family, family.saved.cells));
      this.#savedBytes -= family.saved.bytes.length;
      family.saved = undefined;
    }
  }

  #bestWindow(inPass: ReadonlySet<Family>, width: number): number {
    let best = 0;
    let bestCount = -1;
    for (let first = 0; first + width <= this.#slots.length; first += 1) {
      let count = 0;
      for (let slot = first; slot < first + width; slot += 1) {
        const family = this.#slots[slot];
        if (family !== undefined && inPass.has(family)) count += 1;
      }
      if (count > bestCount) {
        best = first;
        bestCount = count;
      }
    }
    return best;
  }

  #swap(a: number, b: number): void {
    const families = [this.#slots[a], this.#slots[b]] as const;
    const saved = families.map((family) => (family === undefined ? undefined : this.#cache.save(this.rowsOf(family, family.usedCells()))));
    families.forEach((family, index) => {
      const slot = index === 0 ? b : a;
      this.#slots[slot] = family;
      if (family === undefined) return;
      family.slot = slot;
      this.#cache.restore(saved[index]!, this.rowsOf(family, family.usedCells()));
    });
  }
}

/** The order in which families get streams: by priority, then by age. So the first of all always has one, and finishes. */
function goesBefore(a: Family, b: Family): boolean {
  return a.priority > b.priority || (a.priority === b.priority && a.group < b.group);
}
