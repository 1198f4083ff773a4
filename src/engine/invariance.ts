import type { Device } from "../ggml/index.ts";
import { input, leaf, linear, Program, type Storage } from "../tensor/index.ts";

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

export const kindOf = ({ dtype, repacked }: Storage): string => (repacked ? `${dtype} repacked` : dtype);

/**
 * Multiplies rows alone and beside others with one matrix of each kind that a model uses, and compares bits. Kernels differ between
 * processors; that a row's result does not depend on its neighbours was shown on some only, so it is checked on this one.
 */
export async function probeInvariance(device: Device, storages: Iterable<Storage>): Promise<InvarianceFinding[]> {
  const smallest = new Map<string, Storage>();
  for (const storage of storages) {
    if (storage.shape.length !== 2) continue;
    const known = smallest.get(kindOf(storage));
    if (known === undefined || storage.shape[0]! * storage.shape[1]! < known.shape[0]! * known.shape[1]!)
      smallest.set(kindOf(storage), storage);
  }
  const findings: InvarianceFinding[] = [];
  for (const [kind, storage] of smallest) {
    const isInvariant = await sameBits(device, storage, false);
    findings.push({ kind, isInvariant, isInvariantRowWise: isInvariant || (await sameBits(device, storage, true)) });
  }
  return findings;
}

async function sameBits(device: Device, storage: Storage, rowWise: boolean): Promise<boolean> {
  const [outer, inner] = storage.shape as [number, number];
  // values of both signs with a few large ones, and one row of zeros
  const rows = Float32Array.from({ length: most * inner }, (_, i) => (i < inner ? 0 : Math.sin(i * 12.9898) * (i % 97 === 0 ? 40 : 1)));
  const product = async (count: number, values: Float32Array): Promise<Uint32Array> => {
    using program = Program.compile(
      device,
      { y: linear(input("x", "f32", [count, inner]), leaf(storage)) },
      { backend: "invariant", rowWise: () => rowWise },
    );
    program.input("x").set(values);
    await program.run();
    return new Uint32Array(program.read("y").buffer);
  };
  const alone: Uint32Array[] = [];
  for (let row = 0; row < 16; row += 1) alone.push(await product(1, rows.subarray(row * inner, (row + 1) * inner)));
  for (const count of rowCounts) {
    const together = await product(count, rows.subarray(0, count * inner));
    for (let row = 0; row < Math.min(count, alone.length); row += 1) {
      const expected = alone[row]!;
      for (let column = 0; column < outer; column += 1) if (together[row * outer + column] !== expected[column]) return false;
    }
  }
  return true;
}

/** Which weights the invariant backend multiplies one row per plane. */
export function rowWiseKinds(findings: readonly InvarianceFinding[]): (storage: Storage) => boolean {
  const kinds = new Set(
    findings.filter(({ isInvariant, isInvariantRowWise }) => !isInvariant && isInvariantRowWise).map(({ kind }) => kind),
  );
  return (storage) => kinds.has(kindOf(storage));
}
