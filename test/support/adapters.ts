import { type Adapter, type AdapterBase, type AdapterOptions, adapterBase, planAdapter } from "../../src/adapters/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { type GgufFile, openGguf } from "../../src/weights/index.ts";
import { random } from "./tiny-model.ts";

export function baseOf(file: GgufFile): AdapterBase {
  return adapterBase(file, familyOf(file.metadata.requireString("general.architecture")).modules);
}

/** An adapter with random numbers large enough to change what a tiny model says. */
export function randomAdapter(path: string, options: AdapterOptions, seed: number): Adapter {
  using file = openGguf(path);
  const plan = planAdapter(baseOf(file), options);
  const next = random(seed);
  const numbers = (count: number, size: number) => Float32Array.from({ length: count }, () => (2 * next() - 1) * size);
  const parts = plan.parts.map((part) => ({
    ...part,
    down: numbers(part.rank * part.inputs, 1 / Math.sqrt(part.inputs)),
    up: numbers(part.outputs * part.rank, 0.5 / Math.sqrt(part.rank)),
  }));
  return { ...plan, parts };
}
