import type { Family } from "./family.ts";
import type { KvCache } from "./kv-cache.ts";
import type { PrefixCache } from "./prefix-cache.ts";

/** Where cells lie, and how their content is moved: the cache, or an array in tests. */
export type CellStore = Pick<KvCache, "save" | "restore" | "copyRows"> & {
  readonly shape: { readonly streams: number; readonly cells: number };
};

/**
 * Which stream of the cache each family has. A family that has none gets one: a free one, else that of a family which only the prefix cache
 * keeps, else that of the one that was idle longest, else that of the last in order which waits; what had to go is kept in host memory and
 * put back, bit for bit.
 */
export class Streams {
  readonly #cache: CellStore;
  readonly #slots: (Family | undefined)[];
  /** Families that were put aside since the start. */
  preemptions = 0;

  readonly #prefixes: PrefixCache;

  constructor(cache: CellStore, prefixes: PrefixCache) {
    this.#cache = cache;
    this.#prefixes = prefixes;
    this.#slots = new Array(cache.shape.streams).fill(undefined);
  }

  /** Streams of families that somebody needs. */
  get usedCount(): number {
    return this.#slots.filter((family) => family !== undefined && family.memberCount > 0).length;
  }

  /** Bytes of host memory that hold what was put aside. */
  get savedBytes(): number {
    return this.#savedBytes;
  }
  #savedBytes = 0;

  /**
   * Gives streams to the families of a pass that have none.
   * @param now     the step, and since when families with queued work have waited
   * @param source  a family that has to stay, too: something will be copied from it
   * @returns those that have a stream now; the others wait, since families that go before them hold all streams
   */
  admit(families: readonly Family[], now: Now, source?: Family): Family[] {
    const inPass = new Set(source === undefined ? families : [...families, source]);
    return families.filter((family) => {
      if (family.slot !== undefined) return true;
      const slot = this.#findRoom(family, inPass, now);
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

  /** Puts aside every family that somebody needs and the test picks. @returns how many */
  putAsideAll(isPicked: (family: Family) => boolean): number {
    const picked = this.#slots.filter((family): family is Family => family !== undefined && family.memberCount > 0 && isPicked(family));
    for (const family of picked) this.putAside(family);
    return picked.length;
  }

  #findRoom(family: Family, inPass: ReadonlySet<Family>, now: Now): number | undefined {
    const free = this.#slots.indexOf(undefined);
    if (free !== -1) return free;
    const others = this.#slots.filter((other): other is Family => other !== undefined && !inPass.has(other));
    const kept = this.#prefixes.kept.find((other) => !inPass.has(other));
    if (kept !== undefined) {
      const slot = kept.slot!;
      this.#prefixes.drop(kept);
      this.forget(kept);
      return slot;
    }
    const idle = others.filter((other) => !now.since.has(other)).sort((a, b) => a.lastUsed - b.lastUsed)[0];
    const victim = idle ?? others.filter((other) => mayDisplace(family, other, now)).sort((a, b) => (goesBefore(a, b) ? 1 : -1))[0];
    if (victim === undefined) return undefined;
    if (idle === undefined && !goesBefore(family, victim)) family.turnEnds = now.step + turnSteps;
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

/** What admission goes by beside the families' own order. */
export interface Now {
  readonly step: number;
  /** Families with queued work, and the step since when it has waited. */
  readonly since: ReadonlyMap<Family, number>;
}

/** Steps after which a family goes before those of higher priority, and how long it then keeps its stream. */
const patienceSteps = 128;
const turnSteps = 16; // moving a stream out and in costs less than one of these passes

/** Those of higher priority make room for one that has waited too long; among equals age decides, so that one after the other finishes. */
function mayDisplace(family: Family, other: Family, { step, since }: Now): boolean {
  const isDue = (one: Family) => step < one.turnEnds || step - (since.get(one) ?? step) >= patienceSteps;
  if (family.priority !== other.priority && isDue(family) !== isDue(other)) return isDue(family);
  return goesBefore(family, other);
}

/** The order in which families get streams: by priority, then by age. So the first of all always has one, and finishes. */
function goesBefore(a: Family, b: Family): boolean {
  return a.priority > b.priority || (a.priority === b.priority && a.group < b.group);
}
