import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FormatError } from "../errors.ts";
import type { OptimizerState } from "../optimizers/index.ts";
import { openSafetensors, type Parameters, writeSafetensors } from "../weights/index.ts";

/** All that a run needs to go on, beside its parameters. Where the data stand and what is drawn at random follow from the step and the seed. */
export interface RunState {
  /** Steps done. */
  step: number;
  /** Targets learned. */
  tokens: number;
  readonly optimizer: OptimizerState;
  /** Running means of the parameters, where the run keeps them. */
  readonly average: Map<string, Float32Array> | undefined;
}

const kept = 2;
const pattern = /^checkpoint-(\d{9})\.safetensors$/;

/**
 * Writes parameters and state as one safetensors file `checkpoint-<step>.safetensors`: beside its name first, then flushed and renamed, so that
 * it is complete wherever it stands. The last two are kept.
 */
export function writeCheckpoint(folder: string, parameters: Parameters, state: RunState, config: string): void {
  const tensors = parameters.names.flatMap((name) => {
    const flat = (kind: string, data: Float32Array) => ({ name: `${kind}/${name}`, type: "F32" as const, shape: [data.length], data });
    const buffers = (state.optimizer.buffers.get(name) ?? []) as readonly Float32Array[];
    const average = state.average?.get(name);
    return [
      flat("parameter", parameters.values(name)),
      ...buffers.map((data, index) => flat(`optimizer.${index}`, data)),
      ...(average === undefined ? [] : [flat("average", average)]),
    ];
  });
  const { step, tokens, optimizer } = state;
  const metadata = { step: `${step}`, tokens: `${tokens}`, optimizerSteps: `${optimizer.stepCount}`, config };
  writeSafetensors(join(folder, `checkpoint-${String(step).padStart(9, "0")}.safetensors`), { metadata, tensors });
  for (const { path } of checkpoints(folder).slice(0, -kept)) rmSync(path);
}

/** Of the newest checkpoint its step and the run's configuration; undefined where there is none. */
export function newestCheckpoint(folder: string): { readonly path: string; readonly step: number; readonly config: string } | undefined {
  const newest = checkpoints(folder).at(-1);
  if (newest === undefined) return undefined;
  using file = openSafetensors(newest.path);
  return { ...newest, config: file.metadata.get("config") ?? "" };
}

/** Puts a checkpoint's numbers into the parameters and returns its state. @throws FormatError if it is not one of these parameters */
export function readCheckpoint(path: string, parameters: Parameters): RunState {
  using file = openSafetensors(path);
  const floats = (name: string): Float32Array | undefined => {
    const info = file.tensors.get(name);
    if (info === undefined) return undefined;
    const values = new Float32Array(info.sizeBytes / 4);
    file.readInto(name, values);
    return values;
  };
  const number = (key: string): number => {
    const value = Number(file.metadata.get(key));
    if (!Number.isSafeInteger(value) || value < 0) throw new FormatError(path, `has no whole number "${key}"`);
    return value;
  };
  const optimizer: OptimizerState = { stepCount: number("optimizerSteps"), buffers: new Map() };
  const average = new Map<string, Float32Array>();
  for (const name of parameters.names) {
    const values = floats(`parameter/${name}`);
    const target = parameters.values(name);
    if (values?.length !== target.length) throw new FormatError(path, `has no parameter ${name} of ${target.length} values`);
    target.set(values);
    const buffers: Float32Array[] = [];
    for (let data = floats(`optimizer.0/${name}`); data !== undefined; data = floats(`optimizer.${buffers.length}/${name}`))
      buffers.push(data);
    if (buffers.length > 0) optimizer.buffers.set(name, buffers);
    const mean = floats(`average/${name}`);
    if (mean !== undefined) average.set(name, mean);
  }
  return { step: number("step"), tokens: number("tokens"), optimizer, average: average.size > 0 ? average : undefined };
}

function checkpoints(folder: string): { path: string; step: number }[] {
  return readdirSync(folder)
    .flatMap((name) => {
      const match = pattern.exec(name);
      return match === null ? [] : [{ path: join(folder, name), step: Number(match[1]) }];
    })
    .sort((a, b) => a.step - b.step);
}
