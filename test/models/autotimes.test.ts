import { homedir } from "node:os";
import { expect, test } from "vitest";
import {
  begin,
  embedSegments,
  nextSegmentLoss,
  type TensorName,
  tensorNames,
  tensorShapes,
} from "../../src/forecasting/models/autotimes/network.ts";
import { SegmentWindows } from "../../src/forecasting/models/autotimes/windows.ts";
import { FrozenModel } from "../../src/forecasting/models/language-model/frozen-model.ts";
import { defaultHome, hubFromEnvironment, resolveModel } from "../../src/models/index.ts";
import { input } from "../../src/tensor/index.ts";
import { train } from "../../src/training/index.ts";
import { Parameters, quantize } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";

test("AutoTimes over SmolLM2 learns a wave: the loss of its first steps falls by half", async () => {
  const home = defaultHome(process.env, process.platform, homedir());
  const { path } = await resolveModel("smollm2", { home, hub: hubFromEnvironment(process.env), quantize });
  using folder = temporaryFolder();
  using frozen = await FrozenModel.open(path, { threads: 1, blocks: 3, isTrainedThrough: true });
  const { hiddenSize } = frozen.model.config;
  const [segment, segments, sequences] = [12, 4, 8];
  const shape = { segment, hiddenSize, hasStamps: false, embeddingLength: frozen.embeddingLength() };
  using parameters = Parameters.create(
    frozen.device,
    tensorNames.filter((name) => name !== "mix").map((name) => ({ name, shape: tensorShapes(shape)[name] })),
  );
  begin(parameters, shape, 1);
  const tensor = (name: TensorName) => parameters.tensor(name);
  const values = Float64Array.from({ length: 600 }, (_, t) => Math.sin((2 * Math.PI * t) / 24) + 0.5 * Math.sin((2 * Math.PI * t) / 17));
  const losses: number[] = [];
  await train(
    frozen.device,
    {
      ...{ model: frozen.model, parameters, weightBytes: frozen.sizeBytes },
      objective: nextSegmentLoss(tensor, sequences * segments, shape),
      embeddings: () => embedSegments(input("segments", "f32", [sequences * segments, segment]), undefined, tensor, shape),
    },
    new SegmentWindows([{ values, trainEnd: 600 }], { segment, segments, hiddenSize, sequences, seed: 1 }, "wave"),
    folder.path,
    { steps: 30, sequences, length: segments, learningRate: 3e-3, weightDecay: 0 },
    { onProgress: ({ loss }) => losses.push(loss) },
  );
  const mean = (some: readonly number[]) => some.reduce((sum, loss) => sum + loss, 0) / some.length;
  expect(mean(losses.slice(-5))).toBeLessThan(0.5 * mean(losses.slice(0, 3)));
});
