import { input, Program } from "../../../tensor/index.ts";
import { forward, setRows, train } from "../../../training/index.ts";
import type { Parameters } from "../../../weights/index.ts";
import type { FitTask } from "../../types.ts";
import type { FrozenModel } from "../language-model/frozen-model.ts";
import { type HeadFolder, readHead, writeHead } from "../language-model/head-store.ts";
import { bestReadout, type LinearMap, penaltyCount, Readout } from "../language-model/readout.ts";
import { type AutoTimesShape, begin, embedSegments, nextSegmentLoss, type SegmentBatch, type TensorName } from "./network.ts";
import type { SegmentWindows } from "./windows.ts";

export interface AutoTimesTraining {
  readonly shape: AutoTimesShape;
  readonly segments: number;
  readonly sequences: number;
  readonly steps: number;
  readonly peakRate: number;
  readonly seed: number;
  /** Windows from which the output map is solved for, before the steps and after them; 0 leaves it to the steps. */
  readonly readoutWindows: number;
  readonly validationWindows: number;
}

/**
 * Trains the maps around a frozen model, in three parts: the output map is solved for in closed form over the states that random embeddings
 * give; both maps are trained by Adam on every next segment; and the output map is solved for once more. What forecast the held-out
 * windows best is kept. A run that was broken off goes on from its checkpoint in `folder`.
 */
export async function trainAutoTimes(
  frozen: FrozenModel,
  parameters: Parameters,
  windows: SegmentWindows,
  folder: HeadFolder,
  options: AutoTimesTraining,
  task: Pick<FitTask, "signal" | "onProgress" | "onNotice">,
): Promise<void> {
  const { shape, segments, sequences, steps, seed, validationWindows } = options;
  if (readHead(folder, "head", parameters)) return;
  const { device, model } = frozen;
  const tensor = (name: TensorName) => parameters.tensor(name);
  const rows = sequences * segments;
  const embeddings = () =>
    embedSegments(
      input("segments", "f32", [rows, shape.segment]),
      shape.hasStamps ? input("stamps", "f32", [rows, shape.hiddenSize]) : undefined,
      tensor,
      shape,
    );
  const objective = nextSegmentLoss(tensor, rows, shape);
  const pass = forward(model, { sequences, length: segments, embeddings: embeddings() });
  using look = Program.compile(device, { loss: objective.loss(pass, model), hidden: pass.hidden });
  const run = async (batch: SegmentBatch) => {
    task.signal?.throwIfAborted();
    setRows(look, model.config, { sequences, length: segments }, {});
    objective.fill(look, batch, batch.targetCount, model);
    await look.run();
    return look.peek("loss")[0]!;
  };
  const validate = async () => {
    let [sum, count] = [0, 0];
    for (const batch of windows.validation(validationWindows)) {
      sum += (await run(batch)) * batch.targetCount;
      count += batch.targetCount;
    }
    return count === 0 ? 0 : sum / count;
  };

  const isBegun = readHead(folder, "best", parameters);
  if (!isBegun) begin(parameters, shape, seed);
  await announce(frozen, windows, run, options, task);
  let best = isBegun ? await validate() : Number.POSITIVE_INFINITY;
  const consider = (error: number) => {
    if (error >= best) return;
    best = error;
    writeHead(folder, "best", parameters);
  };
  const readout = async () => {
    if (options.readoutWindows === 0) return consider(await validate());
    const solver = new Readout(shape.hiddenSize, shape.segment);
    for (let number = 0; number * sequences < options.readoutWindows; number++) {
      const batch = windows.training(steps + number); // other windows than those of the steps
      await run(batch);
      solver.add(look.peek("hidden"), batch.targets, lastRows(batch.weights, segments));
    }
    const { map, error } = await bestReadout(solver, (one) => {
      put(parameters, one);
      return validate();
    });
    put(parameters, map);
    consider(error);
  };

  if (!isBegun) await readout();
  const result = await train<SegmentBatch>(
    device,
    { model, parameters, objective, embeddings, weightBytes: frozen.sizeBytes, identity: { model: frozen.fingerprint } },
    windows,
    folder.path,
    {
      ...{ steps, sequences, length: segments, seed, validationWindows, learningRate: options.peakRate },
      ...{
        beta2: 0.99,
        weightDecay: 0,
        floor: 0.05,
        warmupSteps: Math.min(10, Math.floor(steps / 10)),
        validateEvery: Math.ceil(steps / 10),
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
  if (options.readoutWindows > 0) await readout();
  readHead(folder, "best", parameters);
  writeHead(folder, "head", parameters, true);
}

/** Says what a training will cost, by the time of one pass; a step takes about three of them. */
async function announce(
  frozen: FrozenModel,
  windows: SegmentWindows,
  run: (batch: SegmentBatch) => Promise<number>,
  { segments, sequences, steps, readoutWindows, validationWindows }: AutoTimesTraining,
  { onNotice }: Pick<FitTask, "onNotice">,
): Promise<void> {
  if (onNotice === undefined) return;
  const start = performance.now();
  await run(windows.training(0));
  const passMs = performance.now() - start;
  const looks = 10 + 2 * (penaltyCount + 1);
  const passes = 3 * steps + (2 * readoutWindows + looks * Math.min(validationWindows, windows.validationDocuments)) / sequences;
  const { blocks } = frozen.model.config;
  onNotice(
    `autotimes: ${steps} steps of ${sequences} windows of ${segments} segments through ${blocks.length} frozen blocks (${Math.round(frozen.sizeBytes / 2 ** 20)} MiB), about ${Math.max(1, Math.round((passes * passMs) / 1000))} s`,
  );
}

/** The weights of each sequence's last row alone: forecasts are read there, where no target lies inside the normalized window. */
const lastRows = (weights: Float32Array, segments: number): Float32Array =>
  weights.map((weight, row) => (row % segments === segments - 1 ? weight : 0));

function put(parameters: Parameters, { weights, bias }: LinearMap): void {
  parameters.values("outWeight").set(weights);
  parameters.values("outBias").set(bias);
}
