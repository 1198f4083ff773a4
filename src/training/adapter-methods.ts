import { type Activation, type AdapterForm, activations } from "../adapters/index.ts";
import { defineMethod, integer, type Method, type MethodSpec, number, parseMethod, text } from "../decoding/index.ts";
import type { AdapterTraining } from "./adapter-trainee.ts";

const dropout = number({ min: 0, max: 0.99, default: 0, doc: "part of what goes into the adapter that each pass leaves out" });
const targets = (usual: string, some: string) =>
  text({ default: usual, doc: `where it is added in every block, such as ${some}, or all; empty: as usual for the family` });
const split = (names: string) => (names === "" ? {} : { targets: names.split(";") });

const lora = defineMethod("adapter", {
  name: "lora",
  summary: "two narrow matrices beside linear layers: W x + alpha / rank · B A x",
  source: { title: "LoRA: Low-Rank Adaptation of Large Language Models", arxiv: "2106.09685" },
  parameters: {
    rank: integer({ min: 1, max: 4096, default: 8, doc: "rows of A" }),
    alpha: number({ min: 0, default: 0, doc: "numerator of the scale; 0: twice the rank" }),
    targets: targets("", "q;v"),
    dropout,
  },
  needs: [],
  create: (values): AdapterTraining => ({
    ...{ form: "lora", rank: values.rank, dropout: values.dropout },
    ...(values.alpha === 0 ? {} : { alpha: values.alpha }),
    ...split(values.targets),
  }),
});

const bottleneck = (form: Exclude<AdapterForm, "lora">, summary: string, source: { readonly title: string; readonly arxiv: string }) =>
  defineMethod("adapter", {
    name: form,
    summary,
    source,
    parameters: {
      rank: integer({ min: 1, max: 4096, default: 64, doc: "width between the two matrices" }),
      scaling: number({ min: 0, isMinOpen: true, default: 1, doc: "factor on what is added" }),
      activation: text({ default: "tanh", doc: `between the two matrices: ${activations.join(", ")}` }),
      targets: targets("ffn", "attn;ffn"),
      dropout,
    },
    needs: [],
    create: (values): AdapterTraining => ({
      ...{ form, rank: values.rank, scaling: values.scaling, dropout: values.dropout },
      activation: values.activation as Activation,
      ...split(values.targets),
    }),
  });

/** The adapters that can be trained. */
export const adapterMethods: readonly Method<AdapterTraining>[] = [
  lora,
  bottleneck("series", "a narrow layer behind the output of half-blocks: y + s · U f(D y)", {
    title: "Parameter-Efficient Transfer Learning for NLP",
    arxiv: "1902.00751",
  }),
  bottleneck("parallel", "a narrow layer beside half-blocks: y + s · U f(D x)", {
    title: "Towards a Unified View of Parameter-Efficient Transfer Learning",
    arxiv: "2110.04366",
  }),
];

/** Reads `"lora,rank=8,alpha=16,targets=q;v"`, or the same as an object. @throws OptionError */
export function parseAdapter(spec: MethodSpec): AdapterTraining {
  const { method, values } = parseMethod(adapterMethods, spec, "adapter");
  return method.create(values);
}
