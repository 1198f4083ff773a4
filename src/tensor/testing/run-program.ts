import type { BackendName, Device } from "../../ggml/index.ts";
import { Program } from "../program.ts";
import type { Storage, Tensor } from "../tensor.ts";
import type { Numbers } from "./reference.ts";
import { f16Bits } from "./round.ts";

export interface RunOptions {
  readonly backend?: BackendName;
  readonly rowWise?: (storage: Storage) => boolean;
  readonly staging?: boolean;
  readonly windowRow?: number;
}

/** Writes numbers into a program's input as its type wants them. */
export function setInput(program: Program, name: string, dtype: string, data: ArrayLike<number>): void {
  if (dtype === "f16") program.input<"f16">(name).set(Array.from(data, f16Bits));
  else if (dtype === "i64") program.input<"i64">(name).set(Array.from(data, BigInt));
  else program.input(name).set(data);
}

/** Compiles, runs once and reads all outputs. */
export function runOnce<Name extends string>(
  device: Device,
  outputs: Readonly<Record<Name, Tensor>>,
  inputs: Readonly<Record<string, ArrayLike<number>>>,
  { windowRow = 0, ...options }: RunOptions = {},
): Record<Name, Numbers> {
  using program = Program.compile(device, outputs, options);
  if (windowRow !== 0) program.setWindow(windowRow);
  const dtypes = inputTypes(Object.values(outputs));
  for (const name of program.inputNames) setInput(program, name, dtypes.get(name)!, inputs[name]!);
  program.runSync();
  const read = ([name, x]: [string, Tensor]) => {
    const data = x.dtype === "i32" ? program.readInts(name) : program.read(name);
    return [name, { shape: x.shape, data: Float64Array.from(data) }];
  };
  return Object.fromEntries(Object.entries<Tensor>(outputs).map(read)) as Record<Name, Numbers>;
}

function inputTypes(outputs: readonly Tensor[]): Map<string, string> {
  const types = new Map<string, string>();
  const seen = new Set<Tensor>();
  const visit = (x: Tensor): void => {
    if (seen.has(x)) return;
    seen.add(x);
    if (x.op === "input") types.set(x.attributes.name, x.dtype);
    x.inputs.forEach(visit);
  };
  outputs.forEach(visit);
  return types;
}

export interface Tolerance {
  readonly relative?: number;
  readonly absolute?: number | ArrayLike<number>;
}

/** The largest error over what is tolerated, and where: above 1 the tensors differ. NaN and infinities must stand in the same places. */
export function worstError(actual: Numbers, expected: Numbers, { relative = 0, absolute = 0 }: Tolerance): { ratio: number; at: number } {
  let worst = { ratio: 0, at: 0 };
  for (let i = 0; i < expected.data.length; i += 1) {
    const [a, e] = [actual.data[i]!, expected.data[i]!];
    if (Object.is(a, e) || a === e) continue;
    const allowed = (typeof absolute === "number" ? absolute : absolute[i]!) + relative * Math.abs(e);
    const ratio = Math.abs(a - e) / allowed;
    if (!(ratio <= worst.ratio)) worst = { ratio: Number.isNaN(ratio) ? Number.POSITIVE_INFINITY : ratio, at: i };
    if (worst.ratio === Number.POSITIVE_INFINITY) break;
  }
  return worst;
}
