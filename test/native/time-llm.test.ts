import { afterEach, describe, expect, test } from "vitest";
import { timeLlm } from "../../src/forecasting/models/index.ts";
import { FrozenModel, noModel } from "../../src/forecasting/models/language-model/frozen-model.ts";
import { normalSampler } from "../../src/forecasting/models/normal-sampler.ts";
import { forecastWindows } from "../../src/forecasting/models/time-llm/forecast-windows.ts";
import {
  begin,
  fittedShapes,
  horizonLoss,
  patchCount,
  prototypes,
  reprogram,
  type TimeLlmShape,
  trainedShapes,
  withPrompt,
} from "../../src/forecasting/models/time-llm/network.ts";
import { promptOf, statisticsOf, widestPrompt } from "../../src/forecasting/models/time-llm/prompt.ts";
import { HorizonWindows, patchesOf, setPrompt } from "../../src/forecasting/models/time-llm/windows.ts";
import { normalizedWindow } from "../../src/forecasting/models/window-moments.ts";
import type { History } from "../../src/forecasting/types.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { grad, input, Program } from "../../src/tensor/index.ts";
import { forward, setRows } from "../../src/training/index.ts";
import { openGguf, Parameters } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { expectSlopes } from "../support/slopes.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";
import { writeTinyModel } from "../support/tiny-model.ts";

afterEach(() => expect(liveOwnerCount()).toBe(0));

const wave = (length: number, seed = 1) => {
  const normal = normalSampler(seed);
  return Float64Array.from({ length }, (_, t) => 20 + 5 * Math.sin((2 * Math.PI * t) / 12) + 0.3 * normal());
};
const normals = (length: number, seed: number, scale = 1) => {
  const normal = normalSampler(seed);
  return Float32Array.from({ length }, () => scale * normal());
};
const small: TimeLlmShape = {
  ...{ lookback: 20, horizon: 5, patch: 6, stride: 3, width: 4, heads: 2, headSize: 3, features: 5, prototypes: 7, promptLength: 0 },
  hiddenSize: 16,
};

/** Trainable maps with random values everywhere. */
function randomMaps(frozen: FrozenModel, shapes: Record<string, readonly number[]>): Parameters {
  const parameters = Parameters.create(
    frozen.device,
    Object.entries(shapes).map(([name, shape]) => ({ name, shape })),
  );
  begin(parameters, 3, normals(64, 1));
  for (const [i, name] of parameters.names.entries())
    if (name.endsWith("Bias") || name === "headWeight") parameters.values(name).set(normals(parameters.values(name).length, 40 + i, 0.2));
  return parameters;
}

describe("the prompt", () => {
  test("is a function of the window alone; these are its words", () => {
    const window = [0.5, -1.25, 0.001, 2, -0.004, 0.25];
    expect(statisticsOf(window)).toMatchObject({ min: -1.25, max: 2, change: -0.25 });
    expect(promptOf("Sales of a shop.", 6, 3, statisticsOf(window))).toBe(
      "Sales of a shop.\nForecast 3 values from the last 6. " +
        "Lowest -1.25, highest 2.00, median 0.13; trend downward; strongest lags 3, 1, 2.\n",
    );
    expect(promptOf("", 6, 3, { min: -0.001, max: 0, median: 0.004, change: 1, lags: [1] })).toBe(
      "Forecast 3 values from the last 6. " + "Lowest 0.00, highest 0.00, median 0.00; trend upward; strongest lags 1.\n",
    );
  });

  test("of a sine of period 24 the strongest lags are multiples of it and their neighbours, not 0, and none above half", () => {
    const sine = Array.from({ length: 512 }, (_, t) => Math.sin((2 * Math.PI * t) / 24));
    const { lags } = statisticsOf(sine);
    expect(lags[0]).toBe(1); // of a slow wave on 512 points: 0, 511 and 1 come first in the release
    expect(lags).toContain(24);
    expect(lags.every((lag) => lag >= 1 && lag <= 256)).toBe(true);
    // against the sum over every pair, by a transform's definition: a sine of whole periods repeats exactly
    const whole = Array.from({ length: 480 }, (_, t) => Math.sin((2 * Math.PI * t) / 24));
    expect(new Set(statisticsOf(whole).lags.map((lag) => lag % 24))).toEqual(new Set([0]));
  });

  test("none is longer than the widest, in characters", () => {
    const widest = widestPrompt("d", 48, 4).length;
    for (let seed = 0; seed < 50; seed++) {
      const values = Float64Array.from(normals(48, seed)).map((value) => value ** 5);
      const { inputs } = normalizedWindow(values, 0, 48);
      expect(promptOf("d", 48, 4, statisticsOf(inputs)).length).toBeLessThanOrEqual(widest);
    }
  });
});

test("patches: the paper's count, each between its neighbours in a ring, the last value repeated", () => {
  expect(patchCount({ lookback: 512, patch: 16, stride: 8 })).toBe(64);
  expect(patchCount({ lookback: 336, patch: 16, stride: 8 })).toBe(42);
  const window = Float32Array.from({ length: 8 }, (_, i) => i);
  // [0 1 2 3] [2 3 4 5] [4 5 6 7] [6 7 7 7]
  expect([...patchesOf(window, { lookback: 8, patch: 4, stride: 2 })]).toEqual([
    ...[6, 7, 7, 7, 0, 1, 2, 3, 2, 3, 4, 5],
    ...[0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7],
    ...[2, 3, 4, 5, 4, 5, 6, 7, 6, 7, 7, 7],
    ...[4, 5, 6, 7, 6, 7, 7, 7, 0, 1, 2, 3],
  ]);
});

test("reprogramming equals cross-attention written out; what a head gives lies in the hull of the values", async () => {
  using frozen = await FrozenModel.open(noModel, { threads: 1 });
  using parameters = randomMaps(frozen, fittedShapes(small));
  const { width, heads, headSize, patch, hiddenSize } = small;
  const [count, rows, size] = [small.prototypes, 4, heads * headSize];
  for (const name of ["keys", "values"]) parameters.values(name).set(normals(count * size, name.length));
  const patches = normals(rows * 3 * patch, 9);
  using program = Program.compile(frozen.device, {
    out: reprogram(
      input("patches", "f32", [rows, 3 * patch]),
      { keys: parameters.tensor("keys"), values: parameters.tensor("values") },
      (name) => parameters.tensor(name),
      small,
    ),
  });
  program.input("patches").set(patches);
  program.runSync();
  const out = program.read("out");
  const of = (name: string) => parameters.values(name);
  for (let row = 0; row < rows; row++) {
    const embedded = Array.from({ length: width }, (_, w) =>
      patches
        .subarray(row * 3 * patch, (row + 1) * 3 * patch)
        .reduce((sum, value, i) => sum + value * of("patchWeight")[w * 3 * patch + i]!, 0),
    );
    const mixed: number[] = [];
    for (let head = 0; head < heads; head++) {
      const query = Array.from({ length: headSize }, (_, d) => {
        const at = head * headSize + d;
        return embedded.reduce((sum, value, w) => sum + value * of("queryWeight")[at * width + w]!, of("queryBias")[at]!);
      });
      const scores = Array.from({ length: count }, (_, p) =>
        Math.exp(query.reduce((sum, value, d) => sum + value * of("keys")[p * size + head * headSize + d]!, 0) / Math.sqrt(headSize)),
      );
      const total = scores.reduce((sum, score) => sum + score, 0);
      for (let d = 0; d < headSize; d++) {
        const column = Array.from({ length: count }, (_, p) => of("values")[p * size + head * headSize + d]!);
        const value = column.reduce((sum, one, p) => sum + (one * scores[p]!) / total, 0);
        expect(value).toBeGreaterThanOrEqual(Math.min(...column));
        expect(value).toBeLessThanOrEqual(Math.max(...column));
        mixed.push(value);
      }
    }
    for (let c = 0; c < hiddenSize; c++)
      expect(out[row * hiddenSize + c]).toBeCloseTo(
        mixed.reduce((sum, value, i) => sum + value * of("outWeight")[c * size + i]!, of("outBias")[c]!),
        4,
      );
  }
});

const tiny = { hiddenSize: 16, vocabSize: 24, blocks: 2, contextLength: 64, seed: 5 } as const;

describe.each(["llama", "gemma3", "gpt2"] as const)("%s", (architecture) => {
  test("with all prototypes equal the forecast is the window's mean plus its scale times a constant", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyModel(path, { ...tiny, architecture });
    using frozen = await FrozenModel.open(path, { threads: 1 });
    using parameters = randomMaps(frozen, fittedShapes(small));
    for (const name of ["keys", "values"]) {
      const one = normals(small.heads * small.headSize, 2);
      for (let p = 0; p < small.prototypes; p++) parameters.values(name).set(one, p * one.length);
    }
    const windows = [wave(20, 1), wave(20, 2).map((value) => value * 40 - 3)];
    const forecasts = forecastWindows(
      frozen,
      (name) => parameters.tensor(name),
      small,
      windows,
      () => [],
      5,
    );
    const constants = windows.map((window, i) => {
      const { mean, scale } = normalizedWindow(window, 0, 20);
      return forecasts[i]!.map((value) => (value - mean) / scale);
    });
    for (const [h, value] of constants[0]!.entries()) expect(constants[1]![h]).toBeCloseTo(value, 4);
    expect(new Set(constants[0]).size).toBe(5);
  });

  test("a prompt stands where it would alone: padding before it changes nothing; another prompt changes the forecast", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyModel(path, { ...tiny, architecture });
    using frozen = await FrozenModel.open(path, { threads: 1 });
    using parameters = randomMaps(frozen, fittedShapes(small));
    parameters.values("keys").set(normals(parameters.values("keys").length, 1));
    parameters.values("values").set(normals(parameters.values("values").length, 2));
    const run = (promptLength: number, tokens: readonly number[]) =>
      forecastWindows(
        frozen,
        (name) => parameters.tensor(name),
        { ...small, promptLength },
        [wave(20)],
        () => tokens,
        5,
      )[0]!;
    const exact = run(4, [3, 1, 4, 1]);
    for (const [h, value] of run(11, [3, 1, 4, 1]).entries()) expect(value).toBeCloseTo(exact[h]!, 4);
    expect([...run(4, [3, 1, 4, 2])]).not.toEqual([...exact]);
    // of a longer one the beginning is left out
    expect([...run(4, [9, 9, 3, 1, 4, 1])]).toEqual([...exact]);
  });

  test("gradients of all maps are the slopes of the loss in float64", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyModel(path, { ...tiny, architecture });
    using frozen = await FrozenModel.open(path, { threads: 1, isTrainedThrough: true });
    const shape = { ...small, promptLength: 5 };
    const [B, n, V, length] = [2, patchCount(small), 9, 5 + patchCount(small)];
    using parameters = randomMaps(frozen, trainedShapes(shape, V));
    const tensor = (name: string) => parameters.tensor(name);
    const words = normals(V * shape.hiddenSize, 6);
    const patches = input("patches", "f32", [B * n, 3 * shape.patch]);
    const reprogrammed = reprogram(patches, prototypes(input("words", "f32", [V, shape.hiddenSize]), tensor), tensor, shape);
    const objective = horizonLoss(tensor, B, shape, words);
    const pass = forward(frozen.model, { sequences: B, length, embeddings: withPrompt(reprogrammed, frozen.model, B, shape) });
    const loss = objective.loss(pass, frozen.model);
    const names = parameters.names;
    const gradients = grad(
      loss,
      names.map((name) => parameters.tensor(name)),
    );
    using program = Program.compile(frozen.device, { loss, ...Object.fromEntries(names.map((name, i) => [name, gradients[i]!])) });
    const tokens = [7, 2, 11];
    const windows = new HorizonWindows(
      [{ values: wave(60).map((value) => value / 5 - 4), trainEnd: 60 }],
      shape,
      { sequences: B, seed: 1, tokens: () => tokens },
      "test",
    );
    const batch = windows.training(0);
    setRows(program, frozen.model.config, { sequences: B, length }, { documents: batch.documents! });
    objective.fill(program, batch, batch.targetCount, frozen.model);
    program.runSync();

    const padding = shape.promptLength - tokens.length;
    const isPadding = (row: number) => row % length < padding;
    const mask = Array.from({ length: B * length * length }, (_, i) => {
      const [column, row] = [i % length, Math.floor(i / length) % length];
      return column <= row && isPadding(column) === isPadding(row) ? 0 : Number.NEGATIVE_INFINITY;
    });
    const inputs: Record<string, ArrayLike<number>> = {
      ...{ patches: batch.patches, prompt: batch.prompt, targets: batch.targets, words },
      weights: batch.weights.map((weight) => weight / batch.targetCount),
      positions: Array.from({ length: B * length }, (_, row) => (isPadding(row) ? row % length : (row % length) - padding)),
    };
    expectSlopes({ program, loss, parameters, path, inputs, mask, isGelu: architecture !== "llama" });
  });
});

test("words of the vocabulary: text tokens of more than a character, in its own order; ids outside it don't reach the table", async () => {
  using folder = temporaryFolder();
  const path = `${folder.path}/tiny.gguf`;
  await writeTinyChatModel(path);
  using frozen = await FrozenModel.open(path, { threads: 1 });
  using file = openGguf(path);
  const tokens = [...file.metadata.requireStrings("tokenizer.ggml.tokens")];
  const types = file.metadata.getNumbers("tokenizer.ggml.token_type")!;
  const words = [...frozen.frequentTokens(20)];
  expect(words).toEqual([...tokens.keys()].filter((id) => types[id] === 1 && [...tokens[id]!].length > 1).slice(0, 20));
  for (const ids of [[], [-1], [tokens.length]]) expect(() => frozen.embeddingsOf(Int32Array.from(ids))).toThrow(RangeError);
});

test("prompts stand at the end of their places, in a document of their own together with the patches", () => {
  const shape = { ...small, promptLength: 4 };
  const length = 4 + patchCount(small);
  const prompt = new Int32Array(8);
  const documents = new Int32Array(2 * length);
  setPrompt([5, 6], 1, shape, prompt, documents);
  expect([...prompt]).toEqual([0, 0, 0, 0, 0, 0, 5, 6]);
  expect([...documents]).toEqual(Array.from({ length: 2 * length }, (_, row) => (row >= length + 2 ? 1 : 0)));
});

test("held-out values change no training window; targets and weights are in the window's own units", () => {
  const values = wave(120);
  const trainEnd = 90;
  const options = { sequences: 3, seed: 2, tokens: () => [] };
  const of = (all: Float64Array) => new HorizonWindows([{ values: all, trainEnd }], small, options, "");
  const [one, other] = [of(values), of(values.map((value, t) => (t < trainEnd ? value : 1e6)))];
  for (let number = 0; number < 50; number++) expect(other.training(number)).toEqual(one.training(number));
  // of numbers that count on, the targets say where they stood
  const numbered = of(values.map((_, t) => t));
  for (const { targets, weights } of numbered.validation(1000))
    for (const [place, weight] of weights.entries()) {
      if (weight === 0) continue;
      const middle = targets[place * 5]! * Math.sqrt(weight); // the first target less the window's mean
      expect(middle).toBeCloseTo(20 - 9.5, 3);
    }
  expect(numbered.validationDocuments).toBe(120 - trainEnd - 5 + 1);
  expect(one.training(0).targetCount).toBe(15);
});

const history = (values: Float64Array): History => ({ values, seasonalPeriod: 12 });
const quick = {
  ...{ steps: 6, batch: 2, lookback: 24, words: 60, prototypes: 9, width: 8, heads: 2, headSize: 4, features: 6, readout: 24 },
  threads: 1,
};

describe("fitted", () => {
  test("trained twice it is the same; saved and loaded, updated and applied it forecasts the same; longer horizons begin with it", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyChatModel(path, { type: "q8_0", hiddenSize: 64, contextLength: 512 });
    const parameters = { ...quick, languageModel: path, description: "A wave." };
    const notices: string[] = [];
    const fit = (seed: number) =>
      timeLlm.fit(
        [history(wave(120)), history(wave(140, 2))],
        { horizon: 8, onNotice: (text) => notices.push(text) },
        { ...parameters, seed },
      );
    const [fitted, second] = await fit(1);
    expect(notices.join("\n")).toMatch(/6 steps of 2 windows of \d+ tokens, \d+ of them the prompt's, through 2 frozen blocks/);
    expect((await fit(1))[0]!.toJSON()).toEqual(fitted!.toJSON());
    expect((await fit(2))[0]!.toJSON()).not.toEqual(fitted!.toJSON());
    const more = wave(160).slice(120, 131);
    const expected = fitted!.apply(history(Float64Array.from([...wave(120), ...more]))).forecast(20);
    expect(fitted!.update(more).forecast(20)).toEqual(expected);
    expect(
      timeLlm
        .load(JSON.parse(JSON.stringify(fitted)))
        .update(more)
        .forecast(20),
    ).toEqual(expected);
    const first = fitted!.forecast(8).mean;
    for (const [h, value] of fitted!.forecast(20).mean.subarray(0, 8).entries()) expect(value).toBeCloseTo(first[h]!, 3);
    const together = timeLlm.forecastAll([fitted!, second!], 8);
    for (const [i, one] of [fitted!, second!].entries())
      for (const [h, value] of one.forecast(8).mean.entries()) expect(together[i]!.mean[h]).toBeCloseTo(value, 3);
  });

  test("without a language model it learns a wave: its error falls to a third of the mean's", async () => {
    const [fitted] = await timeLlm.fit(
      [history(wave(400))],
      { horizon: 8 },
      { ...quick, steps: 150, batch: 8, learningRate: 1e-2, readout: 0, languageModel: noModel },
    );
    const truth = wave(420);
    const errors = (forecast: ArrayLike<number>, from: number) => {
      let sum = 0;
      for (let h = 0; h < 8; h++) sum += (forecast[h]! - truth[from + h]!) ** 2;
      return sum;
    };
    let [own, mean] = [0, 0];
    for (let from = 390; from <= 412; from += 2) {
      own += errors(fitted!.apply(history(truth.slice(0, from))).forecast(8).mean, from);
      mean += errors(new Float64Array(8).fill(20), from);
    }
    expect(own).toBeLessThan(mean / 3);
  });

  test("broken off and called again it ends where it would have", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyChatModel(path, { contextLength: 512 });
    const parameters = { ...quick, steps: 12, languageModel: path };
    const [whole] = await timeLlm.fit([history(wave(120))], { horizon: 8, home: `${folder.path}/one` }, parameters);
    const controller = new AbortController();
    const home = `${folder.path}/two`;
    const onProgress = ({ done }: { done: number }) => {
      if (done === 5) controller.abort(new Error("enough"));
    };
    const cut = timeLlm.fit([history(wave(120))], { horizon: 8, home, onProgress, signal: controller.signal }, parameters);
    await expect(cut).rejects.toThrow("enough");
    const steps: number[] = [];
    const again = await timeLlm.fit(
      [history(wave(120))],
      { horizon: 8, home, onProgress: ({ done }) => void steps.push(done) },
      parameters,
    );
    expect(steps[0]).toBe(6);
    expect(again[0]!.toJSON()).toEqual(whole!.toJSON());
    // a third call finds the finished head
    const found = await timeLlm.fit([history(wave(120))], { horizon: 8, home, onProgress: () => expect.unreachable() }, parameters);
    expect(found[0]!.toJSON()).toEqual(whole!.toJSON());
  });

  test("what can't be is refused by name", async () => {
    const fit = (parameters: object, values = wave(120)) =>
      timeLlm.fit([history(values)], { horizon: 8 }, { ...quick, languageModel: noModel, ...parameters });
    await expect(fit({ lookback: 90 })).rejects.toThrow("lookback");
    await expect(fit({ patch: 25 })).rejects.toThrow("patch");
    await expect(fit({ features: 600 })).rejects.toThrow("features");
    await expect(fit({ languageModel: "smollm2" })).rejects.toThrow("home");
    await expect(fit({}, wave(20))).rejects.toThrow("needed are 32");
    const [fitted] = await fit({});
    const broken = JSON.parse(JSON.stringify(fitted));
    broken.state.parameters.headBias.pop();
    expect(() => timeLlm.load(broken)).toThrow("headBias");
  });

  test("constant, huge and tiny histories give finite forecasts", async () => {
    for (const value of [0, 7, 1e308, 5e-324]) {
      const values = Float64Array.from({ length: 60 }, (_, t) => (t % 3 === 0 ? -1 : 1) * value);
      const [fitted] = await timeLlm.fit([history(values)], { horizon: 6 }, { ...quick, steps: 2, languageModel: noModel });
      for (const one of fitted!.forecast(20).mean) expect(Number.isFinite(one)).toBe(true);
    }
  });
});
