import type { BatchSource } from "../../../training/index.ts";
import { uniformSampler } from "../normal-sampler.ts";
import { windowStatistics } from "../window-moments.ts";
import type { SegmentBatch } from "./network.ts";

/** A standardized series, and where the states of its time stamps stand. */
export interface WindowSeries {
  /** [N] */
  readonly values: Float64Array;
  /** Values up to here are learned from, later ones are held out. */
  readonly trainEnd: number;
  /** The state of a step's time stamp, [C] of length 1. */
  readonly stamp?: (step: number) => Float32Array;
}

export interface WindowShape {
  /** S, N */
  readonly segment: number;
  readonly segments: number;
  readonly hiddenSize: number;
  /** Windows of a pass. */
  readonly sequences: number;
  readonly seed: number;
}

interface Place {
  readonly series: number;
  /** The first value of the window. */
  readonly start: number;
}

/**
 * Windows of N segments and the segment behind them, of all series alike. What a number's batch holds is a pure function of the seed and the
 * number, so that a run can go on anywhere.
 */
export class SegmentWindows implements BatchSource<SegmentBatch> {
  readonly identity: unknown;
  readonly #series: readonly WindowSeries[];
  readonly #shape: WindowShape;
  readonly #training: readonly number[];
  readonly #validation: readonly number[];

  /** @param identity  what the values depend on, for comparing runs */
  constructor(series: readonly WindowSeries[], shape: WindowShape, identity: unknown) {
    this.#series = series;
    this.#shape = shape;
    this.identity = { identity, ...shape };
    const span = shape.segment * (shape.segments + 1);
    this.#training = series.map(({ trainEnd }) => Math.max(0, trainEnd - span + 1));
    this.#validation = series.map(({ values, trainEnd }) => Math.max(0, values.length - Math.max(trainEnd + shape.segment, span) + 1));
  }

  /** Windows to learn from. */
  get trainingCount(): number {
    return this.#training.reduce((sum, count) => sum + count, 0);
  }

  get validationDocuments(): number {
    return this.#validation.reduce((sum, count) => sum + count, 0);
  }

  training(number: number): SegmentBatch {
    const { sequences, seed } = this.#shape;
    const uniform = uniformSampler(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
    const total = this.trainingCount;
    return this.#read(Array.from({ length: sequences }, () => this.#placeOf(Math.floor(uniform() * total), this.#training)));
  }

  /** Windows whose last target is held out, spread evenly; only that target counts, as it will in use. */
  *validation(maxWindows: number): Generator<SegmentBatch> {
    const total = this.validationDocuments;
    const { sequences, segment, segments } = this.#shape;
    const count = Math.min(total, Math.ceil(Math.min(maxWindows, total) / sequences) * sequences);
    for (let at = 0; at < count; at += sequences) {
      const places = Array.from({ length: Math.min(sequences, count - at) }, (_, i) => {
        const { series, start } = this.#placeOf(Math.floor(((at + i + 0.5) * total) / count), this.#validation);
        const { trainEnd } = this.#series[series]!;
        const first = Math.max(trainEnd + segment, segment * (segments + 1)) - segment * (segments + 1);
        return { series, start: first + start };
      });
      yield this.#read(places, true);
    }
  }

  #placeOf(index: number, counts: readonly number[]): Place {
    let rest = index;
    for (const [series, count] of counts.entries()) {
      if (rest < count) return { series, start: rest };
      rest -= count;
    }
    throw new RangeError(`internal: there is no window ${index}`);
  }

  #read(places: readonly Place[], isLastOnly = false): SegmentBatch {
    const { sequences, segment, segments, hiddenSize } = this.#shape;
    const rows = sequences * segments;
    const hasStamps = this.#series[0]!.stamp !== undefined;
    const batch = {
      segments: new Float32Array(rows * segment),
      targets: new Float32Array(rows * segment),
      weights: new Float32Array(rows),
      ...(hasStamps ? { stamps: new Float32Array(rows * hiddenSize) } : {}),
    };
    let targetCount = 0;
    for (const [place, { series, start }] of places.entries()) {
      const { values, stamp } = this.#series[series]!;
      const window = normalizedWindow(values, start, segment * segments);
      batch.segments.set(window.inputs, place * segments * segment);
      for (let n = 0; n < segments; n++) {
        const row = place * segments + n;
        for (let i = 0; i < segment; i++)
          batch.targets[row * segment + i] = (values[start + (n + 1) * segment + i]! - window.mean) / window.scale;
        if (stamp !== undefined) batch.stamps!.set(stamp(start + n * segment), row * hiddenSize);
        if (isLastOnly && n + 1 < segments) continue;
        batch.weights[row] = window.scale ** 2;
        targetCount += segment;
      }
    }
    return { ...batch, targetCount, from: [...new Set(places.map(({ series }) => series))] };
  }
}

/** A window reduced by its own mean and scale sqrt(variance + 1e-5). */
export function normalizedWindow(values: Float64Array, start: number, length: number) {
  const window = values.subarray(start, start + length);
  const { mean, scale } = windowStatistics(window);
  return { mean, scale, inputs: Float32Array.from(window, (value) => (value - mean) / scale) };
}
