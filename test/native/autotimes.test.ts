import { afterEach, describe, expect, test } from "vitest";
import { forecast, loadForecasts } from "../../src/forecasting/index.ts";
import {
  begin,
  embedSegments,
  nextSegmentLoss,
  nextSegments,
  type TensorName,
  tensorShapes,
} from "../../src/forecasting/models/autotimes/network.ts";
import { rollOut } from "../../src/forecasting/models/autotimes/roll-out.ts";
import { SegmentWindows } from "../../src/forecasting/models/autotimes/windows.ts";
import { autotimes, inContext } from "../../src/forecasting/models/index.ts";
import { FrozenModel, noModel } from "../../src/forecasting/models/language-model/frozen-model.ts";
import { Readout } from "../../src/forecasting/models/language-model/readout.ts";
import { stampText, stampVectors } from "../../src/forecasting/models/language-model/stamp-vectors.ts";
import { normalSampler } from "../../src/forecasting/models/normal-sampler.ts";
import { normalizedWindow } from "../../src/forecasting/models/window-moments.ts";
import type { History, TimeGrid } from "../../src/forecasting/types.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { grad, input, Program, type Tensor } from "../../src/tensor/index.ts";
import { forward, setRows } from "../../src/training/index.ts";
import { openGguf, Parameters, readRows, toFloat } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { expectSlopes } from "../support/slopes.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";
import { type TinyOptions, writeTinyModel } from "../support/tiny-model.ts";

afterEach(() => expect(liveOwnerCount()).toBe(0));

const S = 6;
const hourly: TimeGrid = { frequency: { unit: "hour", count: 1 }, start: Date.UTC(2016, 6, 1), clock: "local" };
const wave = (length: number, seed = 1) => {
  const normal = normalSampler(seed);
  return Float64Array.from({ length }, (_, t) => 20 + 5 * Math.sin((2 * Math.PI * t) / 12) + 0.3 * normal());
};

/** A tiny frozen model with random maps around it. */
async function withMaps(
  options: TinyOptions | typeof noModel,
  use: (parts: {
    frozen: FrozenModel;
    parameters: Parameters;
    tensor: (name: TensorName) => Tensor;
    shape: { segment: number; hiddenSize: number; hasStamps: boolean; embeddingLength: number };
    path: string;
  }) => void | Promise<void>,
): Promise<void> {
  using folder = temporaryFolder();
  const path = options === noModel ? noModel : `${folder.path}/tiny.gguf`;
  if (options !== noModel) await writeTinyModel(path, options);
  using frozen = await FrozenModel.open(path, { threads: 1, isTrainedThrough: true });
  const { hiddenSize } = frozen.model.config;
  const shape = { segment: S, hiddenSize, hasStamps: false, embeddingLength: frozen.embeddingLength() };
  using parameters = Parameters.create(
    frozen.device,
    Object.entries(tensorShapes(shape)).map(([name, dims]) => ({ name, shape: dims })),
  );
  begin(parameters, shape, 3);
  const normal = normalSampler(8);
  for (const name of ["outWeight", "outBias"]) {
    const values = parameters.values(name);
    for (let i = 0; i < values.length; i++) values[i] = normal() / 8;
  }
  await use({ frozen, parameters, tensor: (name) => parameters.tensor(name), shape, path });
}

const tiny = { hiddenSize: 64, vocabSize: 48, blocks: 2, contextLength: 64 } as const;

test("without a model and without stamps it is one matrix applied to the last segment", async () => {
  await withMaps(noModel, ({ frozen, parameters, tensor, shape }) => {
    const window = wave(4 * S);
    const [result] = rollOut(frozen, tensor, shape, [{ window }], S);
    const { mean, scale, inputs } = normalizedWindow(window, 0, window.length);
    const [We, be, Wd, bd] = (["embedWeight", "embedBias", "outWeight", "outBias"] as const).map((name) => parameters.values(name));
    const C = shape.hiddenSize;
    for (let i = 0; i < S; i++) {
      let expected = bd![i]!;
      for (let c = 0; c < C; c++) {
        let state = be![c]!;
        for (let j = 0; j < S; j++) state += We![c * S + j]! * inputs[3 * S + j]!;
        expected += Wd![i * C + c]! * state;
      }
      expect(result![i]).toBeCloseTo(expected * scale + mean, 3);
    }
  });
});

describe.each(["llama", "gemma3", "gpt2"] as const)("%s", (architecture) => {
  test("with a fixed mean and scale a segment changes no output before it, by not one bit", async () => {
    await withMaps({ ...tiny, architecture }, ({ frozen, tensor, shape }) => {
      const N = 5;
      const embeddings = embedSegments(input("segments", "f32", [N, S]), undefined, tensor, shape);
      using program = Program.compile(frozen.device, {
        next: nextSegments(forward(frozen.model, { sequences: 1, length: N, embeddings }).hidden, tensor),
      });
      const outputs = (values: ArrayLike<number>) => {
        setRows(program, frozen.model.config, { sequences: 1, length: N }, {});
        program.input("segments").set(values);
        program.runSync();
        return program.read("next");
      };
      const segments = wave(N * S).map((value) => value / 10 - 2);
      const plain = outputs(segments);
      for (let k = 0; k < N; k++) {
        const changed = outputs(segments.map((value, i) => (Math.floor(i / S) === k ? -value : value)));
        expect([...changed.subarray(0, k * S)]).toEqual([...plain.subarray(0, k * S)]);
        expect([...changed.subarray(k * S)]).not.toEqual([...plain.subarray(k * S)]);
      }
    });
  });

  test("a longer roll-out begins with the shorter one; the first step is what training sees in the last row", async () => {
    await withMaps({ ...tiny, architecture }, ({ frozen, tensor, shape }) => {
      const N = 4;
      const windows = [wave(N * S, 4), wave(N * S, 5)];
      const starts = windows.map((window) => ({ window }));
      for (const freeze of [false, true]) {
        const long = rollOut(frozen, tensor, shape, starts, 4 * S + 2, { freeze });
        expect(long[0]).toHaveLength(4 * S + 2);
        const short = rollOut(frozen, tensor, shape, starts, S + 1, { freeze });
        for (const [i, path] of short.entries()) expect([...path]).toEqual([...long[i]!.subarray(0, S + 1)]);
      }
      // teacher-forced: the whole window in one pass, all rows
      const embeddings = embedSegments(input("segments", "f32", [2 * N, S]), undefined, tensor, shape);
      const { hidden } = forward(frozen.model, { sequences: 2, length: N, embeddings });
      using program = Program.compile(frozen.device, { next: nextSegments(hidden, tensor) });
      setRows(program, frozen.model.config, { sequences: 2, length: N }, {});
      const norms = windows.map((window) => normalizedWindow(window, 0, window.length));
      for (const [i, { inputs }] of norms.entries()) program.input("segments").set(inputs, i * N * S);
      program.runSync();
      const rolled = rollOut(frozen, tensor, shape, starts, S);
      for (const [i, { mean, scale }] of norms.entries())
        for (let k = 0; k < S; k++) expect(rolled[i]![k]).toBeCloseTo(program.peek("next")[(i * N + N - 1) * S + k]! * scale + mean, 4);
    });
  });

  test("gradients of the maps through the frozen blocks are the slopes of the loss in float64", async () => {
    await withMaps(
      { architecture, hiddenSize: 16, vocabSize: 24, blocks: 2, contextLength: 32, seed: 5 },
      ({ frozen, parameters, shape, path }) => {
        const [B, N] = [2, 3];
        const rows = B * N;
        const stamped = { ...shape, hasStamps: true };
        const tensor = (name: TensorName) => parameters.tensor(name);
        const embeddings = embedSegments(input("segments", "f32", [rows, S]), input("stamps", "f32", [rows, 16]), tensor, stamped);
        const objective = nextSegmentLoss(tensor, rows, stamped);
        const loss = objective.loss(forward(frozen.model, { sequences: B, length: N, embeddings }), frozen.model);
        const names = parameters.names;
        const gradients = grad(
          loss,
          names.map((name) => parameters.tensor(name)),
        );
        using program = Program.compile(frozen.device, { loss, ...Object.fromEntries(names.map((name, i) => [name, gradients[i]!])) });
        const series = { values: wave(60).map((value) => value / 5 - 4), trainEnd: 60, stamp: (step: number) => unit(16, step) };
        const windows = new SegmentWindows([series], { segment: S, segments: N, hiddenSize: 16, sequences: B, seed: 1 }, "test");
        const batch = windows.training(0);
        setRows(program, frozen.model.config, { sequences: B, length: N }, {});
        objective.fill(program, batch, batch.targetCount, frozen.model);
        program.runSync();

        const mask = Array.from({ length: B * N * N }, (_, i) => (i % N <= Math.floor(i / N) % N ? 0 : Number.NEGATIVE_INFINITY));
        const inputs: Record<string, ArrayLike<number>> = {
          ...{ segments: batch.segments, stamps: batch.stamps!, targets: batch.targets },
          weights: batch.weights.map((weight) => weight / batch.targetCount),
          positions: Array.from({ length: rows }, (_, row) => row % N),
        };
        expectSlopes({ program, loss, parameters, path, inputs, mask, isGelu: architecture !== "llama" });
      },
    );
  });
});

function unit(length: number, seed: number): Float32Array {
  const normal = normalSampler(seed);
  const values = Float32Array.from({ length }, normal);
  const size = Math.hypot(...values);
  return values.map((value) => value / size);
}

test("the window's mean and scale are those of its own values, and targets stand in the same units", () => {
  const values = wave(50);
  const windows = new SegmentWindows([{ values, trainEnd: 50 }], { segment: S, segments: 3, hiddenSize: 1, sequences: 2, seed: 4 }, "");
  const { segments, targets, weights, targetCount } = windows.training(7);
  expect(targetCount).toBe(2 * 3 * S);
  for (let place = 0; place < 2; place++) {
    const rows = segments.subarray(place * 3 * S, (place + 1) * 3 * S);
    const mean = rows.reduce((sum, value) => sum + value, 0) / rows.length;
    const variance = rows.reduce((sum, value) => sum + (value - mean) ** 2, 0) / rows.length;
    expect(mean).toBeCloseTo(0, 5);
    expect(variance).toBeCloseTo(1, 4);
    // the target of row n is the input of row n + 1
    for (let i = 0; i < 2 * S; i++) expect(targets[place * 3 * S + i]).toBeCloseTo(rows[S + i]!, 5);
    expect(weights[place * 3]).toBe(weights[place * 3 + 2]);
  }
});

test("held-out values change no training window, and validation's targets are all held out", () => {
  const values = wave(120);
  const trainEnd = 90;
  const changed = values.map((value, t) => (t < trainEnd ? value : 1e6));
  const shape = { segment: S, segments: 3, hiddenSize: 1, sequences: 4, seed: 2 };
  const [one, other] = [values, changed].map((all) => new SegmentWindows([{ values: all, trainEnd }], shape, ""));
  for (let number = 0; number < 50; number++) expect(other!.training(number)).toEqual(one!.training(number));
  const steps = values.map((_, t) => t);
  const numbered = new SegmentWindows([{ values: steps, trainEnd }], shape, "");
  const seen = new Set<number>();
  for (const { segments, targets, weights } of numbered.validation(1000))
    for (const [row, weight] of weights.entries()) {
      if (weight === 0) continue;
      const scale = Math.sqrt(weight);
      // of numbers that count on the first input of the last row is known: what follows is S later
      const step = 1 / scale;
      expect(targets[row * S]! - segments[row * S]!).toBeCloseTo(S * step, 3);
      seen.add(row);
    }
  expect([...seen].every((row) => row % 3 === 2)).toBe(true);
  expect(numbered.validationDocuments).toBe(120 - trainEnd - S + 1);
});

test("the read-out in closed form is the least-squares solution", () => {
  const normal = normalSampler(5);
  const [rows, C, T] = [40, 3, 2];
  const features = Float32Array.from({ length: rows * C }, () => 3 + normal());
  const truth = [
    [1, -2, 0.5],
    [0, 4, 1],
  ];
  const targets = Float32Array.from({ length: rows * T }, (_, i) => {
    const row = Math.floor(i / T);
    return 7 + truth[i % T]!.reduce((sum, weight, c) => sum + weight * features[row * C + c]!, 0);
  });
  const solver = new Readout(C, T);
  solver.add(
    features,
    targets,
    Float32Array.from({ length: rows }, (_, i) => (i % 5 === 0 ? 0 : 1 + i)),
  );
  const { weights, bias } = solver.solve(1e-12);
  truth.flat().forEach((value, i) => {
    expect(weights[i]).toBeCloseTo(value, 4);
  });
  for (const value of bias) expect(value).toBeCloseTo(7, 3);
});

test("states of time stamps computed as a tree are those of each sentence alone", async () => {
  using folder = temporaryFolder();
  const path = `${folder.path}/tiny.gguf`;
  await writeTinyChatModel(path, { blocks: 2 });
  using frozen = await FrozenModel.open(path, { threads: 1 });
  const texts = Array.from({ length: 60 }, (_, i) => stampText(hourly, i * 5));
  expect(texts.slice(0, 2)).toEqual([
    "The time series segment starts on 2016-07-01, a Friday, at 00",
    "The time series segment starts on 2016-07-01, a Friday, at 05",
  ]);
  const finish = (work: ReturnType<typeof stampVectors>) => {
    for (;;) {
      const { done, value } = work.next();
      if (done) return value as Float32Array;
    }
  };
  const together = finish(stampVectors(frozen, texts));
  const C = frozen.model.config.hiddenSize;
  for (const [i, text] of texts.entries()) {
    const ids = frozen.encode(text);
    using program = Program.compile(frozen.device, { hidden: forward(frozen.model, { sequences: 1, length: ids.length }).hidden });
    setRows(program, frozen.model.config, { sequences: 1, length: ids.length }, { ids });
    program.runSync();
    const state = program.peek("hidden").slice(-C);
    const size = Math.hypot(...state);
    for (let c = 0; c < C; c++) expect(Math.abs(together[i * C + c]! - state[c]! / size)).toBeLessThan(1e-5);
  }
});

const history = (values: Float64Array): History => ({ values, seasonalPeriod: 12, time: hourly });
const quick = { steps: 6, batch: 4, readout: 24, segments: 3, segment: S, threads: 1 };

describe("fitted", () => {
  test("trained twice it is the same; saved and loaded, updated and applied it forecasts the same; the language model's numbers stay", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyChatModel(path, { type: "q8_0", hiddenSize: 64 });
    const before = readAll(path);
    const parameters = { ...quick, languageModel: path };
    const notices: string[] = [];
    const fit = (seed: number) =>
      autotimes.fit(
        [history(wave(120)), history(wave(140, 2))],
        { horizon: 8, onNotice: (text) => notices.push(text) },
        { ...parameters, seed },
      );
    const [fitted, second] = await fit(1);
    expect(notices.join("\n")).toMatch(/6 steps of 4 windows of 3 segments through 2 frozen blocks .* about \d+ s/);
    expect(fitted!.parameters.stamps).toBe(true);
    expect((await fit(1))[0]!.toJSON()).toEqual(fitted!.toJSON());
    expect((await fit(2))[0]!.toJSON()).not.toEqual(fitted!.toJSON());
    const more = wave(160).slice(120, 131);
    const expected = fitted!.apply(history(Float64Array.from([...wave(120), ...more]))).forecast(20);
    expect(fitted!.update(more).forecast(20)).toEqual(expected);
    expect(
      autotimes
        .load(JSON.parse(JSON.stringify(fitted)))
        .update(more)
        .forecast(20),
    ).toEqual(expected);
    const together = autotimes.forecastAll([fitted!, second!], 8);
    for (const [i, one] of [fitted!, second!].entries())
      for (const [h, value] of one.forecast(8).mean.entries()) expect(together[i]!.mean[h]).toBeCloseTo(value, 3);
    expect(readAll(path)).toEqual(before);
  });

  test("broken off and called again it ends where it would have", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyChatModel(path);
    const parameters = { ...quick, steps: 12, languageModel: path };
    const [whole] = await autotimes.fit([history(wave(120))], { horizon: 8, home: `${folder.path}/one` }, parameters);
    const controller = new AbortController();
    const home = `${folder.path}/two`;
    const onProgress = ({ done, secondsLeft }: { done: number; secondsLeft?: number }) => {
      if (done === 5 && secondsLeft !== undefined) controller.abort(new Error("enough"));
    };
    const cut = autotimes.fit([history(wave(120))], { horizon: 8, home, onProgress, signal: controller.signal }, parameters);
    await expect(cut).rejects.toThrow("enough");
    const steps: number[] = [];
    const again = await autotimes.fit(
      [history(wave(120))],
      { horizon: 8, home, onProgress: ({ done, secondsLeft }) => void (secondsLeft !== undefined && steps.push(done)) },
      parameters,
    );
    expect(steps[0]).toBe(6);
    expect(again[0]!.toJSON()).toEqual(whole!.toJSON());
    // a third call finds the finished head
    const found = await autotimes.fit([history(wave(120))], { horizon: 8, home, onProgress: () => expect.unreachable() }, parameters);
    expect(found[0]!.toJSON()).toEqual(whole!.toJSON());
  });

  test("an example in the context is normalized by itself, is kept through updates, and changes the forecast", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyChatModel(path);
    const [fitted] = await autotimes.fit([history(wave(120))], { horizon: 8 }, { ...quick, languageModel: path });
    const source = history(wave(40, 9));
    const shown = inContext(fitted!, source);
    const scaled = inContext(fitted!, { ...source, values: source.values.map((value) => 100 * value - 7) });
    const plain = fitted!.forecast(9).mean;
    const mean = shown.forecast(9).mean;
    expect([...mean]).not.toEqual([...plain]);
    for (const [h, value] of scaled.forecast(9).mean.entries()) expect(value).toBeCloseTo(mean[h]!, 3);
    const more = wave(130).slice(120);
    const longer = history(Float64Array.from([...wave(120), ...more]));
    expect(shown.update(more).forecast(5)).toEqual(inContext(fitted!.apply(longer), source).forecast(5));
    expect(() => inContext(fitted!, history(wave(10)))).toThrow("needed are 24");
  });

  test("a table, an interval, a saved file: through the library, with covered time left", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyChatModel(path);
    const rows = [...wave(200)].map((y, t) => ({ time: new Date(hourly.start + t * 3_600_000).toISOString().slice(0, 16), y }));
    const stages = new Set<string>();
    const result = await forecast(rows, {
      ...{ horizon: 8, model: "autotimes", windows: 8, parameters: { ...quick, languageModel: path }, home: folder.path },
      onProgress: ({ stage }) => stages.add(stage),
    });
    expect(stages).toContain("training");
    expect(result.chosen.model).toBe("autotimes");
    expect(result.forecasts[0]!.mean.every(Number.isFinite)).toBe(true);
    expect(result.forecasts[0]!.intervals["80"]).toBeDefined();
    const again = loadForecasts(JSON.parse(JSON.stringify(result.fitted)));
    expect(again.forecast(8, [80])[0]!.mean).toEqual(result.forecasts[0]!.mean);
  });

  test("what can't be is refused by name", async () => {
    const fit = (parameters: object, values = wave(120), time: TimeGrid | undefined = hourly) =>
      autotimes.fit(
        [{ values, seasonalPeriod: 12, ...(time && { time }) }],
        { horizon: 8 },
        { ...quick, languageModel: noModel, ...parameters },
      );
    await expect(fit({ stamps: true })).rejects.toThrow("stamps");
    await expect(fit({ segments: 60 })).rejects.toThrow("segments");
    await expect(fit({ context: 64 })).rejects.toThrow("context");
    await expect(fit({ languageModel: "smollm2" })).rejects.toThrow("home");
    await expect(fit({}, wave(20))).rejects.toThrow("needed are 32");
    const [fitted] = await fit({});
    const broken = JSON.parse(JSON.stringify(fitted));
    broken.state.parameters.outBias.pop();
    expect(() => autotimes.load(broken)).toThrow("outBias");
  });

  test("constant, huge and tiny histories give finite forecasts", async () => {
    for (const value of [0, 7, 1e308, 5e-324]) {
      const values = Array.from({ length: 60 }, (_, t) => (t % 3 === 0 ? -1 : 1) * value);
      const [fitted] = await autotimes.fit(
        [history(Float64Array.from(values))],
        { horizon: 6 },
        { ...quick, steps: 2, languageModel: noModel },
      );
      for (const one of fitted!.forecast(20).mean) expect(Number.isFinite(one)).toBe(true);
    }
  });
});

function readAll(path: string): Record<string, number[]> {
  using file = openGguf(path);
  return Object.fromEntries([...file.tensors.keys()].map((name) => [name, [...readRows(file, name, undefined, toFloat)]]));
}
