import { input, Program } from "../../../tensor/index.ts";
import { train } from "../../../training/index.ts";
import type { Parameters } from "../../../weights/index.ts";
import type { FitTask } from "../../types.ts";
import type { FrozenModel } from "../language-model/frozen-model.ts";
import { type HeadFolder, readHead, writeHead } from "../language-model/head-store.ts";
import { begin, horizonLoss, patchCount, prototypes, reprogram, type TimeLlmShape, withPrompt } from "./network.ts";
import type { HorizonWindows } from "./windows.ts";

export interface TimeLlmTraining {
  readonly shape: TimeLlmShape;
  readonly sequences: number;
  readonly steps: number;
  readonly peakRate: number;
  readonly seed: number;
  readonly validationWindows: number;
}

/** Trains what stands around a frozen model. A run that was broken off goes on from its checkpoint in `folder`. @param words  [V·C] */
export async function trainTimeLlm(
  frozen: FrozenModel,
  parameters: Parameters,
  words: Float32Array,
  windows: HorizonWindows,
  folder: HeadFolder,
  options: TimeLlmTraining,
  task: Pick<FitTask, "signal" | "onProgress">,
): Promise<void> {
  if (readHead(folder, "head", parameters)) return;
  const { shape, sequences, steps, seed, validationWindows, peakRate } = options;
  const { device, model } = frozen;
  const tensor = (name: string) => parameters.tensor(name);
  const count = patchCount(shape);
  const embeddings = () => {
    const table = input("words", "f32", [words.length / shape.hiddenSize, shape.hiddenSize]);
    const patches = input("patches", "f32", [sequences * count, 3 * shape.patch]);
    return withPrompt(reprogram(patches, prototypes(table, tensor), tensor, shape), model, sequences, shape);
  };
  begin(parameters, seed, words);
  const result = await train(
    device,
    {
      ...{ model, parameters, embeddings, weightBytes: frozen.sizeBytes, identity: { model: frozen.fingerprint } },
      objective: horizonLoss(tensor, sequences, shape, words),
    },
    windows,
    folder.path,
    {
      ...{ steps, sequences, length: shape.promptLength + count, seed, validationWindows, learningRate: peakRate },
      ...{
        beta2: 0.99,
        weightDecay: 0,
        floor: 0.02,
        warmupSteps: Math.min(10, Math.floor(steps / 10)),
        validateEvery: Math.ceil(steps / 5),
      },
    },
    { signal: task.signal, onProgress: ({ step, secondsLeft }) => task.onProgress?.({ done: step, total: steps, secondsLeft }) },
  );
  if (!result.isFinished) task.signal?.throwIfAborted();
  writeHead(folder, "head", parameters, true);
}

/** The prototypes that training came to, as keys and values [P·A·D]. */
export function finishedPrototypes(frozen: FrozenModel, parameters: Parameters, words: Float32Array, shape: TimeLlmShape) {
  const table = input("words", "f32", [words.length / shape.hiddenSize, shape.hiddenSize]);
  using program = Program.compile(
    frozen.device,
    prototypes(table, (name) => parameters.tensor(name)),
  );
  program.input("words").set(words);
  program.runSync();
  return { keys: Float64Array.from(program.peek("keys")), values: Float64Array.from(program.peek("values")) };
}
