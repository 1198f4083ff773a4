import { type Adapter, AdapterStacks, type AppliedAdapter } from "../adapters/index.ts";
import { DisposedError, MemoryError, NativeError, OptionError } from "../errors.ts";
import type { Device } from "../ggml/index.ts";
import type { Transformer } from "../models/index.ts";
import { Program, type Storage, type Tensor } from "../tensor/index.ts";
import { FloatTensors } from "../weights/index.ts";
import type { Entry, Family } from "./family.ts";
import { HalfCount } from "./half-count.ts";
import { KvCache } from "./kv-cache.ts";
import { ModelSequence } from "./model-sequence.ts";
import { fillInputs, type Job, type PassParts, readResults } from "./pass-io.ts";
import type { PlannedPass } from "./plan.ts";
import { ProgramCache } from "./programs.ts";
import { checkRequest } from "./request.ts";
import { missingOf, type Placement, Scheduler } from "./scheduler.ts";
import { RuleRow, SegmentedPass } from "./segmented-pass.ts";
import type { ForwardRequest, ForwardResult } from "./sequence.ts";
import { cellStep, headSlice, outputStep, type Structure, structureKey } from "./structure.ts";
import { ThreadTuner } from "./thread-tuner.ts";

export interface EngineOptions {
  /** Most entries of one sequence. Default: the model's, at most 4,096. */
  readonly contextLength?: number;
  /** Bytes for keys and values. Default: a quarter of the free memory. */
  readonly cacheBytes?: number;
  readonly cacheType?: "f16" | "f32";
  /** Run prompts on the invariant backend too: then it does not matter where a text was divided. */
  readonly strict?: boolean;
  /** Most rows of a prompt's pass, a multiple of 64. Changes no bits where `probeDivision` says so. */
  readonly chunkRows?: number;
  /**
   * Most bytes of keys and values that are kept of ended prompts, so that later ones with the same beginning need not compute it. They lie in the
   * cache's own streams and go first when one is needed. 0 turns it off. Default: half of the cache.
   */
  readonly prefixCacheBytes?: number;
  /** Bytes of compiled programs kept. */
  readonly programBytes?: number;
  /** Let the number of threads follow what passes cost, from the device's own number downwards. Default false. */
  readonly tuneThreads?: boolean;
  /** Weights that the invariant backend multiplies one row per plane. */
  readonly rowWise?: (storage: Storage) => boolean;
}

/** Most rows of a prompt's pass: the larger, the longer everybody else waits for the next. Against 512 it costs prompts 0 to 2 %, 128 costs 2 to 7 %. */
const defaultChunkRows = 256;

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
  readonly #scheduler: Scheduler<Job>;
  readonly #tuner: ThreadTuner | undefined;
  readonly #maps = new Map<string, (state: Tensor) => Tensor>();
  readonly #adapters: AdapterStacks;
  /** What is to be done between two passes. */
  readonly #changes: (() => void)[] = [];
  #stepping: Promise<void> | undefined;
  #inPass = new Set<Job>();
  #running: Program | undefined;
  #sequences = 0;
  #jobs = 0;
  #isDisposed = false;
  /** Passes run since the start. */
  passCount = 0;
  /** Rows for which half-blocks ran since the start; passes that were cancelled or failed don't count. */
  readonly ranHalves = new HalfCount();

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
    const { prefixCacheBytes = 0 } = options;
    if (!(prefixCacheBytes >= 0)) throw new OptionError("prefixCacheBytes", `must be >= 0, got ${prefixCacheBytes}`);
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
    const { contextLength, chunkRows, strict } = this;
    const prefixCells = Math.floor((options.prefixCacheBytes ?? cache.sizeBytes / 2) / KvCache.cellBytes(model.config, cache.shape.dtype));
    this.#scheduler = new Scheduler(cache, { contextLength, chunkRows, strict, prefixCells });
    this.#adapters = new AdapterStacks((tensors) => FloatTensors.create(device, tensors));
    this.programs = new ProgramCache(device, model, cache, {
      maps: this.#maps,
      adapters: this.#adapters,
      rowWise: options.rowWise ?? (() => false),
      maxBytes: options.programBytes ?? 256 * 2 ** 20,
    });
  }

  /**
   * An empty sequence: the root of a group of forks.
   * @param options.priority   higher ones go first
   * @param options.prefixKey  prefixes are handed on between sequences of the same key only: that of one client, for instance
   * @param options.adapters   of every request of the sequence and its forks that names none itself
   */
  sequence(
    options: { priority?: number; prefixKey?: string; adapters?: readonly { readonly name: string; readonly scale: number }[] } = {},
  ): ModelSequence {
    this.#assertAlive();
    const { priority = 0, prefixKey = "" } = options;
    if (!Number.isInteger(priority)) throw new OptionError("priority", `must be an integer, got ${priority}`);
    const { adapters = [] } = options;
    this.#adapters.apply(adapters);
    return this.join(this.#scheduler.family(priority, prefixKey), adapters);
  }

  /** @internal a sequence that shares a family's stream */
  join(family: Family, adapters: ForwardRequest["adapters"] = []): ModelSequence {
    family.isShared ||= family.memberCount > 0;
    this.#sequences += 1;
    return new ModelSequence(this, family, this.#sequences, adapters);
  }

  /** @internal called when a sequence has left its family */
  release(family: Family): void {
    this.#scheduler.release(family);
  }

  /**
   * Moves to host memory the cache of every group that has asked for nothing for so long, so that others needn't wait for its stream. It
   * comes back bit for bit when the group asks again.
   *
   * @returns how many streams became free
   */
  setAside({ idleMs }: { idleMs: number }): number {
    this.#assertAlive();
    return this.#scheduler.setAside(performance.now() - idleMs);
  }

  /** @internal called before a sequence forgets what comes after `length` */
  rewinding(sequence: ModelSequence, length: number): void {
    this.#scheduler.rewinding(sequence, length);
  }

  /** @internal called before a sequence leaves its family */
  ending(sequence: ModelSequence): void {
    this.#scheduler.ending(sequence);
  }

  /** Registers a module that injections may name. */
  registerMap(name: string, map: (state: Tensor) => Tensor): void {
    if (name === "identity" || this.#maps.has(name)) throw new OptionError("registerMap", `a map named "${name}" exists already`);
    this.#maps.set(name, map);
  }

  /** Names of the loaded adapters. */
  get adapters(): string[] {
    return this.#adapters.names;
  }

  /**
   * Loads an adapter, which has been checked against the model's file, under a name that requests may use from then on.
   * @throws OptionError for a name that is taken or can't be one, MemoryError
   */
  async addAdapter(name: string, adapter: Adapter): Promise<void> {
    if (!/^[\w][\w.-]{0,99}$/.test(name))
      throw new OptionError("name", `must be letters, digits, dots and dashes, at most 100, got ${JSON.stringify(name)}`);
    await this.#betweenPasses(() => this.#adapters.add(name, adapter));
  }

  /** Forgets an adapter; requests that wait for a pass with it fail. @throws OptionError for a name that is not loaded */
  async removeAdapter(name: string): Promise<void> {
    await this.#betweenPasses(() => {
      this.#adapters.remove(name);
      const uses = ({ request: { adapters } }: Job) => adapters.some((one) => one.name === name);
      for (const job of this.#scheduler.jobs.filter(uses)) this.#fail(job, new OptionError("adapters", `"${name}" was unloaded`));
    });
  }

  #betweenPasses(change: () => void): Promise<void> {
    this.#assertAlive();
    return new Promise((resolve, reject) => {
      this.#changes.push(() => {
        try {
          change();
          resolve();
        } catch (error) {
          reject(error);
        } finally {
          this.programs.forgetAdapted(); // their matrices have moved
        }
      });
      this.#wake();
    });
  }

  /** Streams in use, groups put aside, bytes of caches and programs: for `memory()` and metrics. */
  statistics() {
    const { streams, prefixes } = this.#scheduler;
    return {
      streams: this.cache.shape.streams,
      streamsUsed: streams.usedCount,
      queued: this.#scheduler.queuedCount,
      preemptions: streams.preemptions,
      savedBytes: streams.savedBytes,
      cacheBytes: this.cache.sizeBytes,
      adapterBytes: this.#adapters.sizeBytes,
      prefixCache: {
        streams: prefixes.kept.length,
        bytes: prefixes.keptCells * KvCache.cellBytes(this.model.config, this.cache.shape.dtype),
        hits: prefixes.hits,
        tokensSaved: prefixes.tokensSaved,
      },
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
    const request = checkRequest(original, sequence.entries, this.model, this.contextLength, this.#maps, this.#adapters);
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
        since: 0,
        reusedRows: 0,
        seenVersion: undefined,
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
      this.#scheduler.add(job);
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
    this.#adapters.usesOf(again.map(({ adapters }) => adapters)); // they must be those that are loaded now
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
          adapters: run[0]!.adapters,
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
    for (const job of this.#scheduler.jobs) if (job.sequence === sequence) this.#cancelJob(job, new DisposedError("a sequence"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    for (const job of this.#scheduler.jobs) this.#cancelJob(job, new DisposedError("the engine"));
    await this.#stepping;
    this.programs[Symbol.dispose]();
    this.cache[Symbol.dispose]();
    this.#adapters[Symbol.dispose]();
  }

  #assertAlive(): void {
    if (this.#isDisposed) throw new DisposedError("the engine");
  }

  /** A job whose result nobody wants any more: out of the queue at once, out of a running pass when that ends. */
  #cancelJob(job: Job, reason: unknown): void {
    if (!this.#scheduler.remove(job)) return;
    job.isCancelled = true;
    if (this.#inPass.has(job)) {
      if ([...this.#inPass].every(({ isCancelled }) => isCancelled)) this.#running?.cancel();
    } else this.#scheduler.abandon(job);
    this.#settle(job);
    job.reject(reason);
  }

  #settle(job: Job): void {
    if (job.onAbort !== undefined) job.request.original.signal?.removeEventListener("abort", job.onAbort);
  }

  #wake(): void {
    this.#stepping ??= this.#run().finally(() => {
      this.#stepping = undefined;
      if (this.#scheduler.queuedCount + this.#changes.length > 0) this.#wake();
    });
  }

  async #run(): Promise<void> {
    while (this.#scheduler.queuedCount + this.#changes.length > 0) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      for (const change of this.#changes.splice(0)) change();
      const { passes, chunks } = this.#scheduler.begin();
      const finished: Job[] = [];
      let hasRun = false;
      for (const planned of passes) {
        const done = await this.#runPass(planned);
        if (done === undefined) continue; // no stream to be had in this step
        hasRun = true;
        finished.push(...done);
      }
      for (const planned of chunks) {
        const done = await this.#runPass(planned);
        if (done === undefined) continue;
        hasRun = true;
        finished.push(...done);
        break; // one prompt's chunk, then everybody else again
      }
      if (!hasRun && [...passes, ...chunks].some((planned) => this.#scheduler.jobsOf(planned).length > 0)) {
        const error = new NativeError("internal: no queued request could be given a stream");
        for (const job of this.#scheduler.jobs) this.#fail(job, error);
      }
      for (const job of finished) this.#finish(job); // all at once, so that what they ask next can share a pass
    }
  }

  /** Runs one pass; returns the jobs that are done, or undefined where none of its streams can be had now. */
  async #runPass(planned: PlannedPass): Promise<Job[] | undefined> {
    let placed: Placement<Job> | undefined; // until its rows are their jobs' own
    let running: Job[] | undefined;
    try {
      placed = this.#scheduler.place(planned);
      if (placed === undefined) return undefined;
      const { parts, first } = placed;
      if (parts.length === 0) return [];
      running = parts.flat().map(({ job }) => job);
      const structure = this.#structureOf(placed);
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
      const outputs = fillInputs(program, structure, parts, first, this.model, this.cache, this.#adapters);
      this.#inPass = new Set(running);
      for (const job of running) job.startedAt ||= performance.now();
      if (this.#tuner !== undefined) this.#device.setThreads(this.#tuner.threads);
      const start = performance.now();
      this.#running = program instanceof Program ? program : undefined; // one with rules holds this thread, and nobody can leave
      const outcome = await program.run();
      const computeMs = performance.now() - start;
      if (outcome === "done") this.#tuner?.observe(structureKey(structure), computeMs);
      this.passCount += 1;
      this.#scheduler.commit(placed);
      placed = undefined;
      for (const { job, entries } of parts.flat()) {
        job.passIds.push(this.passCount);
        job.computedRows += entries.length;
        job.computeMs += computeMs;
      }
      if (outcome === "cancelled") return []; // everybody in it had left
      const rows = parts.flat().reduce((sum, { entries }) => sum + entries.length, 0);
      const ran = program instanceof Program ? [{ computed: program.computed, structure, rows }] : program.ran;
      for (const one of ran) this.ranHalves.add(one, outputs.length);
      await readResults(program, structure, outputs, parts, first, this.model, this.programs);
      for (const { decided, job, entry, requestRow } of ruled) {
        entry.missing = missingOf(decided.skipped);
        const result = job.results.get(requestRow);
        if (result !== undefined) result.skipped = decided.skipped;
        if (decided.error !== undefined) this.#fail(job, decided.error);
      }
      return running.filter((job) => !job.isCancelled && job.rows.length === job.request.rows);
    } catch (error) {
      if (placed !== undefined) this.#scheduler.undo(placed);
      for (const job of running ?? this.#scheduler.jobsOf(planned)) this.#fail(job, error);
      return [];
    } finally {
      for (const job of this.#inPass) if (job.isCancelled) this.#scheduler.abandon(job); // those who left while it ran
      this.#inPass = new Set();
      this.#running = undefined;
    }
  }

  #fail(job: Job, error: unknown): void {
    if (!this.#scheduler.remove(job)) return; // it left before
    this.#scheduler.abandon(job);
    this.#settle(job);
    job.isCancelled = true;
    job.reject(error);
  }

  #structureOf({ backend, rows, parts, width: streams }: Placement<Job>): Structure {
    const { request } = parts[0]![0]!.job;
    const all = parts.flat();
    const logits = all.reduce((sum, { job, from, entries }) => sum + countWithin(job.request.logitRows, from, entries.length), 0);
    const outputs = all.reduce(
      (sum, { job, from, entries }) => sum + countWithin(union(job.request.logitRows, job.request.hiddenRows), from, entries.length),
      0,
    );
    const cells = Math.max(...parts.map((list) => list[0]!.job.sequence.family.end));
    return {
      backend,
      streams,
      rows,
      cells: cellStep(cells, this.cache.shape.cells),
      outputs: outputStep(outputs, streams, rows),
      head: logits > 0 && outputs <= headSlice,
      input: typeof request.contents[0] === "number" ? "tokens" : "embeddings",
      skipped: request.skipped,
      decides: request.decides,
      taps: request.taps,
      exits: request.exits,
      adapters: this.#adapters.usesOf(all.map(({ job }) => job.request.adapters)),
      injections: [
        ...new Map((request.original.inject ?? []).map(({ tap, map, from }) => [tap, { tap, map, moves: from !== undefined }])).values(),
      ].sort((a, b) => (a.tap < b.tap ? -1 : 1)),
    };
  }

  #finish(job: Job): void {
    if (job.isCancelled) return;
    this.#scheduler.finish(job);
    this.#settle(job);
    job.resolve({
      rows: [...job.results.values()].sort((a, b) => a.row - b.row),
      taps: job.taps,
      cost: {
        ...{ passes: job.passIds.length, passIds: job.passIds, rows: job.computedRows, reused: job.reusedRows },
        ...{ computeMs: job.computeMs, queueMs: job.startedAt - job.queuedAt },
      },
    });
  }
}

const mostStreams = 64;

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

const sameAdapters = (a: readonly AppliedAdapter[], b: readonly AppliedAdapter[]): boolean =>
  a === b || (a.length === b.length && a.every(({ id, scale }, i) => id === b[i]!.id && scale === b[i]!.scale));

/** Stretches of entries of one kind of content and of the same adapters, which one request can hold. */
function runsOf(entries: readonly Entry[]): Entry[][] {
  const runs: Entry[][] = [];
  for (const entry of entries) {
    const run = runs.at(-1);
    if (run !== undefined && typeof run[0]!.content === typeof entry.content && sameAdapters(run[0]!.adapters, entry.adapters))
      run.push(entry);
    else runs.push([entry]);
  }
  return runs;
}
