import { input, Program } from "../../../tensor/index.ts";
import { forward, setRows, train } from "../../../training/index.ts";
import type { Parameters } from "../../../weights/index.ts";
import type { FitTask } from "../../types.ts";
import type { FrozenModel } from "../language-model/frozen-model.ts";
import { type HeadFolder, readHead, writeHead } from "../language-model/head-store.ts";
import { bestReadout, type LinearMap, Readout } from "../language-model/readout.ts";
import {
  begin,
  featuresOf,
  fillWindows,
  type HorizonBatch,
  horizonLoss,
  patchCount,
  prototypes,
  reprogram,
  type TimeLlmShape,
  withPrompt,
} from "./network.ts";
import type { HorizonWindows } from "./windows.ts";

export interface TimeLlmTraining {
  readonly shape: TimeLlmShape;
  readonly sequences: number;
  readonly steps: number;
  readonly peakRate: number;
  readonly seed: number;
  /** Windows from which the head is solved for before the steps; 0 leaves it to them. */
  readonly readoutWindows: number;
  readonly validationWindows: number;
}

/**
 * Trains what stands around a frozen model: the head is solved for in closed form over the states that random maps give, then all maps are
 * trained by Adam. What forecast the held-out windows best is kept. A run that was broken off goes on from its checkpoint in `folder`.
 *
 * @param words  [V·C]
 */
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
  const { shape, sequences, steps, seed, readoutWindows, validationWindows, peakRate } = options;
  const { device, model } = frozen;
  const tensor = (name: string) => parameters.tensor(name);
  const count = patchCount(shape);
  const embeddings = () => {
    const table = input("words", "f32", [words.length / shape.hiddenSize, shape.hiddenSize]);
    const patches = input("patches", "f32", [sequences * count, 3 * shape.patch]);
    return withPrompt(reprogram(patches, prototypes(table, tensor), tensor, shape), model, sequences, shape);
  };
  const objective = horizonLoss(tensor, sequences, shape, words);
  const length = shape.promptLength + count;
  using look = Program.compile(device, {
    features: featuresOf(forward(model, { sequences, length, embeddings: embeddings() }).hidden, sequences, shape),
  });
  const featuresFor = async (batch: HorizonBatch) => {
    task.signal?.throwIfAborted();
    setRows(look, model.config, { sequences, length }, { documents: batch.documents });
    fillWindows(look, batch, words);
    await look.run();
    return look.read("features");
  };

  const isBegun = readHead(folder, "best", parameters);
  if (!isBegun) begin(parameters, seed, words);
  const heldOut: { batch: HorizonBatch; features: Float32Array }[] = [];
  for (const batch of windows.validation(validationWindows)) heldOut.push({ batch, features: await featuresFor(batch) });
  const head = { weights: parameters.values("headWeight"), bias: parameters.values("headBias") };
  let best = isBegun ? errorOf(heldOut, head, shape.horizon) : Number.POSITIVE_INFINITY;
  const consider = (error: number) => {
    if (error >= best) return;
    best = error;
    writeHead(folder, "best", parameters);
  };
  if (!isBegun && readoutWindows > 0) {
    const solver = new Readout(count * shape.features, shape.horizon);
    for (let number = 0; number * sequences < readoutWindows; number++) {
      const batch = windows.training(steps + number); // other windows than those of the steps
      solver.add(await featuresFor(batch), batch.targets, batch.weights);
      task.onProgress?.({ done: 0, total: steps });
    }
    const { map, error } = await bestReadout(solver, (one) => errorOf(heldOut, one, shape.horizon));
    head.weights.set(map.weights);
    head.bias.set(map.bias);
    consider(error);
  }
  const result = await train(
    device,
    {
      ...{ model, parameters, embeddings, weightBytes: frozen.sizeBytes, identity: { model: frozen.fingerprint } },
      objective,
    },
    windows,
    folder.path,
    {
      ...{ steps, sequences, length, seed, validationWindows, learningRate: peakRate },
      ...{
        beta2: 0.99,
        weightDecay: 0,
        floor: 0.02,
        warmupSteps: Math.min(10, Math.floor(steps / 10)),
        validateEvery: Math.ceil(steps / 3),
      },
    },
    {
      signal: task.signal,
      onProgress({ step, validationLoss, secondsLeft }) {
        task.onProgress?.({ done: step, total: steps, secondsLeft });
        if (validationLoss !== undefined) consider(validationLoss);
      },
    },
  );
  if (!result.isFinished) task.signal?.throwIfAborted();
  readHead(folder, "best", parameters);
  writeHead(folder, "head", parameters, true);
}

/** Mean squared error of a head, as {@link horizonLoss} has it. */
function errorOf(
  windows: readonly { readonly batch: HorizonBatch; readonly features: Float32Array }[],
  { weights, bias }: LinearMap,
  horizon: number,
): number {
  let [sum, count] = [0, 0];
  const size = weights.length / horizon;
  for (const { batch, features } of windows)
    for (const [place, weight] of batch.weights.entries()) {
      if (weight === 0) continue;
      for (let h = 0; h < horizon; h++) {
        let value = bias[h]! - batch.targets[place * horizon + h]!;
        for (let i = 0; i < size; i++) value += weights[h * size + i]! * features[place * size + i]!;
        sum += weight * value * value;
      }
      count += horizon;
    }
  return count === 0 ? 0 : sum / count;
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
