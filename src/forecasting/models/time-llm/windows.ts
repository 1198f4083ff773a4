import type { BatchSource } from "../../../training/index.ts";
import { type Place, WindowPlaces } from "../language-model/window-places.ts";
import { normalizedWindow } from "../window-moments.ts";
import { type HorizonBatch, patchCount, type TimeLlmShape } from "./network.ts";
import { statisticsOf, type WindowStatistics } from "./prompt.ts";

/** The tokens of a window's prompt. */
export type PromptTokens = (statistics: WindowStatistics) => readonly number[];

/**
 * A window's patches, each between its neighbours in a ring: [n, 3·patch]. The last value is repeated for one stride.
 *
 * @param window  [L]
 */
export function patchesOf(window: Float32Array, shape: Pick<TimeLlmShape, "lookback" | "patch" | "stride">): Float32Array {
  const { lookback, patch, stride } = shape;
  const count = patchCount(shape);
  const patches = new Float32Array(count * 3 * patch);
  for (let n = 0; n < count; n++)
    for (let neighbour = 0; neighbour < 3; neighbour++) {
      const first = ((n + neighbour - 1 + count) % count) * stride;
      for (let i = 0; i < patch; i++) patches[(3 * n + neighbour) * patch + i] = window[Math.min(first + i, lookback - 1)]!;
    }
  return patches;
}

/**
 * Writes a window's prompt to the end of its T places. What stands before it is a document of its own, which the prompt doesn't see. Of a
 * prompt that is longer the beginning is left out.
 *
 * @param prompt     [B·T]
 * @param documents  [B·(T + n)]
 */
export function setPrompt(tokens: readonly number[], place: number, shape: TimeLlmShape, prompt: Int32Array, documents: Int32Array): void {
  const { promptLength } = shape;
  const kept = tokens.slice(Math.max(0, tokens.length - promptLength));
  prompt.set(kept, (place + 1) * promptLength - kept.length);
  const length = promptLength + patchCount(shape);
  documents.fill(1, place * length + promptLength - kept.length, (place + 1) * length);
}

interface WindowSeries {
  /** [N] standardized. */
  readonly values: Float64Array;
  /** Values up to here are learned from, later ones are held out. */
  readonly trainEnd: number;
}

/** Windows of L values and the H that follow, of all series alike. */
export class HorizonWindows implements BatchSource<HorizonBatch> {
  readonly identity: unknown;
  readonly #series: readonly WindowSeries[];
  readonly #shape: TimeLlmShape;
  readonly #sequences: number;
  readonly #tokens: PromptTokens;
  readonly #places: WindowPlaces;

  /** @param identity  what the values and the prompts depend on, for comparing runs */
  constructor(
    series: readonly WindowSeries[],
    shape: TimeLlmShape,
    { sequences, seed, tokens }: { readonly sequences: number; readonly seed: number; readonly tokens: PromptTokens },
    identity: unknown,
  ) {
    this.#series = series;
    this.#shape = shape;
    this.#sequences = sequences;
    this.#tokens = tokens;
    this.identity = { identity, ...shape, sequences, seed };
    const { lookback, horizon } = shape;
    this.#places = new WindowPlaces(series, { span: lookback + horizon, target: horizon, sequences, seed });
  }

  get validationDocuments(): number {
    return this.#places.validationCount;
  }

  training(number: number): HorizonBatch {
    return this.#read(this.#places.training(number));
  }

  *validation(maxWindows: number): Generator<HorizonBatch> {
    for (const places of this.#places.validation(maxWindows)) yield this.#read(places);
  }

  #read(places: readonly Place[]): HorizonBatch {
    const { lookback, horizon, patch, promptLength } = this.#shape;
    const sequences = this.#sequences;
    const count = patchCount(this.#shape);
    const batch = {
      patches: new Float32Array(sequences * count * 3 * patch),
      prompt: new Int32Array(sequences * promptLength),
      documents: new Int32Array(sequences * (promptLength + count)),
      targets: new Float32Array(sequences * horizon),
      weights: new Float32Array(sequences),
    };
    for (const [place, { series, start }] of places.entries()) {
      const { values } = this.#series[series]!;
      const { mean, scale, inputs } = normalizedWindow(values, start, lookback);
      batch.patches.set(patchesOf(inputs, this.#shape), place * count * 3 * patch);
      for (let h = 0; h < horizon; h++) batch.targets[place * horizon + h] = (values[start + lookback + h]! - mean) / scale;
      batch.weights[place] = scale ** 2;
      if (promptLength > 0) setPrompt(this.#tokens(statisticsOf(inputs)), place, this.#shape, batch.prompt, batch.documents);
    }
    return { ...batch, targetCount: places.length * horizon, from: [...new Set(places.map(({ series }) => series))] };
  }
}
