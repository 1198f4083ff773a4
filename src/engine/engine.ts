import { ContextOverflowError, DisposedError, MemoryError, NativeError, OptionError } from "../errors.ts";
import type { BackendName, Device } from "../ggml/index.ts";
import type { Transformer } from "../models/index.ts";
import type { Storage, Tensor } from "../tensor/index.ts";
import { type Entry, Family } from "./family.ts";
import { KvCache } from "./kv-cache.ts";
import { ModelSequence } from "./model-sequence.ts";
import { fillInputs, headSlice, isPattern, type Job, type Part, type PassParts, readResults } from "./pass-io.ts";
import { type PlannedPass, plan, type QueueItem } from "./plan.ts";
import { ProgramCache } from "./programs.ts";
import { type CheckedRequest, checkRequest } from "./request.ts";
import { RuleRow, SegmentedPass } from "./segmented-pass.ts";
import type { ForwardRequest, ForwardResult } from "./sequence.ts";
import { Streams } from "./streams.ts";
import { cellStep, outputStep, type Structure, streamStep, structureKey } from "./structure.ts";
import { ThreadTuner } from "./thread-tuner.ts";

export interface EngineOptions {
  /** Most entries of one sequence. Default: the model's, at most 4,096. */
  readonly contextLength?: number;
  /** Bytes for keys and values. Default: a quarter of the free memory. */
  readonly cacheBytes?: number;
  readonly cacheType?: "f16" | "f32";
  /** Run prompts on the invariant backend too: then it does not matter where a text was divided. */
  readonly strict?: boolean;
  /** Rows of a prompt chunk, a multiple of 64. */
  readonly chunkRows?: number;
  /** Bytes of compiled programs kept. */
  readonly programBytes?: number;
  /** Let the number of threads follow what passes cost, from the device's own number downwards. Default false. */
  readonly tuneThreads?: boolean;
  /** Weights that the invariant backend multiplies one row per plane. */
  readonly rowWise?: (storage: Storage) => boolean;
}

/** Rows of a prompt chunk: the larger, the fewer the barriers per row; measured by `npm run bench`. */
const defaultChunkRows = 512;

/**
 * Runs a model's sequences. Whatever waits when a step begins shares its passes; awaiting is batching.
 *
 * The order of things (design: "awaiting is batching"): something is queued; one turn of the event loop, so that everything the last pass
 * resumed can ask again; the plan; the passes; all results at once; again.
 */
export class Engine implements AsyncDisposable {
  readonly model: Transformer;
  readonly contextLength: number;
  readonly strict: boolean;
  readonly chunkRows: number;
  readonly cache: KvCache;
  readonly programs: ProgramCache;
  readonly #device: Device;
  readonly #streams: Streams;
  readonly #maxStreams: number;
  readonly #tuner: ThreadTuner | undefined;
  readonly #maps = new Map<string, (state: Tensor) => Tensor>();
  readonly #queue = new Set<Job>();
  #stepping: Promise<void> | undefined;
  #inPass = new Set<Job>();
  #step = 0;
  #groups = 0;
  #sequences = 0;
  #jobs = 0;
  #isDisposed = false;
  /** Passes run since the start. */
  passCount = 0;

  /** @throws MemoryError naming the option that bounds it */
  static create(device: Device, model: Transformer, options: EngineOptions = {}): Engine {
    const { cacheType = "f16" } = options;
    const contextLength = options.contextLength ?? Math.min(model.config.contextLength, 4096);
    if (!Number.isInteger(contextLength) || contextLength < 1 || contextLength > model.config.contextLength) {
      throw new OptionError("context", `must be an integer in [1, ${model.config.contextLength}], got ${contextLength}`);
    }
    const chunkRows = options.chunkRows ?? defaultChunkRows;
    if (!Number.isInteger(chunkRows) || chunkRows < 64 || chunkRows > 512 || chunkRows % 64 !== 0)
      throw new OptionError("chunkRows", `must be a multiple of 64 in [64, 512], got ${chunkRows}`);
    const cells = Math.ceil(contextLength / 256) * 256;
    const streamBytes = cells * KvCache.cellBytes(model.config, cacheType);
    const { freeBytes } = device.memory();
    const cacheBytes = options.cacheBytes ?? Math.max(Math.floor(freeBytes / 4), streamBytes);
    if (!(cacheBytes > 0)) throw new OptionError("cacheBytes", `must be > 0, got ${cacheBytes}`);
    if (cacheBytes > freeBytes)
      throw new MemoryError(`cacheBytes ${cacheBytes} is more than the free memory of ${freeBytes} bytes`, {
        neededBytes: cacheBytes,
        availableBytes: freeBytes,
      });
    const streams = Math.min(Math.floor(cacheBytes / streamBytes), mostStreams);
    if (streams < 1) {
      throw new MemoryError(
        `one sequence of ${contextLength} tokens needs ${streamBytes} bytes of cache, cacheBytes is ${cacheBytes}: raise cacheBytes or lower context`,
        {
          neededBytes: streamBytes,
          availableBytes: cacheBytes,
        },
      );
    }
    const cache = KvCache.create(device, model.config, { streams, cells, dtype: cacheType });
    return new Engine(device, model, cache, { ...options, contextLength, chunkRows });
  }

  private constructor(
    device: Device,
    model: Transformer,
    cache: KvCache,
    options: EngineOptions & { contextLength: number; chunkRows: number },
  ) {
    this.#device = device;
    this.model = model;
    this.cache = cache;
    this.contextLength = options.contextLength;
    this.strict = options.strict ?? false;
    this.chunkRows = options.chunkRows;
    this.#tuner = options.tuneThreads ? new ThreadTuner(device.threads) : undefined;
    this.#streams = new Streams(cache);
    this.#maxStreams = 2 ** Math.floor(Math.log2(cache.shape.streams));
    this.programs = new ProgramCache(device, model, cache, {
      maps: this.#maps,
      rowWise: options.rowWise ?? (() => false),
      maxBytes: options.programBytes ?? 256 * 2 ** 20,
    });
  }

  /** An empty sequence: the root of a group of forks. Higher priorities go first. */
  sequence(options: { priority?: number } = {}): ModelSequence {
    this.#assertAlive();
    const { priority = 0 } = options;
    if (!Number.isInteger(priority)) throw new OptionError("priority", `must be an integer, got ${priority}`);
    this.#groups += 1;
    return this.join(new Family(this.#groups, priority, this.cache.shape.cells));
  }

  /** @internal a sequence that shares a family's stream */
  join(family: Family): ModelSequence {
    family.isShared ||= family.memberCount > 0;
    this.#sequences += 1;
    return new ModelSequence(this, family, this.#sequences);
  }

  /** @internal called when a sequence has left its family */
  release(family: Family): void {
    if (family.memberCount === 0) this.#streams.forget(family);
  }

  /** Registers a module that injections may name. */
  registerMap(name: string, map: (state: Tensor) => Tensor): void {
    if (name === "identity" || this.#maps.has(name)) throw new OptionError("registerMap", `a map named "${name}" exists already`);
    this.#maps.set(name, map);
  }

  /** Streams in use, groups put aside, bytes of caches and programs: for `memory()` and metrics. */
  statistics() {
    return {
      streams: this.cache.shape.streams,
      streamsUsed: this.#streams.usedCount,
      queued: this.#queue.size,
      preemptions: this.#streams.preemptions,
      savedBytes: this.#streams.savedBytes,
      cacheBytes: this.cache.sizeBytes,
      programs: { count: this.programs.count, hits: this.programs.hits, misses: this.programs.misses, bytes: this.programs.bytes },
      passes: this.passCount,
    };
  }

  /** @internal what `ModelSequence.forward` awaits */
  async evaluate(
    sequence: ModelSequence,
    original: ForwardRequest,
  ): Promise<{ result: ForwardResult; parents: readonly number[]; isChain: boolean }> {
    this.#assertAlive();
    original.signal?.throwIfAborted();
    const request = checkRequest(original, sequence.entries, this.model, this.contextLength, this.#maps);
    const hole = sequence.entries.find(
      ({ missing }) => missing !== undefined && [...missing].some((half) => !request.skipped.includes(half)),
    );
    if (hole !== undefined) await this.fill(sequence);
    original.signal?.throwIfAborted();
    const result = await new Promise<ForwardResult>((resolve, reject) => {
      this.#jobs += 1;
      const job: Job = {
        id: this.#jobs,
        sequence,
        request,
        base: sequence.length,
        rows: [],
        results: new Map(),
        taps: new Map(),
        arrival: sequence.family.group,
        queuedAt: performance.now(),
        startedAt: 0,
        passIds: [],
        computedRows: 0,
        computeMs: 0,
        resolve,
        reject,
        onAbort: undefined,
        isCancelled: false,
      };
      const { signal } = original;
      if (signal !== undefined) {
        job.onAbort = () => this.#cancelJob(job, signal.reason);
        signal.addEventListener("abort", job.onAbort, { once: true });
      }
      sequence.family.join(job.rows); // their cells move with the others when the stream is compacted
      this.#queue.add(job);
      this.#wake();
    });
    return { result, parents: request.parents, isChain: request.isChain };
  }

  /** @internal computes the keys and values that earlier requests left out */
  async fill(sequence: ModelSequence): Promise<void> {
    const from = sequence.entries.findIndex(({ missing }) => missing !== undefined);
    if (from === -1) return;
    // everything from the first hole on is computed again, into new cells, as it was asked for but with every half-block
    const again = sequence.entries.slice(from);
    const copy = this.join(sequence.family);
    try {
      copy.adopt(sequence.entries.slice(0, from));
      for (const run of runsOf(again)) {
        const contents = run.map(({ content }) => content);
        const isTokens = contents.every((content) => typeof content === "number");
        const hiddenSize = this.model.config.hiddenSize;
        const values = isTokens ? undefined : new Float32Array(contents.length * hiddenSize);
        if (values !== undefined) for (const [row, content] of contents.entries()) values.set(content as Float32Array, row * hiddenSize);
        await copy.forward({
          input: values === undefined ? (contents as never) : { values, hiddenSize },
          positions: run.map(({ position }) => position),
          visible: run.flatMap(({ sees }, row) => (sees === undefined ? [] : [{ rows: [row, row + 1] as const, sees }])),
        });
      }
      for (const entry of again) sequence.family.release(entry.cell);
      sequence.entries.length = from;
      for (const entry of copy.entries.slice(from)) {
        sequence.family.retain(entry.cell);
        sequence.entries.push(entry);
      }
    } finally {
      copy[Symbol.dispose]();
    }
  }

  /** @internal drops what a sequence has queued */
  cancel(sequence: ModelSequence): void {
    for (const job of this.#queue) if (job.sequence === sequence) this.#cancelJob(job, new DisposedError("a sequence"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    for (const job of [...this.#queue]) this.#cancelJob(job, new DisposedError("the engine"));
    await this.#stepping;
    this.programs[Symbol.dispose]();
    this.cache[Symbol.dispose]();
  }

  #assertAlive(): void {
    if (this.#isDisposed) throw new DisposedError("the engine");
  }

  /** A job whose result nobody wants any more: out of the queue at once, out of a running pass when that ends. */
  #cancelJob(job: Job, reason: unknown): void {
    if (!this.#queue.has(job)) return;
    this.#queue.delete(job);
    job.isCancelled = true;
    if (this.#inPass.has(job)) {
      if ([...this.#inPass].every(({ isCancelled }) => isCancelled)) this.#device.cancel();
    } else this.#abandon(job);
    this.#settle(job);
    job.reject(reason);
  }

  /** Gives back the cells of rows that were computed for a job that will not finish. */
  #abandon(job: Job): void {
    const { family } = job.sequence;
    for (const entry of job.rows) family.release(entry.cell);
    job.rows.length = 0;
    family.leave(job.rows);
    this.release(family);
  }

  #settle(job: Job): void {
    if (job.onAbort !== undefined) job.request.original.signal?.removeEventListener("abort", job.onAbort);
  }

  #wake(): void {
    this.#stepping ??= this.#run().finally(() => {
      this.#stepping = undefined;
      if (this.#queue.size > 0) this.#wake();
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.size > 0) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      this.#step += 1;
      const jobs = new Map([...this.#queue].map((job) => [job.id, job]));
      const items: QueueItem[] = [];
      for (const job of jobs.values()) items.push(this.#itemOf(job));
      const queued = new Set([...jobs.values()].map(({ sequence }) => sequence.family));
      const isQueued = (family: Family) => queued.has(family);
      const finished: Job[] = [];
      let ran = 0;
      for (const planned of plan(items, this.#maxStreams)) {
        const wanted = planned.streams
          .map(({ items: ids }) => ids.map((id) => jobs.get(id)!).filter((job) => !job.isCancelled))
          .filter((list) => list.length > 0);
        if (wanted.length === 0) continue;
        const done = await this.#runPass(planned, wanted, isQueued);
        if (done === undefined) continue; // no stream to be had in this step
        ran += 1;
        finished.push(...done);
      }
      if (ran === 0 && finished.length === 0 && this.#queue.size > 0 && [...jobs.values()].some((job) => !job.isCancelled)) {
        const error = new NativeError("internal: no queued request could be given a stream");
        for (const job of [...this.#queue]) this.#fail(job, error);
      }
      for (const job of finished) this.#finish(job); // all at once, so that what they ask next can share a pass
    }
  }

  /** A job's next part as the plan sees it. */
  #itemOf(job: Job): QueueItem {
    const { rows, backend } = this.#nextPart(job);
    const { request } = job;
    const { original } = request;
    const kind = typeof request.contents[0] === "number" ? "tokens" : "embeddings";
    const injections = (original.inject ?? []).map(({ tap, map }) => `${tap}=${map}`).sort();
    return {
      id: job.id,
      family: this.#familyId(job.sequence.family),
      priority: job.sequence.family.priority,
      arrival: job.arrival,
      sequence: job.sequence.id,
      rows,
      backend,
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
   * Rows of the next pass and where it runs. Prompts are divided at multiples of the chunk size, counted from the start of the
   * sequence, so that where they are divided depends on nothing but their own length. Sequences that share a stream keep to the
   * invariant backend: the other one works by tiles of cells, so its bits may depend on where cells lie. Exits need the head's rows in the pass itself.
   */
  #nextPart(job: Job): { rows: number; backend: BackendName } {
    const done = job.rows.length;
    const left = job.request.rows - done;
    const at = job.base + done;
    const most = job.request.exits.length > 0 ? headSlice - 1 : this.chunkRows;
    const rows = Math.min(left, most, this.chunkRows - (at % this.chunkRows));
    const isPlain = job.request.isChain && !job.request.taps.some(isPattern) && !job.sequence.family.isShared;
    return { rows, backend: !this.strict && isPlain && rows >= 64 ? "fast" : "invariant" };
  }

  /** Runs one pass; returns the jobs that are done, or undefined where none of its streams can be had now. */
  async #runPass(
    planned: PlannedPass,
    wanted: readonly (readonly Job[])[],
    isQueued: (family: Family) => boolean,
  ): Promise<Job[] | undefined> {
    const jobs = wanted.flat();
    let taken: readonly Part[] = []; // rows that have cells and are not yet among their job's
    try {
      const resident = new Set(this.#streams.admit(wanted.map(familyOfList), isQueued));
      const admitted = wanted.filter((list) => resident.has(familyOfList(list)));
      if (admitted.length === 0) return undefined;
      for (const job of admitted.flat()) this.#makeRoom(job);
      // a sequence that had to leave its family has a stream of its own now: it is planned anew
      const streams = admitted.filter((list) =>
        list.every(({ sequence }) => sequence.family === familyOfList(list) && resident.has(sequence.family)),
      );
      if (streams.length === 0) return [];
      const families = streams.map(familyOfList);
      const width = streamStep(streams.length);
      const first = this.#streams.arrange(families, width);
      const parts = this.#takeCells(streams);
      taken = parts.flat();
      const structure = this.#structureOf(planned, parts, width);
      const ruled = ruleRowsOf(parts, first, structure);
      const program =
        ruled.length === 0
          ? this.programs.pass(structure)
          : new SegmentedPass(
              this.#device,
              this.programs,
              structure,
              this.model,
              this.cache,
              ruled.map(({ decided }) => decided),
            );
      const outputs = fillInputs(program, structure, parts, first, this.model, this.cache);
      const running = parts.flat().map(({ job }) => job);
      this.#inPass = new Set(running);
      for (const job of running) job.startedAt ||= performance.now();
      if (this.#tuner !== undefined) this.#device.setThreads(this.#tuner.threads);
      const start = performance.now();
      const outcome = await program.run();
      const computeMs = performance.now() - start;
      if (outcome === "done") this.#tuner?.observe(structureKey(structure), computeMs);
      this.passCount += 1;
      for (const family of families) family.lastUsed = this.#step;
      for (const { job, entries } of taken) {
        job.rows.push(...entries);
        job.passIds.push(this.passCount);
        job.computedRows += entries.length;
        job.computeMs += computeMs;
      }
      taken = [];
      if (outcome === "cancelled") return []; // everybody in it had left
      await readResults(program, structure, outputs, parts, first, this.model, this.programs);
      for (const { decided, job, entry, requestRow } of ruled) {
        entry.missing = missingOf(decided.skipped);
        const result = job.results.get(requestRow);
        if (result !== undefined) result.skipped = decided.skipped;
        if (decided.error !== undefined) this.#fail(job, decided.error);
      }
      return running.filter((job) => !job.isCancelled && job.rows.length === job.request.rows);
    } catch (error) {
      for (const { job, entries } of taken) for (const { cell } of entries) job.sequence.family.release(cell);
      for (const job of jobs) this.#fail(job, error);
      return [];
    } finally {
      for (const job of this.#inPass) if (job.isCancelled) this.#abandon(job); // those who left while it ran
      this.#inPass = new Set();
    }
  }

  #fail(job: Job, error: unknown): void {
    if (!this.#queue.delete(job)) return; // it left before
    this.#abandon(job);
    this.#settle(job);
    job.isCancelled = true;
    job.reject(error);
  }

  /** Where a resident family's stream is too full for a job's next rows: close its gaps, or give the sequence a stream of its own. */
  #makeRoom(job: Job): void {
    const { sequence } = job;
    const { rows } = this.#nextPart(job);
    const lastCell = (job.rows.at(-1) ?? sequence.entries.at(-1))?.cell ?? -1;
    const probe = sequence.family.take(lastCell, rows);
    if (probe !== undefined) {
      for (const cell of probe) sequence.family.release(cell);
      return;
    }
    this.#streams.compact(sequence.family);
    if (sequence.family.end + rows <= sequence.family.capacity) return;
    this.#moveOut(job);
  }

  /** Copies a sequence's cells into a stream of its own. */
  #moveOut(job: Job): void {
    const { sequence } = job;
    const old = sequence.family;
    const own = [...sequence.entries, ...job.rows];
    const bytes = this.cache.save(
      this.#streams.rowsOf(
        old,
        own.map(({ cell }) => cell),
      ),
    );
    const family = new Family(old.group, old.priority, this.cache.shape.cells);
    const cells = family.take(-1, own.length);
    if (cells === undefined)
      throw new ContextOverflowError("a sequence is longer than a stream", { neededTokens: own.length, contextLength: this.contextLength });
    const copies = own.map((entry, index) => ({ ...entry, cell: cells[index]! }));
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
    this.#streams.adoptSaved(family);
    this.release(old);
  }

  /** Gives rows their cells; jobs whose neighbours of the same stream took the last ones have their turn in the next step. */
  #takeCells(streams: readonly (readonly Job[])[]): Part[][] {
    const taken: Part[][] = [];
    for (const list of streams) {
      const parts: Part[] = [];
      for (const job of list) {
        const { request, sequence } = job;
        const { rows } = this.#nextPart(job);
        const from = job.rows.length;
        const lastCell = (job.rows.at(-1) ?? sequence.entries.at(-1))?.cell ?? -1;
        const cells = sequence.family.take(lastCell, rows);
        if (cells === undefined) continue;
        const missing = missingOf(request.skipped);
        const entries = cells.map((cell, index) => ({
          cell,
          position: request.positions[from + index]!,
          content: request.contents[from + index]!,
          sees: request.sees[from + index],
          missing,
        }));
        parts.push({ job, from, entries });
      }
      taken.push(parts);
    }
    return taken;
  }

  #structureOf(planned: PlannedPass, parts: readonly (readonly Part[])[], streams: number): Structure {
    const { request } = parts[0]![0]!.job;
    const all = parts.flat();
    const logits = all.reduce((sum, { job, from, entries }) => sum + countWithin(job.request.logitRows, from, entries.length), 0);
    const outputs = all.reduce(
      (sum, { job, from, entries }) => sum + countWithin(union(job.request.logitRows, job.request.hiddenRows), from, entries.length),
      0,
    );
    const cells = Math.max(...parts.map((list) => list[0]!.job.sequence.family.end));
    return {
      backend: planned.backend,
      streams,
      rows: planned.rows,
      cells: cellStep(cells, this.cache.shape.cells),
      outputs: outputStep(outputs, streams, planned.rows),
      head: logits > 0 && outputs <= headSlice,
      input: typeof request.contents[0] === "number" ? "tokens" : "embeddings",
      skipped: request.skipped,
      decides: request.decides,
      taps: request.taps,
      exits: request.exits,
      injections: [...new Map((request.original.inject ?? []).map(({ tap, map }) => [tap, { tap, map }])).values()].sort((a, b) =>
        a.tap < b.tap ? -1 : 1,
      ),
    };
  }

  #finish(job: Job): void {
    if (job.isCancelled) return;
    this.#queue.delete(job);
    this.#settle(job);
    job.sequence.entries.push(...job.rows);
    job.sequence.family.leave(job.rows);
    job.resolve({
      rows: [...job.results.values()].sort((a, b) => a.row - b.row),
      taps: job.taps,
      cost: {
        ...{ passes: job.passIds.length, passIds: job.passIds, rows: job.computedRows },
        ...{ computeMs: job.computeMs, queueMs: job.startedAt - job.queuedAt },
      },
    });
  }
}

const mostStreams = 64;

/** Attention weights come by other arithmetic, and exits of many rows need much memory: such requests share no pass. */
const runsAlone = ({ taps, exits }: CheckedRequest): boolean => exits.length > 0 || taps.some(isPattern);

function missingOf(skipped: readonly string[]): ReadonlySet<string> | undefined {
  const attention = skipped.filter((half) => half.endsWith(".attn"));
  return attention.length === 0 ? undefined : new Set(attention);
}

/** The rows of a pass on which a rule decides; none where the pass is not cut. */
function ruleRowsOf(parts: PassParts, first: number, { rows, decides }: Structure) {
  const ruled: { readonly decided: RuleRow; readonly job: Job; readonly entry: Entry; readonly requestRow: number }[] = [];
  if (decides.length === 0) return ruled;
  for (const list of parts) {
    let row = (list[0]!.job.sequence.family.slot! - first) * rows;
    for (const { job, from, entries } of list) {
      for (const [index, entry] of entries.entries()) {
        ruled.push({ decided: new RuleRow(row, job.request.rule!, entry.position), job, entry, requestRow: from + index });
        row += 1;
      }
    }
  }
  return ruled;
}

function countWithin(rows: readonly number[], from: number, count: number): number {
  return rows.reduce((sum, row) => sum + (row >= from && row < from + count ? 1 : 0), 0);
}

function union(a: readonly number[], b: readonly number[]): readonly number[] {
  return b.length === 0 ? a : a.length === 0 ? b : [...new Set([...a, ...b])];
}

/** The family whose stream a list of jobs shares. */
const familyOfList = (list: readonly Job[]): Family => list[0]!.sequence.family;

/** Stretches of entries of one kind of content, which one request can hold. */
function runsOf(entries: readonly Entry[]): Entry[][] {
  const runs: Entry[][] = [];
  for (const entry of entries) {
    const run = runs.at(-1);
    if (run !== undefined && typeof run[0]!.content === typeof entry.content) run.push(entry);
    else runs.push([entry]);
  }
  return runs;
}
