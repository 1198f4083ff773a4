import { ContextOverflowError } from "../errors.ts";
import type { BackendName } from "../ggml/index.ts";
import { type Entry, Family } from "./family.ts";
import { orderOf, type Plan, type PlannedPass, plan, type QueueItem } from "./plan.ts";
import { PrefixCache, rootKeyOf, symbolOf } from "./prefix-cache.ts";
import type { CheckedRequest } from "./request.ts";
import { type CellStore, type Now, Streams } from "./streams.ts";
import { gridRows, headSlice, isPattern, streamStep, widestPass } from "./structure.ts";

/** What the scheduler knows of a sequence. */
export interface Holder {
  /** Order in which sequences were made: the last tie-breaker of the plan. */
  readonly id: number;
  family: Family;
  readonly entries: Entry[];
}

/** What the scheduler knows of a request. */
export interface Work {
  readonly id: number;
  readonly sequence: Holder;
  readonly request: Pick<
    CheckedRequest,
    | "rows"
    | "contents"
    | "positions"
    | "sees"
    | "isChain"
    | "isWhole"
    | "logitRows"
    | "hiddenRows"
    | "skipped"
    | "rule"
    | "decides"
    | "taps"
    | "exits"
    | "adapters"
  > & { readonly original: Pick<CheckedRequest["original"], "inject"> };
  /** Entries of the sequence before the request. */
  readonly base: number;
  /** Entries of the rows computed so far; in the sequence only when all are done. */
  readonly rows: Entry[];
  /** Order of arrival of its group. */
  readonly arrival: number;
  /** Step at which it was queued or had its last rows. */
  since: number;
  /** Rows that the prefix cache had. */
  reusedRows: number;
  /** What the prefix cache had when it had nothing for this. */
  seenVersion: number | undefined;
}

/** Rows of one request in one pass. */
export interface Part<W extends Work> {
  readonly job: W;
  /** First of the request's rows. */
  readonly from: number;
  readonly entries: readonly Entry[];
}

/** A pass whose streams lie where it needs them and whose rows have cells. */
export interface Placement<W extends Work> {
  readonly backend: BackendName;
  /** Rows per stream. */
  readonly rows: number;
  /** By stream. */
  readonly parts: readonly (readonly Part<W>[])[];
  readonly families: readonly Family[];
  /** The first of `width` adjacent streams. */
  readonly first: number;
  readonly width: number;
}

export interface SchedulerOptions {
  readonly contextLength: number;
  /** Most rows of a prompt's pass, a multiple of 64. */
  readonly chunkRows: number;
  readonly strict: boolean;
  /** Most cells that are kept for the prefix cache alone; 0 turns it off. */
  readonly prefixCells: number;
}

/**
 * Who waits, whose turn it is, and where everybody's cells are. It knows nothing of models: what it moves are cells of a store, so
 * tests drive it over an array.
 */
export class Scheduler<W extends Work> {
  readonly streams: Streams;
  readonly prefixes: PrefixCache;
  readonly #store: CellStore;
  readonly #options: SchedulerOptions;
  readonly #maxStreams: number;
  readonly #queue = new Map<number, W>();
  /** Families with queued work as the step began, and since when it has waited. */
  readonly #since = new Map<Family, number>();
  #step = 0;
  #groups = 0;

  constructor(store: CellStore, options: SchedulerOptions) {
    this.#store = store;
    this.#options = options;
    this.prefixes = new PrefixCache(options.prefixCells);
    this.streams = new Streams(store, this.prefixes);
    this.#maxStreams = widestPass(store.shape.streams);
  }

  get #now(): Now {
    return { step: this.#step, since: this.#since };
  }

  get queuedCount(): number {
    return this.#queue.size;
  }

  get jobs(): W[] {
    return [...this.#queue.values()];
  }

  /** A group's stream, which is given a place when its first request runs. */
  family(priority: number, tenant: string): Family {
    this.#groups += 1;
    return new Family(this.#groups, priority, tenant, this.#store.shape.cells);
  }

  add(job: W): void {
    job.sequence.family.join(job.rows); // their cells move with the others when the stream is compacted
    job.since = this.#step;
    this.#queue.set(job.id, job);
  }

  /** Of the jobs of a pass those that wait still. */
  jobsOf({ streams }: PlannedPass): W[] {
    return streams.flatMap(({ items }) => items.flatMap((id) => this.#queue.get(id) ?? []));
  }

  /** Takes a job out of the queue; the cells of its rows are its own until `finish` or `abandon`. */
  remove(job: W): boolean {
    return this.#queue.delete(job.id);
  }

  /** The rows of a job become its sequence's. */
  finish(job: W): void {
    this.#queue.delete(job.id);
    job.sequence.entries.push(...job.rows);
    job.sequence.family.leave(job.rows);
  }

  /** Gives back the cells of rows that were computed for a job that will not finish. */
  abandon(job: W): void {
    const { family } = job.sequence;
    for (const entry of job.rows) family.release(entry.cell);
    job.rows.length = 0;
    family.leave(job.rows);
    if (family.memberCount > 0) this.rewinding(job.sequence, job.base);
    this.release(family);
  }

  /** To be called before a sequence goes back to an earlier length. */
  rewinding({ family }: Holder, length: number): void {
    // where it alone has the stream, its next rows must find free what it gives up: on the prompt's backend places of cells may matter
    if (!family.isShared) this.prefixes.truncate(family, length);
  }

  /** To be called before a sequence lets go of all it has. */
  ending({ family, entries }: Holder): void {
    if (family.memberCount === 1) this.prefixes.enter(family, entries);
  }

  /** To be called when something has left a family: what nobody needs any more is kept for the prefix cache, or forgotten. */
  release(family: Family): void {
    if (family.memberCount > 0) return;
    const { isKept, dropped } = this.prefixes.keep(family);
    for (const gone of isKept ? dropped : [family, ...dropped]) this.streams.forget(gone);
  }

  /** Puts aside every family that has no queued work and was in no pass since. @returns how many streams became free */
  setAside(since: number): number {
    const queued = new Set(this.jobs.map(({ sequence }) => sequence.family));
    return this.streams.putAsideAll((family) => !queued.has(family) && family.lastUsedAt <= since);
  }

  /** Begins a step: its passes. */
  begin(): Plan {
    this.#step += 1;
    const jobs = this.jobs;
    this.#since.clear();
    for (const { sequence, since } of jobs) this.#since.set(sequence.family, Math.min(since, this.#since.get(sequence.family) ?? since));
    if (this.prefixes.isOn) {
      const long = jobs.filter(({ request, rows }) => request.rows - rows.length > fewestReused).map((job) => this.#itemOf(job));
      for (const { id } of long.sort(orderOf)) this.#reuse(this.#queue.get(id)!);
    }
    return plan(
      jobs.map((job) => this.#itemOf(job)),
      this.#maxStreams,
      this.#step,
    );
  }

  /**
   * Copies what the prefix cache has of a job's next rows. Only what the job would otherwise compute to the same bits, and nothing of which it
   * wants results; at least one row is left to it.
   */
  #reuse(job: W): void {
    const { request, sequence, base, rows } = job;
    const { family } = sequence;
    const at = base + rows.length;
    const { grid } = this;
    const key = rootKeyOf(request, family.tenant);
    const last = rows.at(-1) ?? sequence.entries.at(-1);
    if (key === undefined || at % grid !== 0 || (last !== undefined && last.root !== key)) return;
    if (family.isShared && !this.#options.strict) return; // it would run on the other backend
    const wanted = Math.min(request.rows - 1, request.logitRows[0] ?? request.rows, request.hiddenRows[0] ?? request.rows);
    const most = base + wanted - ((base + wanted) % grid);
    if (most - at < Math.max(grid, fewestReused) || job.seenVersion === this.prefixes.version) return;
    const { contents, positions, sees, adapters } = request;
    const next = Array.from({ length: most - at }, (_, index) => {
      const row = rows.length + index;
      return { content: contents[row]!, position: positions[row]!, sees: sees[row], adapters, missing: undefined, root: key };
    });
    const found = this.prefixes.match(key, [...sequence.entries, ...rows, ...next].map(symbolOf), family);
    const count = found === undefined ? 0 : found.length - (found.length % grid) - at;
    if (found === undefined || count < Math.max(grid, fewestReused)) {
      job.seenVersion = this.prefixes.version;
      return;
    }
    if (this.streams.admit([family], this.#now, found.family).length === 0) return;
    const cells = family.take(last?.cell ?? -1, count);
    if (cells === undefined) return; // it has to be compacted first, which its next pass does
    const from = found.family.held.slice(at, at + count).map(({ cell }) => cell);
    this.#store.copyRows(this.streams.rowsOf(found.family, from), this.streams.rowsOf(family, cells));
    rows.push(...cells.map((cell, index) => ({ ...next[index]!, cell })));
    job.reusedRows += count;
    job.since = this.#step;
    found.family.lastUsed = this.#step;
    family.lastUsed = this.#step;
    this.prefixes.hits += 1;
    this.prefixes.tokensSaved += count;
  }

  /** Prefixes are handed on in multiples of so many entries: what a prompt's pass computes whole. */
  get grid(): number {
    return this.#options.strict ? 1 : gridRows;
  }

  /**
   * Gives a pass its streams and its rows their cells. Who has left the queue since the plan was made is not in it; nor who would need a
   * stream that is held by somebody who goes before. After it `commit` or `undo`.
   *
   * @returns undefined where nobody of the pass could be given a stream; no parts where all that could moved to streams of their own first
   */
  place(planned: PlannedPass): Placement<W> | undefined {
    const wanted = planned.streams
      .map(({ items }) => items.map((id) => this.#queue.get(id)).filter((job) => job !== undefined))
      .filter((list) => list.length > 0);
    const resident = new Set(this.streams.admit(wanted.map(familyOfList), this.#now));
    const admitted = wanted.filter((list) => resident.has(familyOfList(list)));
    for (const job of admitted.flat()) this.#makeRoom(job);
    // a sequence that had to leave its family has a stream of its own now: it is planned anew
    const streams = admitted.filter((list) =>
      list.every(({ sequence }) => sequence.family === familyOfList(list) && resident.has(sequence.family)),
    );
    if (admitted.length === 0) return undefined;
    if (streams.length === 0) return { ...planned, parts: [], families: [], first: 0, width: 0 };
    const families = streams.map(familyOfList);
    const width = streamStep(streams.length);
    const first = this.streams.arrange(families, width);
    return { ...planned, parts: this.#takeCells(streams, planned.backend), families, first, width };
  }

  /** A placed pass has run: its rows are computed. */
  commit({ parts, families }: Placement<W>): void {
    for (const family of families) {
      family.lastUsed = this.#step;
      family.lastUsedAt = performance.now();
    }
    for (const { job, entries } of parts.flat()) {
      job.rows.push(...entries);
      job.since = this.#step;
      const isAlive = this.#queue.has(job.id); // otherwise its sequence may be gone, and its rows go as well
      if (isAlive && entries.length >= fewestReused && entries.at(-1)!.root !== undefined)
        this.prefixes.enter(job.sequence.family, [...job.sequence.entries, ...job.rows]);
    }
  }

  /** A placed pass has failed: its cells are given back. */
  undo({ parts }: Placement<W>): void {
    for (const { job, entries } of parts.flat()) for (const { cell } of entries) job.sequence.family.release(cell);
  }

  /** A job's next part as the plan sees it. */
  #itemOf(job: W): QueueItem {
    const { rows, backend } = this.#nextPart(job);
    const { request, sequence } = job;
    const kind = typeof request.contents[0] === "number" ? "tokens" : "embeddings";
    const injections = (request.original.inject ?? []).map(({ tap, map, from }) => `${tap}${from === undefined ? "" : "<"}=${map}`).sort();
    return {
      id: job.id,
      family: this.#familyId(sequence.family),
      priority: sequence.family.priority,
      arrival: job.arrival,
      sequence: sequence.id,
      rows,
      backend,
      since: job.since,
      structure: [kind, request.skipped, request.decides, request.taps, request.exits, injections, runsAlone(request) ? job.id : ""].join(
        "|",
      ),
    };
  }

  readonly #familyIds = new WeakMap<Family, number>();
  #nextFamilyId = 0;
  #familyId(family: Family): number {
    const known = this.#familyIds.get(family);
    if (known !== undefined) return known;
    this.#nextFamilyId += 1;
    this.#familyIds.set(family, this.#nextFamilyId);
    return this.#nextFamilyId;
  }

  /**
   * Rows of the next pass and where it runs. A prompt's passes begin and end at multiples of the grid, counted from the start of the
   * sequence, up to the chunk size; what is left over runs on the invariant backend. The other one's kernels work by tiles of as many rows,
   * so how a prompt is divided, and what of it the prefix cache had, changes no bits. Sequences that share a stream keep to the
   * invariant backend, since tiles of cells may depend on where cells lie. Exits need the head's rows in the pass itself.
   */
  #nextPart(job: W): { rows: number; backend: BackendName } {
    const { chunkRows, strict } = this.#options;
    const done = job.rows.length;
    const left = job.request.rows - done;
    const at = job.base + done;
    const most = job.request.exits.length > 0 ? headSlice - 1 : chunkRows;
    const rows = job.request.isWhole ? left : Math.min(left, most, chunkRows - (at % chunkRows));
    const isPlain = job.request.isChain && !job.request.taps.some(isPattern) && !job.sequence.family.isShared;
    if (strict || !isPlain || rows < gridRows) return { rows, backend: "invariant" };
    return { rows: at % gridRows === 0 && !job.request.isWhole ? rows - (rows % gridRows) : rows, backend: "fast" };
  }

  /** Where a resident family's stream is too full for a job's next rows: close its gaps, or give the sequence a stream of its own. */
  #makeRoom(job: W): void {
    const { sequence } = job;
    const { rows } = this.#nextPart(job);
    const lastCell = (job.rows.at(-1) ?? sequence.entries.at(-1))?.cell ?? -1;
    if (sequence.family.hasRoom(lastCell, rows)) return;
    const { family } = sequence;
    this.streams.compact(family);
    if (family.end + rows <= family.capacity) return;
    if (family.held.length > 0) {
      this.prefixes.drop(family); // what only the prefix cache needs of what siblings left
      this.streams.compact(family);
      if (family.end + rows <= family.capacity) return;
    }
    this.#moveOut(job);
  }

  /** Copies a sequence's cells into a stream of its own. */
  #moveOut(job: W): void {
    const { sequence } = job;
    const old = sequence.family;
    const own = [...sequence.entries, ...job.rows];
    const bytes = this.#store.save(
      this.streams.rowsOf(
        old,
        own.map(({ cell }) => cell),
      ),
    );
    const family = new Family(old.group, old.priority, old.tenant, this.#store.shape.cells);
    const cells = family.take(-1, own.length);
    const { contextLength } = this.#options;
    if (cells === undefined)
      throw new ContextOverflowError("a sequence is longer than a stream", { neededTokens: own.length, contextLength });
    const copies = own.map((entry, index): Entry => ({ ...entry, cell: cells[index]! }));
    for (const { cell } of own) old.release(cell);
    old.leave(sequence.entries);
    old.leave(job.rows);
    family.isShared = true; // it was, and must not be treated otherwise for having moved
    family.saved = { cells, bytes };
    sequence.entries.splice(0, sequence.entries.length, ...copies.slice(0, sequence.entries.length));
    job.rows.splice(0, job.rows.length, ...copies.slice(sequence.entries.length));
    sequence.family = family;
    family.join(sequence.entries);
    family.join(job.rows);
    this.streams.adoptSaved(family);
    this.release(old);
  }

  /** The key under which a job's next rows may be handed on, if they may. */
  #rootOf({ request, sequence, base, rows }: W, backend: BackendName): string | undefined {
    if (!this.prefixes.isOn) return undefined;
    const at = base + rows.length;
    if (!this.#options.strict && (backend !== "fast" || at % gridRows !== 0)) return undefined;
    const key = rootKeyOf(request, sequence.family.tenant);
    const last = rows.at(-1) ?? sequence.entries.at(-1);
    return last === undefined || last.root === key ? key : undefined;
  }

  /** Gives rows their cells; jobs whose neighbours of the same stream took the last ones have their turn in the next step. */
  #takeCells(streams: readonly (readonly W[])[], backend: BackendName): Part<W>[][] {
    return streams.map((list) => {
      const parts: Part<W>[] = [];
      for (const job of list) {
        const { request, sequence } = job;
        const { rows } = this.#nextPart(job);
        const from = job.rows.length;
        const lastCell = (job.rows.at(-1) ?? sequence.entries.at(-1))?.cell ?? -1;
        const cells = sequence.family.take(lastCell, rows);
        if (cells === undefined) continue;
        const missing = missingOf(request.skipped);
        const root = this.#rootOf(job, backend);
        const entries = cells.map((cell, index) => ({
          cell,
          position: request.positions[from + index]!,
          content: request.contents[from + index]!,
          sees: request.sees[from + index],
          adapters: request.adapters,
          missing,
          root,
        }));
        parts.push({ job, from, entries });
      }
      return parts;
    });
  }
}

/** Copying fewer entries is not worth its while, and what drafts wrote and take back need not be entered. */
const fewestReused = 16;

/** Attention weights come by other arithmetic, and exits of many rows need much memory: such requests share no pass. */
const runsAlone = ({ taps, exits }: Pick<CheckedRequest, "taps" | "exits">): boolean => exits.length > 0 || taps.some(isPattern);

/** What of these half-blocks leaves a hole in the keys and values. */
export function missingOf(skipped: readonly string[]): ReadonlySet<string> | undefined {
  const attention = skipped.filter((half) => half.endsWith(".attn"));
  return attention.length === 0 ? undefined : new Set(attention);
}

/** The family whose stream a list of jobs shares. */
const familyOfList = (list: readonly Work[]): Family => list[0]!.sequence.family;
