import { input, Program } from "../../../tensor/index.ts";
import { forward, setRows } from "../../../training/index.ts";
import type { FrozenModel } from "../language-model/frozen-model.ts";
import { normalizedWindow } from "../window-moments.ts";
import { type FittedTensor, featuresOf, horizonOf, patchCount, reprogram, type TimeLlmShape, withPrompt } from "./network.ts";
import { statisticsOf } from "./prompt.ts";
import { type PromptTokens, patchesOf, setPrompt } from "./windows.ts";

/**
 * Forecasts a horizon at once, and longer ones by appending it and looking again.
 *
 * @param windows  [L] standardized, each
 * @returns per window [steps]
 */
export function forecastWindows(
  frozen: FrozenModel,
  tensor: FittedTensor,
  shape: TimeLlmShape,
  windows: readonly Float64Array[],
  tokens: PromptTokens,
  steps: number,
  maxSequences = 16,
): Float64Array[] {
  const { model, device } = frozen;
  const { lookback, horizon, patch, promptLength } = shape;
  const count = patchCount(shape);
  const sequences = Math.min(maxSequences, windows.length);
  const patches = input("patches", "f32", [sequences * count, 3 * patch]);
  const reprogrammed = reprogram(patches, { keys: tensor("keys"), values: tensor("values") }, tensor, shape);
  const length = promptLength + count;
  const { hidden } = forward(model, { sequences, length, embeddings: withPrompt(reprogrammed, model, sequences, shape) });
  using program = Program.compile(device, { next: horizonOf(featuresOf(hidden, sequences, shape), tensor) });
  const looks = Math.ceil(steps / horizon);
  const results: Float64Array[] = [];
  for (let from = 0; from < windows.length; from += sequences) {
    const paths = windows.slice(from, from + sequences).map((window) => {
      const path = new Float64Array(lookback + looks * horizon);
      path.set(window);
      return path;
    });
    for (let look = 0; look < looks; look++) {
      const prompt = new Int32Array(sequences * promptLength);
      const documents = new Int32Array(sequences * length);
      const inputs = program.input("patches").fill(0);
      const norms = paths.map((path, place) => {
        const window = normalizedWindow(path, look * horizon, lookback);
        inputs.set(patchesOf(window.inputs, shape), place * count * 3 * patch);
        if (promptLength > 0) setPrompt(tokens(statisticsOf(window.inputs)), place, shape, prompt, documents);
        return window;
      });
      setRows(program, model.config, { sequences, length }, { documents });
      if (promptLength > 0) program.input<"i32">("prompt").set(prompt);
      program.runSync();
      const next = program.peek("next");
      for (const [place, path] of paths.entries()) {
        const { mean, scale } = norms[place]!;
        for (let h = 0; h < horizon; h++) path[lookback + look * horizon + h] = next[place * horizon + h]! * scale + mean;
      }
    }
    for (const path of paths) results.push(path.slice(lookback, lookback + steps));
  }
  return results;
}
