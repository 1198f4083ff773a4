import { FormatError, OptionError } from "../errors.ts";
import type { ModuleNames } from "../nn/index.ts";
import type { GgufFile } from "../weights/index.ts";

/** What an adapter adds to: linear layers (lora), or the output of half-blocks (series, parallel). */
export type AdapterForm = "lora" | "series" | "parallel";
export const adapterForms: readonly AdapterForm[] = ["lora", "series", "parallel"];

/** Features that go in and come out where an adapter may add something. */
export interface Place {
  readonly inputs: number;
  readonly outputs: number;
}

/** What adapters must fit: a model file and the names of its family. */
export interface AdapterBase {
  /** For messages. */
  readonly file: string;
  readonly name: string;
  readonly architecture: string;
  readonly numBlocks: number;
  readonly modules: ModuleNames;
  /** Of a layer `blk.3.attn_q`, or of a half-block `blocks.3.ffn`; undefined where the model has none of that name. */
  place(form: AdapterForm, target: string): Place | undefined;
  /** Heads over which rows of a layer `attn_q` stand in another order in Hugging Face's files; undefined where they don't. */
  rotaryHeads(layer: string): number | undefined;
}

/** @throws FormatError */
export function adapterBase(file: GgufFile, modules: ModuleNames): AdapterBase {
  const { metadata } = file;
  const architecture = metadata.requireString("general.architecture");
  const count = (key: string): number => {
    const value = metadata.getNumber(`${architecture}.${key}`);
    if (value === undefined || !Number.isInteger(value) || value < 1)
      throw new FormatError(file.path, `${architecture}.${key} must be a whole number >= 1, got ${value}`);
    return value;
  };
  const numBlocks = count("block_count");
  const hiddenSize = count("embedding_length");
  return {
    file: file.path,
    name: metadata.getString("general.name") ?? architecture,
    architecture,
    numBlocks,
    modules,
    place(form, target) {
      if (form !== "lora") {
        const block = /^blocks\.(\d+)\.(?:attn|ffn)$/.exec(target)?.[1];
        return block !== undefined && Number(block) < numBlocks ? { inputs: hiddenSize, outputs: hiddenSize } : undefined;
      }
      const [, block, layer] = /^blk\.(\d+)\.(\w+)$/.exec(target) ?? [];
      if (layer === undefined || Number(block) >= numBlocks || !Object.hasOwn(modules.layers, layer)) return undefined;
      const shape = file.tensors.get(`${target}.weight`)?.shape;
      return shape?.length === 2 ? { inputs: shape[1]!, outputs: shape[0]! } : undefined;
    },
    rotaryHeads(layer) {
      const key = modules.layers[layer]?.rotaryHeads;
      return key === undefined ? undefined : (metadata.getNumber(`${architecture}.${key}`) ?? count("attention.head_count"));
    },
  };
}

/** A layer's short name: `attn_q` -> `q`, `attn_output` -> `o`, `ffn_up` -> `up`. */
const shortName = (layer: string): string => (layer === "attn_output" ? "o" : layer.replace(/^(attn|ffn)_/, ""));

/** Names of what an adapter of this form may be added to in every block of the base. */
export function targetNames(base: AdapterBase, form: AdapterForm): string[] {
  return form === "lora" ? Object.keys(base.modules.layers).map(shortName) : ["attn", "ffn"];
}

/**
 * The places that names stand for, block by block. For lora: `q`, `attn_q` or `q_proj`; for the others `attn` and `ffn`; `all` for all.
 * @throws OptionError naming those there are
 */
export function resolveTargets(base: AdapterBase, form: AdapterForm, names: readonly string[]): string[] {
  const known = targetNames(base, form);
  const layers = Object.entries(base.modules.layers);
  const chosen = new Set<string>();
  for (const name of names) {
    if (name === "all") for (const one of known) chosen.add(one);
    else {
      const layer = layers.find(([gguf, { module }]) => [shortName(gguf), gguf, module, module.split(".").at(-1)].includes(name));
      const found = form === "lora" ? layer && shortName(layer[0]) : known.find((one) => one === name);
      if (found === undefined)
        throw new OptionError("targets", `${JSON.stringify(name)} is nothing that ${form} adds to; there are ${known.join(", ")}, all`);
      chosen.add(found);
    }
  }
  if (chosen.size === 0) throw new OptionError("targets", `is empty; there are ${known.join(", ")}, all`);
  const full = (block: number, short: string) =>
    form === "lora" ? `blk.${block}.${layers.find(([gguf]) => shortName(gguf) === short)![0]}` : `blocks.${block}.${short}`;
  return Array.from({ length: base.numBlocks }, (_, block) =>
    known.filter((short) => chosen.has(short)).map((short) => full(block, short)),
  ).flat();
}
