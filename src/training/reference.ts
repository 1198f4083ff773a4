import { existsSync } from "node:fs";
import type { Device } from "../ggml/index.ts";
import type { Transformer } from "../models/index.ts";
import { Program } from "../tensor/index.ts";
import { openSafetensors, writeSafetensors } from "../weights/index.ts";
import type { PairSource } from "./data/pairs.ts";
import { forward, setRows } from "./forward.ts";
import { answerLogProbabilities, fillAnswers } from "./preference.ts";

/** Log-probabilities of every pair's answers, summed over their tokens. */
export interface AnswerLogProbabilities {
  readonly chosen: Float32Array;
  readonly rejected: Float32Array;
}

/**
 * What a model as it is now, without adapters, gives every pair's answers: computed once and kept in a file, which is written whole or not at all.
 * A file of another model or other pairs is made anew.
 */
export async function referenceLogProbabilities(
  device: Device,
  model: Transformer,
  pairs: PairSource,
  path: string,
  options: {
    readonly sequences: number;
    readonly length: number;
    /** What the numbers depend on beside the pairs: the model. */
    readonly identity: unknown;
    readonly onProgress?: (done: number, total: number) => void;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<AnswerLogProbabilities> {
  const { sequences, length, signal } = options;
  const identity = JSON.stringify({ model: options.identity, pairs: pairs.identity });
  const known = read(path, identity, pairs.count);
  if (known !== undefined) return known;
  const found: AnswerLogProbabilities = { chosen: new Float32Array(pairs.count), rejected: new Float32Array(pairs.count) };
  using program = Program.compile(device, { ...answerLogProbabilities(forward(model, { sequences, length }), model, sequences) });
  for (let from = 0; from < pairs.count; from += sequences) {
    signal?.throwIfAborted();
    const batch = pairs.read(Array.from({ length: Math.min(sequences, pairs.count - from) }, (_, i) => from + i));
    setRows(program, model.config, options, batchRows(batch));
    fillAnswers(program, batch, model);
    await program.run();
    for (const side of ["chosen", "rejected"] as const) found[side].set(program.peek(side).subarray(0, batch.from.length), from);
    options.onProgress?.(from + batch.from.length, pairs.count);
  }
  const tensors = (["chosen", "rejected"] as const).map((name) => ({
    ...{ name, type: "F32" as const, shape: [pairs.count], data: found[name] },
  }));
  writeSafetensors(path, { metadata: { identity }, tensors });
  return found;
}

const batchRows = ({ ids, documents, positions, deletedAt }: ReturnType<PairSource["read"]>) => ({ ids, documents, positions, deletedAt });

function read(path: string, identity: string, count: number): AnswerLogProbabilities | undefined {
  if (!existsSync(path)) return undefined;
  using file = openSafetensors(path);
  if (file.metadata.get("identity") !== identity) return undefined;
  const values = (name: string) => {
    const floats = new Float32Array(count);
    file.readInto(name, floats);
    return floats;
  };
  return { chosen: values("chosen"), rejected: values("rejected") };
}
