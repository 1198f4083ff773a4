import { NativeError, UnsupportedError } from "../errors.ts";
import { withoutAbortReport } from "./abort.ts";
import { DeviceBuffer } from "./buffer.ts";
import type { DeviceKind } from "./library.ts";
import { allocateFixed, loadNative, type Native, viewMemory } from "./native.ts";
import { Owner } from "./owner.ts";
import type { Pointer, TensorPointer } from "./pointer.ts";

export type Graph = Pointer<"ggml_cgraph">;
export type BufferType = Pointer<"ggml_backend_buffer_type">;

const deviceTypes: Record<DeviceKind, number> = { cpu: 0, cuda: 1, vulkan: 1, metal: 1 };

/**
 * A device with the ways we run graphs on it. On the CPU there are two over the same buffers and one thread pool: `fast` uses every
 * kernel ggml has; `invariant` keeps to the reference attention kernel, with which a row's bits do not depend on what shares
 * its pass. Elsewhere both names are the same backend.
 */
export class Device extends Owner {
  readonly native: Native;
  readonly kind: DeviceKind;
  readonly name: string;
  readonly description: string;
  readonly #device: Pointer<"ggml_backend_device">;
  readonly #backends: Record<BackendName, Pointer<"ggml_backend">>;
  readonly #abortFlag = allocateFixed(8); // read by native code as a C string: empty = go on
  readonly #pools = new Map<number, Pointer<"ggml_threadpool">>();
  #threads = 0;
  /** What the backends were told; changed between passes only. */
  #appliedThreads = 0;
  #computing: Promise<unknown> | undefined;
  #computingGraph: Graph | undefined;
  #releasePending = false;

  static create(kind: DeviceKind = "cpu", threads = 1): Device {
    const native = loadNative(kind);
    const device = native.ggml_backend_dev_by_type(deviceTypes[kind]);
    if (device === null) throw new UnsupportedError(`no ${kind} device on this machine; --device cpu always works`);
    return new Device(native, kind, device, threads);
  }

  private constructor(native: Native, kind: DeviceKind, device: Pointer<"ggml_backend_device">, threads: number) {
    super(`the ${kind} device`);
    this.native = native;
    this.kind = kind;
    this.#device = device;
    this.name = native.ggml_backend_dev_name(device) ?? kind;
    this.description = native.ggml_backend_dev_description(device) ?? "";
    const open = () => {
      const backend = native.ggml_backend_dev_init(device, null as unknown as string);
      if (backend === null) throw new NativeError(`the ${kind} device could not be opened`);
      return backend;
    };
    const fast = open();
    const invariant = kind === "cpu" ? open() : fast;
    this.#backends = { fast, invariant };
    if (kind === "cpu") {
      native.ggml_backend_cpu_set_use_ref(invariant, true);
      for (const backend of [fast, invariant]) {
        // strlen of the flag, punned as bool: non-empty cancels. JavaScript never runs inside a pass.
        native.ggml_backend_cpu_set_abort_callback(backend, native.libc("strlen"), this.#abortFlag.pointer);
      }
    }
    this.setThreads(threads);
  }

  get threads(): number {
    return this.#threads;
  }

  /** Number of threads of a pass, from the next pass on. Pools sleep while they wait, and are kept: changing back costs nothing. */
  setThreads(threads: number): void {
    this.assertAlive();
    if (!Number.isInteger(threads) || threads < 1 || threads > 512)
      throw new RangeError(`threads must be an integer in [1, 512], got ${threads}`);
    this.#threads = threads;
    if (this.#computing === undefined) this.#applyThreads();
  }

  #applyThreads(): void {
    const threads = this.#threads;
    if (threads === this.#appliedThreads) return;
    this.#appliedThreads = threads;
    if (this.kind !== "cpu") return;
    const pool = this.#pools.get(threads) ?? this.#openPool(threads);
    for (const backend of Object.values(this.#backends)) {
      this.native.ggml_backend_cpu_set_n_threads(backend, threads);
      this.native.ggml_backend_cpu_set_threadpool(backend, pool);
    }
  }

  #openPool(threads: number): Pointer<"ggml_threadpool"> {
    const params = new Uint8Array(528); // ggml_threadpool_params
    const view = new DataView(params.buffer);
    view.setInt32(512, threads, true);
    view.setInt32(516, 0, true); // prio: normal
    view.setUint32(520, 0, true); // poll: sleep at once
    const pool = this.native.ggml_threadpool_new(params as unknown as Pointer<"ggml_threadpool_params">);
    if (pool === null) throw new NativeError(`a pool of ${threads} threads could not be made`);
    this.#pools.set(threads, pool);
    return pool;
  }

  /** The ordinary buffer type, and on the CPU the one whose matrices are repacked for faster products. */
  bufferType(): BufferType {
    this.assertAlive();
    return this.native.ggml_backend_dev_buffer_type(this.#device);
  }

  /** Buffer types beyond the ordinary one, such as the repacking one of the CPU. */
  extraBufferTypes(): BufferType[] {
    this.assertAlive();
    if (this.kind !== "cpu") return [];
    const list = this.native.ggml_backend_dev_get_extra_bufts(this.#device);
    if (list === null) return [];
    const found: BufferType[] = [];
    for (let index = 0; index < 16; index += 1) {
      const address = new BigUint64Array(viewMemory(list + BigInt(index * 8), 8))[0]!;
      if (address === 0n) break;
      found.push(address as BufferType);
    }
    return found;
  }

  /** Whether the device can run a node as it stands (its inputs' buffers included). */
  supports(node: TensorPointer): boolean {
    this.assertAlive();
    return this.native.ggml_backend_dev_supports_op(this.#device, node);
  }

  /** Free and total memory of the device in bytes. */
  memory(): { freeBytes: number; totalBytes: number } {
    this.assertAlive();
    const free = new BigInt64Array(1);
    const total = new BigInt64Array(1);
    this.native.ggml_backend_dev_memory(this.#device, free, total);
    return { freeBytes: Number(free[0]), totalBytes: Number(total[0]) };
  }

  allocate(sizeBytes: number, type: BufferType = this.bufferType()): DeviceBuffer {
    this.assertAlive();
    return DeviceBuffer.create(this.native, type, sizeBytes);
  }

  /**
   * Runs a graph off the main thread. One compute at a time per device: a second call waits for the first.
   * @returns "done", or "cancelled" when {@link cancel} was called while it ran (what it wrote is then undefined)
   */
  async compute(backend: BackendName, graph: Graph): Promise<"done" | "cancelled"> {
    this.assertAlive();
    while (this.#computing !== undefined) await this.#computing;
    this.assertAlive();
    this.#applyThreads();
    this.#abortFlag.bytes[0] = 0;
    const run = this.native.async("ggml_backend_graph_compute", this.#backends[backend], graph);
    this.#computing = run;
    this.#computingGraph = graph;
    try {
      return this.#outcome(await run);
    } finally {
      this.#computing = undefined;
      this.#computingGraph = undefined;
      if (this.#releasePending) this.#free();
    }
  }

  /** Does synchronous work on the device when no pass is running. */
  async exclusively<T>(work: () => T): Promise<T> {
    while (this.#computing !== undefined) await this.#computing;
    this.assertAlive();
    return work();
  }

  /** Runs a graph on the calling thread: for passes with a rule that decides between segments. */
  computeSync(backend: BackendName, graph: Graph): "done" | "cancelled" {
    this.assertAlive();
    if (this.#computing !== undefined) throw new NativeError("internal: a synchronous pass was started while another pass runs");
    this.#applyThreads();
    this.#abortFlag.bytes[0] = 0;
    const status = withoutAbortReport(this.native, () => this.native.ggml_backend_graph_compute(this.#backends[backend], graph));
    return this.#outcome(status);
  }

  /** Stops the pass over this graph at its next node; one of another model that shares the device goes on. */
  cancel(graph: Graph): void {
    this.assertAlive();
    if (this.#computingGraph === graph) this.#abortFlag.bytes[0] = 1;
  }

  #outcome(status: number): "done" | "cancelled" {
    if (status === 0) return "done";
    if (status === 1) return "cancelled";
    throw new NativeError(`a pass failed with status ${status}${status === -2 ? " (out of memory)" : ""}`);
  }

  protected release(): void {
    if (this.#computing !== undefined) {
      this.#abortFlag.bytes[0] = 1;
      this.#releasePending = true; // native memory under a running pass is freed when it ends
      return;
    }
    this.#free();
  }

  #free(): void {
    this.#releasePending = false;
    const { fast, invariant } = this.#backends;
    this.native.ggml_backend_free(fast);
    if (invariant !== fast) this.native.ggml_backend_free(invariant);
    for (const pool of this.#pools.values()) this.native.ggml_threadpool_free(pool);
    this.#pools.clear();
    this.#abortFlag.free();
  }
}

/** `fast`: every kernel. `invariant`: a row's bits do not depend on the rows beside it. */
export type BackendName = "fast" | "invariant";
