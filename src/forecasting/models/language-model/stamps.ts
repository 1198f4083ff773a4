import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { openSafetensors, writeSafetensors } from "../../../weights/index.ts";
import type { TimeGrid } from "../../types.ts";
import type { FrozenModel } from "./frozen-model.ts";
import { stampText, stampVectors } from "./stamp-vectors.ts";

/** Steps [from, to) of a grid. */
export interface Steps {
  readonly grid: TimeGrid;
  readonly from: number;
  readonly to: number;
}

/** The state of each step's sentence, of length 1. */
export interface Stamps {
  /** [C] */
  at(grid: TimeGrid, index: number): Float32Array;
}

/**
 * The language model's states for the times of all steps, each sentence once.
 *
 * @param path  of a file that keeps them; where it is there, nothing is computed
 */
export function* stampsOf(
  frozen: FrozenModel,
  steps: readonly Steps[],
  path?: (key: string) => string,
): Generator<{ done: number; total: number }, Stamps> {
  const places = new Map<string, number>();
  for (const { grid, from, to } of steps)
    for (let index = from; index < to; index++) {
      const text = stampText(grid, index);
      if (!places.has(text)) places.set(text, places.size);
    }
  const texts = [...places.keys()];
  const { hiddenSize, blocks } = frozen.model.config;
  const key = createHash("sha256")
    .update(`${frozen.fingerprint} ${blocks.length}\n${texts.join("\n")}`)
    .digest("hex");
  const file = path?.(key);
  let vectors: Float32Array;
  if (file !== undefined && existsSync(file)) vectors = read(file, texts.length * hiddenSize);
  else {
    vectors = yield* stampVectors(frozen, texts);
    if (file !== undefined) {
      mkdirSync(dirname(file), { recursive: true });
      writeSafetensors(file, { tensors: [{ name: "stamps", type: "F32", shape: [texts.length, hiddenSize], data: vectors }] });
    }
  }
  return {
    at(grid, index) {
      const place = places.get(stampText(grid, index))!;
      return vectors.subarray(place * hiddenSize, (place + 1) * hiddenSize);
    },
  };
}

function read(path: string, count: number): Float32Array {
  using file = openSafetensors(path);
  const values = new Float32Array(count);
  file.readInto("stamps", values);
  return values;
}
