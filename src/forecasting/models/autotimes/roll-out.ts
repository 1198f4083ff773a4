import { contiguous, input, narrow, Program, reshape, type Tensor } from "../../../tensor/index.ts";
import { forward, setRows } from "../../../training/index.ts";
import type { FrozenModel } from "../language-model/frozen-model.ts";
import { normalizedWindow } from "../window-moments.ts";
import { type AutoTimesShape, embedSegments, nextSegments, type TensorName } from "./network.ts";

/** A window to forecast from. */
export interface Start {
  /** [N·S] standardized, oldest first. */
  readonly window: Float64Array;
  /** [N'·S] of another series or an earlier time, whose tokens stand before those of the window; normalized by itself. */
  readonly context?: Float64Array;
  /** The unit vector [C] of the stamp of the segment that begins `offset` segments after the window's beginning; negative ones are the context's. */
  readonly stamp?: (offset: number) => Float32Array;
}

/**
 * Forecasts segment by segment: each step normalizes the current window anew, keeps the segment that the last row expects, drops the oldest
 * one and goes on.
 *
 * @param starts       of equal shapes
 * @param freeze       keep the mean and scale of the first window, so that tokens never change once they are made
 * @returns per start [horizon]
 */
export function rollOut(
  { model, device }: Pick<FrozenModel, "model" | "device">,
  tensor: (name: TensorName) => Tensor,
  shape: AutoTimesShape,
  starts: readonly Start[],
  horizon: number,
  { freeze = false, maxSequences = 32 } = {},
): Float64Array[] {
  if (starts.length === 0) return [];
  const { segment, hiddenSize, hasStamps } = shape;
  const before = (starts[0]!.context?.length ?? 0) / segment;
  const segments = starts[0]!.window.length / segment;
  const length = before + segments;
  const sequences = Math.min(maxSequences, starts.length);
  const rows = sequences * length;
  const embeddings = embedSegments(
    input("segments", "f32", [rows, segment]),
    hasStamps ? input("stamps", "f32", [rows, hiddenSize]) : undefined,
    tensor,
    shape,
  );
  const { hidden } = forward(model, { sequences, length, embeddings });
  const last = reshape(contiguous(narrow(reshape(hidden, [sequences, length, hiddenSize]), 1, length - 1, 1)), [sequences, hiddenSize]);
  using program = Program.compile(device, { next: nextSegments(last, tensor) });
  const steps = Math.ceil(horizon / segment);
  const results: Float64Array[] = [];
  for (let from = 0; from < starts.length; from += sequences) {
    const some = starts.slice(from, from + sequences);
    const paths = some.map(({ window }) => {
      const path = new Float64Array(window.length + steps * segment);
      path.set(window);
      return path;
    });
    const contexts = some.map(({ context }) => (context === undefined ? undefined : normalizedWindow(context, 0, context.length).inputs));
    const firsts = some.map(({ window }) => normalizedWindow(window, 0, window.length));
    for (let step = 0; step < steps; step++) {
      setRows(program, model.config, { sequences, length }, {});
      const inputs = program.input("segments").fill(0);
      const stamps = hasStamps ? program.input("stamps").fill(0) : undefined;
      const norms = paths.map((path, i) => {
        const { mean, scale } = freeze ? firsts[i]! : normalizedWindow(path, step * segment, segments * segment);
        const at = i * length * segment;
        if (contexts[i] !== undefined) inputs.set(contexts[i], at);
        for (let k = 0; k < segments * segment; k++) inputs[at + before * segment + k] = (path[step * segment + k]! - mean) / scale;
        for (let n = -before; stamps !== undefined && n < segments; n++)
          stamps.set(some[i]!.stamp!(n < 0 ? n : n + step), (i * length + before + n) * hiddenSize);
        return { mean, scale };
      });
      program.runSync();
      const next = program.peek("next");
      for (const [i, path] of paths.entries())
        for (let k = 0; k < segment; k++) path[(segments + step) * segment + k] = next[i * segment + k]! * norms[i]!.scale + norms[i]!.mean;
    }
    for (const path of paths) results.push(path.slice(segments * segment, segments * segment + horizon));
  }
  return results;
}
