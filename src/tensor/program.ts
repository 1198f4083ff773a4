import { OptionError, ShapeError, UnsupportedError } from "../errors.ts";
import {
  alignUp,
  type BackendName,
  type Device,
  type DeviceBuffer,
  dataField,
  type Graph,
  type Memory,
  Owner,
  type Pointer,
  readTensorHeader,
  TensorContext,
  type TensorPointer,
  typeIds,
  viewMemory,
} from "../ggml/index.ts";
import { lower, maxHeadersPerNode, viewOperations } from "./lowering.ts";
import { contiguous } from "./operations.ts";
import { elementCount, toNe } from "./shape.ts";
import type { Operation, Storage, Tensor } from "./tensor.ts";

const elementBytes = { f32: 4, f16: 2, i32: 4, i64: 8 } as const;
type ArrayOf = { f32: Float32Array; f16: Uint16Array; i32: Int32Array; i64: BigInt64Array };
type InputType = keyof ArrayOf;

export interface CompileOptions {
  readonly backend?: BackendName;
  /** Which weights the invariant backend multiplies one row per plane. Default none. */
  readonly rowWise?: (storage: Storage) => boolean;
  /** Tensors that are computed though nobody reads them: writes to a cache. */
  readonly effects?: readonly Tensor[];
  /** Tensors of the caller's, by name: {@link Program.computed} says which of them the graph computes. */
  readonly marks?: ReadonlyMap<string, Tensor>;
  /** Copy inputs to the device and outputs from it, as is always done where its memory can't be seen from here. Default: only there. */
  readonly staging?: boolean;
}

interface Bound {
  readonly tensor: Tensor;
  readonly pointer: TensorPointer;
  readonly offset: number;
  readonly bytes: number;
  isSet: boolean;
  array: ArrayOf[InputType] | undefined;
}

interface Result {
  readonly tensor: Tensor;
  readonly pointer: TensorPointer;
  /** The output's memory, or with staging the last copy of it. */
  array: Float32Array | Int32Array | undefined;
  isCurrent: boolean;
}

/**
 * A graph compiled for one device: inputs in a static buffer of their own, intermediate results in a buffer that is laid out
 * once. Running it again costs the inputs' copy and nothing else.
 *
 * ```ts
 * using program = Program.compile(device, { y: linear(input("x", "f32", [1, 64]), weight) });
 * program.input("x").set(values);
 * await program.run();
 * const y = program.read("y");
 * ```
 */
export class Program extends Owner {
  readonly device: Device;
  readonly backend: BackendName;
  /** Bytes of inputs and intermediate results. */
  readonly sizeBytes: number;
  /** Of the tensors marked those that a run computes, with their shapes: what no output and no effect depends on is left out of the graph. */
  readonly computed: ReadonlyMap<string, readonly number[]>;
  readonly #context: TensorContext;
  readonly #graph: Graph;
  readonly #allocator: Pointer<"ggml_gallocr">;
  readonly #inputBuffer: DeviceBuffer | undefined;
  readonly #inputs: ReadonlyMap<string, Bound>;
  readonly #outputs: ReadonlyMap<string, Result>;
  readonly #windows: readonly { field: BigUint64Array; start: bigint; rowBytes: bigint }[];
  readonly #lastWindowRow: number;
  readonly #staging: boolean;
  #windowRow = 0;
  #running = false;
  #releasePending = false;

  /**
   * Lowers the graph that `outputs` (f32 or i32) depend on, asks the device for every node, and lays out its memory.
   * @throws UnsupportedError naming the operation and the device; ShapeError for an output of another type; OptionError for two inputs of
   * one name, or a cache that is read beside its write
   */
  static compile(device: Device, wanted: Readonly<Record<string, Tensor>>, options: CompileOptions = {}): Program {
    const outputs = Object.entries(wanted).map(([name, x]) => [name, readableOutput(name, x)] as const);
    const { effects = [] } = options;
    const roots = [...outputs.map(([, x]) => x), ...effects];
    const order = topologicalOrder(roots);
    checkWrites(order, roots);
    const inputs = order.filter((x) => x.op === "input");
    const { native } = device;
    const context = TensorContext.create(native, order.length * maxHeadersPerNode + 8, order.length * maxHeadersPerNode + 8);
    let inputBuffer: DeviceBuffer | undefined;
    let allocator: Pointer<"ggml_gallocr"> | undefined;
    try {
      const backend = options.backend ?? "fast";
      const pointers = new Map<Tensor, TensorPointer>();
      const bound = new Map<string, Bound>();
      let inputBytes = 0;
      for (const x of inputs) {
        const { name } = x.attributes;
        if (bound.has(name)) throw new OptionError(name, "two inputs of one program have this name");
        const bytes = elementCount(x.shape) * elementBytes[x.dtype as InputType];
        const pointer = context.tensor(x.dtype, toNe(x.shape));
        pointers.set(x, pointer);
        bound.set(name, { tensor: x, pointer, offset: inputBytes, bytes, isSet: false, array: undefined });
        inputBytes = alignUp(inputBytes + bytes, 64);
      }
      if (inputs.length > 0) {
        inputBuffer = device.allocate(inputBytes);
        for (const { pointer, offset, bytes } of bound.values()) inputBuffer.place(pointer, offset, bytes);
      }
      const target = { native, context, backend, rowWise: options.rowWise ?? (() => false) };
      const windowed = new Map<TensorPointer, bigint>(); // view of a cache -> bytes of one row
      for (const x of order) {
        if (x.op === "input") continue;
        if (x.op === "leaf") {
          pointers.set(x, x.attributes.storage.pointer);
          continue;
        }
        const sources = x.inputs.map((source) => pointers.get(source)!);
        const pointer = lower(target, x, sources);
        pointers.set(x, pointer);
        const row =
          x.op === "window"
            ? BigInt(native.ggml_row_size(typeIds[x.dtype], x.shape[2]! * x.shape[3]!))
            : viewOperations.has(x.op)
              ? windowed.get(sources[0]!)
              : undefined;
        if (row !== undefined) windowed.set(pointer, row);
        if (!device.supports(pointer)) throw new UnsupportedError(`${device.name} has no ${x.op} for [${x.shape.join(", ")}] ${x.dtype}`);
      }
      const graph = native.ggml_new_graph_custom(context.pointer, order.length * maxHeadersPerNode + 8, false);
      const results = new Map<string, Result>();
      for (const [name, tensor] of outputs) {
        const pointer = pointers.get(tensor)!;
        // what a view shows is marked too: no output then depends on how the allocator counts views
        native.ggml_set_output(pointer);
        native.ggml_set_output(pointers.get(memoryOf(tensor))!);
        native.ggml_build_forward_expand(graph, pointer);
        results.set(name, { tensor, pointer, array: undefined, isCurrent: false });
      }
      for (const effect of effects) {
        const pointer = pointers.get(effect)!;
        native.ggml_set_output(pointer);
        native.ggml_build_forward_expand(graph, pointer);
      }
      allocator = native.ggml_gallocr_new(device.bufferType());
      if (!native.ggml_gallocr_alloc_graph(allocator, graph))
        throw new UnsupportedError("the graph's intermediate results could not be laid out in memory");
      const windows = [...windowed].map(([pointer, rowBytes]) => ({
        field: dataField(pointer),
        start: readTensorHeader(pointer).data,
        rowBytes,
      }));
      const sizeBytes = native.ggml_gallocr_get_buffer_size(allocator, 0) + inputBytes;
      const lastWindowRow = Math.min(...order.flatMap((x) => (x.op === "window" ? [lastStart(x)] : [])));
      const staging = options.staging === true || !native.ggml_backend_buft_is_host(device.bufferType());
      const marked = [...(options.marks ?? [])].filter(([, x]) => pointers.has(x));
      const computed = new Map(marked.map(([name, { shape }]) => [name, shape] as const));
      const parts = { context, graph, allocator, inputBuffer, windows, lastWindowRow, computed };
      return new Program({ device, backend, ...parts, inputs: bound, outputs: results, sizeBytes, staging });
    } catch (error) {
      if (allocator !== undefined) native.ggml_gallocr_free(allocator);
      inputBuffer?.[Symbol.dispose]();
      context[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(parts: {
    device: Device;
    backend: BackendName;
    context: TensorContext;
    graph: Graph;
    allocator: Pointer<"ggml_gallocr">;
    inputBuffer: DeviceBuffer | undefined;
    inputs: ReadonlyMap<string, Bound>;
    outputs: ReadonlyMap<string, Result>;
    windows: readonly { field: BigUint64Array; start: bigint; rowBytes: bigint }[];
    lastWindowRow: number;
    computed: ReadonlyMap<string, readonly number[]>;
    sizeBytes: number;
    staging: boolean;
  }) {
    super("a compiled program");
    this.device = parts.device;
    this.backend = parts.backend;
    this.sizeBytes = parts.sizeBytes;
    this.computed = parts.computed;
    this.#context = parts.context;
    this.#graph = parts.graph;
    this.#allocator = parts.allocator;
    this.#inputBuffer = parts.inputBuffer;
    this.#inputs = parts.inputs;
    this.#outputs = parts.outputs;
    this.#windows = parts.windows;
    this.#lastWindowRow = parts.lastWindowRow;
    this.#staging = parts.staging;
  }

  /** Names of the inputs. */
  get inputNames(): string[] {
    return [...this.#inputs.keys()];
  }

  hasInput(name: string): boolean {
    return this.#inputs.has(name);
  }

  hasOutput(name: string): boolean {
    return this.#outputs.has(name);
  }

  /**
   * The memory of an input, to be filled before each run (its old content is still there; f16 as bit patterns). Asking for it counts as setting it.
   * @throws OptionError for an unknown name
   */
  input<T extends InputType = "f32">(name: string): ArrayOf[T] {
    this.assertAlive();
    const found = this.#inputs.get(name);
    if (found === undefined) throw new OptionError(name, `this program has no such input; it has ${this.inputNames.join(", ")}`);
    if (this.#running) throw new OptionError(name, "the program is running: an input may be set before a run or after it");
    found.isSet = true;
    found.array ??= typed(
      found.tensor.dtype as InputType,
      this.#staging ? new Uint8Array(found.bytes) : this.#inputBuffer!.view(found.offset, found.bytes),
    );
    return found.array as ArrayOf[T];
  }

  /** Where the windows on caches begin, in rows of the cache. @throws RangeError where a window would leave its cache */
  setWindow(row: number): void {
    this.assertAlive();
    if (!Number.isInteger(row) || row < 0 || row > this.#lastWindowRow)
      throw new RangeError(`a window may begin at rows 0 to ${this.#lastWindowRow} of its cache, got ${row}`);
    if (this.#running) throw new OptionError("setWindow", "the program is running: a window may be moved before a run or after it");
    if (row === this.#windowRow) return;
    for (const { field, start, rowBytes } of this.#windows) field[0] = start + BigInt(row) * rowBytes;
    this.#windowRow = row;
  }

  /** Runs off the main thread. @throws OptionError naming an input that was not set since the last run */
  async run(): Promise<"done" | "cancelled"> {
    this.#begin();
    try {
      return await this.device.compute(this.backend, this.#graph);
    } finally {
      this.#end();
    }
  }

  /** Stops a {@link run} that is under way, at its next node. */
  cancel(): void {
    this.device.cancel(this.#graph);
  }

  /** Runs on the calling thread. */
  runSync(): "done" | "cancelled" {
    this.#begin();
    try {
      return this.device.computeSync(this.backend, this.#graph);
    } finally {
      this.#end();
    }
  }

  #begin(): void {
    this.assertAlive();
    if (this.#running) throw new OptionError("run", "the program is running already");
    for (const [name, bound] of this.#inputs) {
      if (!bound.isSet) throw new OptionError(name, "this input was not set since the last run");
      bound.isSet = false;
    }
    if (this.#staging) {
      for (const { pointer, array, bytes } of this.#inputs.values())
        this.device.native.ggml_backend_tensor_set(pointer, array as Memory, 0, bytes);
    }
    for (const result of this.#outputs.values()) result.isCurrent = false;
    this.#running = true;
  }

  #end(): void {
    this.#running = false;
    if (this.#releasePending) this.#free();
  }

  /** A copy of an output, row-major. */
  read(name: string): Float32Array {
    return (this.#output(name) as Float32Array).slice();
  }

  readInts(name: string): Int32Array {
    return (this.#output(name) as Int32Array).slice();
  }

  /** An output's memory without a copy, valid until the next run; never to be kept or handed out. */
  peek(name: string): Float32Array {
    return this.#output(name) as Float32Array;
  }

  #output(name: string): Float32Array | Int32Array {
    this.assertAlive();
    const found = this.#outputs.get(name);
    if (found === undefined) throw new OptionError(name, `this program has no such output; it has ${[...this.#outputs.keys()].join(", ")}`);
    if (this.#running) throw new OptionError(name, "the program is running: an output is read after it");
    const bytes = elementCount(found.tensor.shape) * 4;
    if (found.array === undefined) {
      const memory = this.#staging ? new ArrayBuffer(bytes) : viewMemory(readTensorHeader(found.pointer).data, bytes);
      found.array = found.tensor.dtype === "i32" ? new Int32Array(memory) : new Float32Array(memory);
    }
    if (this.#staging && !found.isCurrent) this.device.native.ggml_backend_tensor_get(found.pointer, found.array, 0, bytes);
    found.isCurrent = true;
    return found.array;
  }

  protected release(): void {
    if (this.#running)
      this.#releasePending = true; // what a pass works on is freed when it ends
    else this.#free();
  }

  #free(): void {
    this.#releasePending = false;
    this.device.native.ggml_gallocr_free(this.#allocator);
    this.#inputBuffer?.[Symbol.dispose]();
    this.#context[Symbol.dispose]();
  }
}

/** An output row after row in memory, of a type one can read. */
function readableOutput(name: string, x: Tensor): Tensor {
  if (x.dtype !== "f32" && x.dtype !== "i32")
    throw new ShapeError("compile", { tensor: `output ${name}`, expected: "type f32 or i32 (cast it)", actual: `type ${x.dtype}` });
  return contiguous(x);
}

/** The tensor whose memory a view shows. */
function memoryOf(x: Tensor): Tensor {
  let source = x;
  while (viewOperations.has(source.op) || source.op === "setRows") source = source.inputs[0]!;
  return source;
}

/** The last row of its cache at which a window may begin. */
function lastStart({ inputs, shape, attributes }: Operation<"window">): number {
  const [streams, cells] = shape as [number, number];
  return inputs[0]!.shape[0]! - (streams - 1) * attributes.rowsPerStream - cells;
}

/** A cache changes in place, so once it is written only the write's result may be read: beside it, before and after would be undefined. */
function checkWrites(order: readonly Tensor[], outputs: readonly Tensor[]): void {
  const readers = new Map<Tensor | Storage, number>();
  const key = (x: Tensor) => (x.op === "leaf" ? x.attributes.storage : x);
  for (const x of [...order.flatMap(({ inputs }) => inputs), ...outputs]) readers.set(key(x), (readers.get(key(x)) ?? 0) + 1);
  for (const x of order) {
    if (x.op !== "setRows" || readers.get(key(x.inputs[0]!)) === 1) continue;
    const cache = memoryOf(x);
    const name = cache.op === "leaf" ? cache.attributes.storage.name : cache.op;
    throw new OptionError(name, "this cache is written and read side by side; read what the write (setRows) returned");
  }
}

function typed(type: InputType, bytes: Uint8Array<ArrayBuffer>): ArrayOf[InputType] {
  const { buffer, byteOffset, byteLength } = bytes;
  switch (type) {
    case "f32":
      return new Float32Array(buffer, byteOffset, byteLength / 4);
    case "f16":
      return new Uint16Array(buffer, byteOffset, byteLength / 2);
    case "i32":
      return new Int32Array(buffer, byteOffset, byteLength / 4);
    case "i64":
      return new BigInt64Array(buffer, byteOffset, byteLength / 8);
  }
}

/** Every tensor that the outputs depend on, sources first, each once. */
export function topologicalOrder(outputs: readonly Tensor[]): Tensor[] {
  const order: Tensor[] = [];
  const seen = new Set<Tensor>();
  const stack: { tensor: Tensor; next: number }[] = [];
  for (const output of outputs) {
    if (seen.has(output)) continue;
    seen.add(output);
    stack.push({ tensor: output, next: 0 });
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      const source = top.tensor.inputs[top.next];
      if (source === undefined) {
        order.push(top.tensor);
        stack.pop();
        continue;
      }
      top.next += 1;
      if (!seen.has(source)) {
        seen.add(source);
        stack.push({ tensor: source, next: 0 });
      }
    }
  }
  return order;
}
