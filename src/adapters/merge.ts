import { OptionError, UnsupportedError } from "../errors.ts";
import { type QuantizedTensor, type QuantizeOptions, quantize } from "../weights/index.ts";
import type { Adapter } from "./adapter.ts";
import type { AdapterBase } from "./base.ts";

export interface MergeOptions extends Pick<QuantizeOptions, "signal" | "onTensor"> {
  /** Type of the result's matrices as for {@link quantize}; "same" (the default) keeps the type of each. */
  readonly type?: string;
  /** Factor on what the adapter adds; default 1. */
  readonly scale?: number;
}

/**
 * Writes a model file with a LoRA added to its weights: W + scale · alpha / rank · B A, row by row out of the file's own values. A matrix that is
 * quantized again loses a little of itself and, in few bits, most of a small adapter: f16 and f32 keep it.
 *
 * @throws UnsupportedError for series and parallel adapters, which no matrix can hold, and for matrices of a type that can't be written
 */
export async function mergeAdapter(
  output: string,
  base: AdapterBase,
  adapter: Adapter,
  options: MergeOptions = {},
): Promise<readonly QuantizedTensor[]> {
  const { type = "same", scale = 1, ...rest } = options;
  if (adapter.form !== "lora")
    throw new UnsupportedError(
      `a ${adapter.form} adapter has an activation between its matrices, so no weight can hold it; load it beside the model`,
    );
  if (!Number.isFinite(scale)) throw new OptionError("scale", `must be a finite number, got ${scale}`);
  const parts = new Map(adapter.parts.map((part) => [`${part.target}.weight`, part]));
  return quantize(base.file, output, {
    ...{ ...rest, type },
    edit(name) {
      const part = parts.get(name);
      if (part === undefined) return undefined;
      const { rank, inputs, down, up } = part;
      const sum = new Float64Array(inputs);
      return (values, firstRow) => {
        for (let row = 0; row * inputs < values.length; row += 1) {
          sum.set(values.subarray(row * inputs, (row + 1) * inputs));
          for (let k = 0; k < rank; k += 1) {
            const factor = scale * part.scale * up[(firstRow + row) * rank + k]!;
            for (let column = 0; column < inputs; column += 1) sum[column]! += factor * down[k * inputs + column]!;
          }
          values.set(sum, row * inputs);
        }
      };
    },
  });
}
