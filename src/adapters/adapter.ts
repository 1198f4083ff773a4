import { FormatError, OptionError } from "../errors.ts";
import { type AdapterBase, type AdapterForm, adapterForms, resolveTargets, targetNames } from "./base.ts";

/** What stands between the two matrices of a series or parallel adapter; "gelu" is the tanh approximation. */
export type Activation = "tanh" | "relu" | "gelu" | "silu";
export const activations: readonly Activation[] = ["tanh", "relu", "gelu", "silu"];

/** One place to which an adapter adds `scale · up · f(down · x)`. */
export interface AdapterPart {
  /** A layer `blk.3.attn_q` (lora), or a half-block `blocks.3.ffn`. */
  readonly target: string;
  readonly rank: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly scale: number;
}

/** An adapter without its numbers. */
export interface AdapterPlan {
  readonly form: AdapterForm;
  /** Undefined for lora, which has none. */
  readonly activation: Activation | undefined;
  readonly parts: readonly AdapterPart[];
}

/**
 * Numbers that change a frozen model. With W x the layer's product and s the scale:
 * lora W x + s B A x; series y + s U f(D y) on a half-block's output y; parallel y + s U f(D x̂), x̂ the residual stream before the half-block
 * over its root mean square (as its own norm divides it; the norm's factors are the adapter's to learn).
 *
 * @see Hu et al. 2021 (LoRA), https://arxiv.org/abs/2106.09685; Houlsby et al. 2019 (series), https://arxiv.org/abs/1902.00751;
 *   He et al. 2022 (parallel), https://arxiv.org/abs/2110.04366; Hu et al. 2023 (LLM-Adapters), https://arxiv.org/abs/2304.01933
 */
export interface Adapter extends AdapterPlan {
  readonly parts: readonly (AdapterPart & {
    /** A or D: [rank, inputs] */
    readonly down: Float32Array;
    /** B or U: [outputs, rank] */
    readonly up: Float32Array;
  })[];
}

export interface AdapterOptions {
  readonly form: AdapterForm;
  /** LoRA's rank, or the width between the two matrices. Default 8, series and parallel 64. */
  readonly rank?: number;
  /** LoRA's numerator of the scale alpha / rank. Default twice the rank. */
  readonly alpha?: number;
  /** Scale of series and parallel adapters. Default 1. */
  readonly scaling?: number;
  /** Default for lora `q` and `v` (`qkv` where they are one), otherwise `ffn`. */
  readonly targets?: readonly string[];
  /** Of series and parallel adapters; default "tanh". */
  readonly activation?: Activation;
}

const mostRank = 4096;

/** @throws OptionError naming option, range and value */
export function planAdapter(base: AdapterBase, options: AdapterOptions): AdapterPlan {
  const { form } = options;
  const isLora = form === "lora";
  if (!adapterForms.includes(form)) throw new OptionError("adapter", `${JSON.stringify(form)} is none of ${adapterForms.join(", ")}`);
  for (const name of isLora ? (["activation", "scaling"] as const) : (["alpha"] as const))
    if (options[name] !== undefined) throw new OptionError(name, `${form} has no ${name}`);
  const { rank = isLora ? 8 : 64, activation = isLora ? undefined : "tanh" } = options;
  if (!Number.isInteger(rank) || rank < 1 || rank > mostRank)
    throw new OptionError("rank", `must be a whole number in [1, ${mostRank}], got ${rank}`);
  const [name, strength] = isLora ? ["alpha", options.alpha ?? 2 * rank] : ["scaling", options.scaling ?? 1];
  if (!(strength > 0 && Number.isFinite(strength))) throw new OptionError(name as string, `must be > 0, got ${strength}`);
  if (activation !== undefined && !activations.includes(activation))
    throw new OptionError("activation", `must be one of ${activations.join(", ")}, got ${activation}`);
  const known = targetNames(base, form);
  const usual = isLora ? ["q", "v", "qkv"].filter((short) => known.includes(short)) : ["ffn"];
  const parts = resolveTargets(base, form, options.targets ?? usual).map((target): AdapterPart => {
    const place = base.place(form, target);
    if (place === undefined) throw new FormatError(base.file, `has no tensor ${target}.weight`);
    return { target, rank, ...place, scale: isLora ? strength / rank : strength };
  });
  return { form, activation, parts };
}

/**
 * Checks numbers from outside against the base before anything is made of them.
 * @throws FormatError naming the target
 */
export function checkAdapter(file: string, base: AdapterBase, adapter: Adapter): Adapter {
  if (adapter.parts.length === 0) throw new FormatError(file, "has no adapter tensors");
  const seen = new Set<string>();
  for (const { target, rank, inputs, outputs, scale, down, up } of adapter.parts) {
    const place = base.place(adapter.form, target);
    if (place === undefined) throw new FormatError(file, `adapts ${target}, which ${base.file} has not`);
    if (seen.has(target)) throw new FormatError(file, `adapts ${target} twice`);
    seen.add(target);
    if (inputs !== place.inputs || outputs !== place.outputs)
      throw new FormatError(
        file,
        `${target} goes from ${inputs} to ${outputs} features, in ${base.file} from ${place.inputs} to ${place.outputs}`,
      );
    if (!Number.isInteger(rank) || rank < 1 || rank > mostRank)
      throw new FormatError(file, `${target} has rank ${rank}, expected [1, ${mostRank}]`);
    if (!Number.isFinite(scale)) throw new FormatError(file, `${target} has the scale ${scale}`);
    for (const values of [down, up]) {
      const bad = values.find((value) => !Number.isFinite(value));
      if (bad !== undefined) throw new FormatError(file, `${target} has the value ${bad}`);
    }
  }
  return adapter;
}

/** Trainable or stored values. */
export const adapterSize = ({ parts }: AdapterPlan): number =>
  parts.reduce((sum, { rank, inputs, outputs }) => sum + rank * (inputs + outputs), 0);
