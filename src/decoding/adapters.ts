import { OptionError, UnsupportedError } from "../errors.ts";
import { defineMethod, type Method, type MethodSpec, number, parseMethod } from "./method.ts";
import type { DecodingModel } from "./model.ts";

/** A loaded adapter and how strongly it acts; 0 is the model without it. */
export interface AdapterScale {
  readonly name: string;
  readonly scale: number;
}

/** The values of the axis `adapter`: `"name,scale=0.8"`, or several. What there is to name are the adapters that the model has loaded. */
export type AdapterSpec = MethodSpec | readonly MethodSpec[];

const adapterSource = {
  title: "LoRA: Low-Rank Adaptation of Large Language Models; series and parallel: LLM-Adapters (2304.01933)",
  arxiv: "2106.09685",
};

/** The methods of the axis `adapter` of a model that has loaded these. */
export function adapterMethods(names: readonly string[]): readonly Method<AdapterScale>[] {
  return names.map((name) =>
    defineMethod("adapter", {
      ...{ name, summary: "an adapter of the model: LoRA, series or parallel", needs: ["adapters"] },
      source: adapterSource,
      parameters: { scale: number({ default: 1, doc: "factor on what it adds; 0 is the model without it" }) },
      neutral: { scale: 0 },
      create: ({ scale }): AdapterScale => ({ name, scale }),
    }),
  );
}

/**
 * The adapters of a run.
 * @throws OptionError for one that is not loaded, stands twice, or a scale that is no number; UnsupportedError where a model takes none
 */
export function parseAdapters(spec: AdapterSpec | undefined, model: Pick<DecodingModel, "adapters">): readonly AdapterScale[] {
  if (spec === undefined) return [];
  if (model.adapters === undefined) throw new UnsupportedError("adapter: this model takes no adapters");
  const methods = adapterMethods(model.adapters());
  const specs = Array.isArray(spec) ? (spec as readonly MethodSpec[]) : [spec as MethodSpec];
  const adapters = specs.map((one) => {
    const { method, values } = parseMethod(methods, one, "adapter");
    return method.create(values);
  });
  const twice = adapters.find(({ name }, index) => adapters.findIndex((other) => other.name === name) < index);
  if (twice !== undefined) throw new OptionError("adapter", `names ${twice.name} twice`);
  return adapters;
}
