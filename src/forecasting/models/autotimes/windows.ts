import type { BatchSource } from "../../../training/index.ts";
import { type Place, WindowPlaces } from "../language-model/window-places.ts";
import { normalizedWindow } from "../window-moments.ts";
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

/** Windows of N segments and the segment behind them, of all series alike. */
export class SegmentWindows implements BatchSource<SegmentBatch> {
  readonly identity: unknown;
  readonly #series: readonly WindowSeries[];
  readonly #shape: WindowShape;
  readonly #places: WindowPlaces;

  /** @param identity  what the values depend on, for comparing runs */
  constructor(series: readonly WindowSeries[], shape: WindowShape, identity: unknown) {
    this.#series = series;
    this.#shape = shape;
    this.identity = { identity, ...shape };
    const { segment, segments, sequences, seed } = shape;
    this.#places = new WindowPlaces(series, { span: segment * (segments + 1), target: segment, sequences, seed });
  }

  get validationDocuments(): number {
    return this.#places.validationCount;
  }

  training(number: number): SegmentBatch {
    return this.#read(this.#places.training(number));
  }

  /** Windows whose last target is held out; only that target counts, as it will in use. */
  *validation(maxWindows: number): Generator<SegmentBatch> {
    for (const places of this.#places.validation(maxWindows)) yield this.#read(places, true);
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
