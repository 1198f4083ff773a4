import { UnsupportedError } from "../errors.ts";
import { type Device, type DType, TensorContext, typeIds } from "../ggml/index.ts";
import { attention, input, leaf, linear, Program, type Storage, type Tensor, toNe } from "../tensor/index.ts";
import { multipliesIn } from "../weights/index.ts";
import { gridRows } from "./structure.ts";

/** How a kind of weight behaves on the processor in use. */
export interface InvarianceFinding {
  /** The file's type, "repacked" where the matrix is kept in the rearranged form. */
  readonly kind: string;
  /** Whether a row's bits are the same alone and beside others, in the ordinary product. */
  readonly isInvariant: boolean;
  /** Whether they are so with one row per plane, the form that is used where the ordinary one fails. */
  readonly isInvariantRowWise: boolean;
}

/** Row counts that reach the kernels' cases: pairs, groups of four and eight with rests, many. */
const rowCounts = [2, 3, 4, 5, 7, 8, 16, 63] as const;
const most = 63;
const outer = 64;
const inner = 512; // two blocks of the largest quantized types

export const kindOf = ({ dtype, repacked }: Pick<Storage, "dtype" | "repacked">): string => (repacked ? `${dtype} repacked` : dtype);

/**
 * Multiplies rows alone and beside others with one small matrix of each kind that a model uses, and compares bits. Kernels differ
 * between processors; that a row's result does not depend on its neighbours was shown on some only, so it is checked on this one.
 */
export async function probeInvariance(device: Device, storages: Iterable<Storage>): Promise<InvarianceFinding[]> {
  const kinds = new Map<string, Pick<Storage, "dtype" | "repacked">>();
  for (const { dtype, repacked, shape } of storages) if (shape.length === 2) kinds.set(kindOf({ dtype, repacked }), { dtype, repacked });
  const findings: InvarianceFinding[] = [];
  for (const [kind, { dtype, repacked }] of kinds) {
    if (device.native.ggml_quantize_requires_imatrix(typeIds[dtype])) {
      findings.push({ kind, isInvariant: false, isInvariantRowWise: true }); // not to be made here: one row per plane is safe
      continue;
    }
    using matrix = new ProbeMatrix(device, dtype, repacked);
    const isInvariant = await sameBits(device, matrix.storage, false);
    findings.push({ kind, isInvariant, isInvariantRowWise: isInvariant || (await sameBits(device, matrix.storage, true)) });
  }
  return findings;
}

/** A matrix [64, 512] of one type, with values of both signs and some large ones. */
class ProbeMatrix implements Disposable {
  readonly storage: Storage;
  readonly #owned: Disposable[] = [];

  constructor(device: Device, dtype: DType, repacked: boolean) {
    const { native } = device;
    const context = TensorContext.create(native, 1);
    this.#owned.push(context);
    const shape = [outer, inner];
    const info = { name: "probe", type: dtype, shape };
    const type = repacked ? device.extraBufferTypes().find((candidate) => multipliesIn(device, candidate, info)) : device.bufferType();
    if (type === undefined) throw new UnsupportedError(`internal: no buffer keeps ${dtype} in another form`);
    const pointer = context.tensor(dtype, toNe(shape));
    const bytes = native.ggml_backend_buft_get_alloc_size(type, pointer);
    const buffer = device.allocate(bytes, type);
    this.#owned.push(buffer);
    buffer.place(pointer, 0, bytes);
    const values = Float32Array.from({ length: outer * inner }, (_, i) => Math.sin(i * 78.233) * (i % 61 === 0 ? 8 : 1));
    const quantized = new Uint8Array(outer * native.ggml_row_size(typeIds[dtype], inner));
    if (dtype === "f32") quantized.set(new Uint8Array(values.buffer));
    else native.ggml_quantize_chunk(typeIds[dtype], values, quantized, 0, outer, inner, null);
    native.ggml_backend_tensor_set(pointer, quantized, 0, quantized.length);
    this.storage = { name: "probe", dtype, shape, pointer, repacked };
  }

  [Symbol.dispose](): void {
    for (const one of this.#owned.reverse()) one[Symbol.dispose]();
  }
}

async function sameBits(device: Device, storage: Storage, rowWise: boolean): Promise<boolean> {
  // values of both signs with a few large ones, and one row of zeros
  const rows = Float32Array.from({ length: most * inner }, (_, i) => (i < inner ? 0 : Math.sin(i * 12.9898) * (i % 97 === 0 ? 40 : 1)));
  const product = async (count: number, values: Float32Array): Promise<Uint32Array> => {
    const outputs = { y: linear(input("x", "f32", [count, inner]), leaf(storage)) };
    using program = Program.compile(device, outputs, { backend: "invariant", rowWise: () => rowWise });
    program.input("x").set(values);
    await program.run();
    return new Uint32Array(program.read("y").buffer);
  };
  const alone: Uint32Array[] = [];
  for (let row = 0; row < 8; row += 1) alone.push(await product(1, rows.subarray(row * inner, (row + 1) * inner)));
  for (const count of rowCounts) {
    const together = await product(count, rows.subarray(0, count * inner));
    for (const [row, expected] of alone.slice(0, count).entries()) {
      for (let column = 0; column < outer; column += 1) if (together[row * outer + column] !== expected[column]) return false;
    }
  }
  return true;
}

/**
 * Whether on the prompt's backend a row's bits are the same in a pass of 128 rows and in two of 64, for each kind of weight and for the
 * attention: then a prompt may be divided at any multiple of 64 (`gridRows`), and a prefix that a longer pass wrote serves shorter ones.
 */
export async function probeDivision(device: Device, storages: Iterable<Storage>): Promise<boolean> {
  const rows = 2 * gridRows;
  const values = (count: number, seed: number) =>
    Float32Array.from({ length: count }, (_, i) => Math.sin((i + seed) * 12.9898) * (i % 97 === 0 ? 20 : 1));
  const x = values(rows * inner, 0);
  const kinds = new Map<string, Pick<Storage, "dtype" | "repacked">>();
  for (const { dtype, repacked, shape } of storages) if (shape.length === 2) kinds.set(kindOf({ dtype, repacked }), { dtype, repacked });
  for (const { dtype, repacked } of kinds.values()) {
    if (device.native.ggml_quantize_requires_imatrix(typeIds[dtype])) return false; // not to be made here
    using matrix = new ProbeMatrix(device, dtype, repacked);
    const product = (count: number) => linear(input("x", "f32", [count, inner]), leaf(matrix.storage));
    const parts = (from: number, count: number) => ({ x: x.subarray(from * inner, (from + count) * inner) });
    if (!(await isDivisible(device, product, parts))) return false;
  }
  const [heads, cells, headDim] = [2, 256, 64];
  const attend = (count: number) => {
    const cached = (name: string) => input(name, "f16", [1, heads, cells, headDim]);
    return attention(
      input("q", "f32", [1, heads, count, headDim]),
      cached("k"),
      cached("v"),
      input("mask", "f16", [1, 1, count, cells]),
      0.125,
    );
  };
  const halves = (seed: number) =>
    Uint16Array.from({ length: heads * cells * headDim }, (_, i) => 0x3000 + (((i + seed) * 7919) % 0xa00) + (i % 3 === 0 ? 0x8000 : 0));
  const q = values(heads * rows * headDim, 7);
  const seen = (from: number, count: number) => {
    const mask = new Uint16Array(count * cells).fill(0xfc00);
    for (let row = 0; row < count; row += 1) mask.fill(0, row * cells, row * cells + from + row + 1);
    return mask;
  };
  return isDivisible(device, attend, (from, count) => ({
    q: Float32Array.from(
      { length: heads * count * headDim },
      (_, i) => q[Math.floor(i / (count * headDim)) * rows * headDim + from * headDim + (i % (count * headDim))]!,
    ),
    ...{ k: halves(0), v: halves(31), mask: seen(from, count) },
  }));
}

async function isDivisible(
  device: Device,
  build: (rows: number) => Tensor,
  inputsOf: (from: number, rows: number) => Record<string, Float32Array | Uint16Array>,
): Promise<boolean> {
  const run = async (from: number, rows: number) => {
    using program = Program.compile(device, { y: build(rows) }, { backend: "fast" });
    for (const [name, values] of Object.entries(inputsOf(from, rows))) (program.input(name) as Float32Array | Uint16Array).set(values);
    await program.run();
    return new Uint32Array(program.read("y").buffer);
  };
  const whole = await run(0, 2 * gridRows);
  const halves = [...(await run(0, gridRows)), ...(await run(gridRows, gridRows))];
  return halves.every((bits, index) => bits === whole[index]);
}

/** Which weights the invariant backend multiplies one row per plane. */
export function rowWiseKinds(findings: readonly InvarianceFinding[]): (storage: Storage) => boolean {
  const kinds = new Set(
    findings.filter(({ isInvariant, isInvariantRowWise }) => !isInvariant && isInvariantRowWise).map(({ kind }) => kind),
  );
  return (storage) => kinds.has(kindOf(storage));
}
