import { uniformSampler } from "../normal-sampler.ts";

/** The first value of a window, and the series it is of. */
export interface Place {
  readonly series: number;
  readonly start: number;
}

export interface PlacesOptions {
  /** Values of a window together with its targets. */
  readonly span: number;
  /** How many of them, the last ones, are forecast. */
  readonly target: number;
  /** Windows of a batch. */
  readonly sequences: number;
  readonly seed: number;
}

/**
 * Where windows stand in series whose values up to `trainEnd` are learned from and whose later ones are held out. What a number's batch holds is
 * a pure function of the seed and the number, so that a run can go on anywhere.
 */
export class WindowPlaces {
  readonly #options: PlacesOptions;
  readonly #training: readonly number[];
  readonly #validation: readonly number[];
  /** The first held-out window of each series. */
  readonly #firsts: readonly number[];

  constructor(series: readonly { readonly values: Float64Array; readonly trainEnd: number }[], options: PlacesOptions) {
    const { span, target } = options;
    this.#options = options;
    this.#training = series.map(({ trainEnd }) => Math.max(0, trainEnd - span + 1));
    this.#firsts = series.map(({ trainEnd }) => Math.max(trainEnd + target, span) - span);
    this.#validation = series.map(({ values }, index) => Math.max(0, values.length - this.#firsts[index]! - span + 1));
  }

  get trainingCount(): number {
    return sum(this.#training);
  }

  get validationCount(): number {
    return sum(this.#validation);
  }

  training(number: number): readonly Place[] {
    const { sequences, seed } = this.#options;
    const uniform = uniformSampler(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
    const total = this.trainingCount;
    return Array.from({ length: sequences }, () => placeOf(Math.floor(uniform() * total), this.#training));
  }

  /** Windows whose targets are all held out, spread evenly, batch by batch; the last batch may be smaller. */
  *validation(maxWindows: number): Generator<readonly Place[]> {
    const total = this.validationCount;
    const { sequences } = this.#options;
    const count = Math.min(total, Math.ceil(Math.min(maxWindows, total) / sequences) * sequences);
    for (let at = 0; at < count; at += sequences)
      yield Array.from({ length: Math.min(sequences, count - at) }, (_, i) => {
        const { series, start } = placeOf(Math.floor(((at + i + 0.5) * total) / count), this.#validation);
        return { series, start: this.#firsts[series]! + start };
      });
  }
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

function placeOf(index: number, counts: readonly number[]): Place {
  let rest = index;
  for (const [series, count] of counts.entries()) {
    if (rest < count) return { series, start: rest };
    rest -= count;
  }
  throw new RangeError(`internal: there is no window ${index}`);
}
