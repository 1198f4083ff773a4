import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { FormatError, NotFoundError, UnsupportedError } from "../errors.ts";
import { AtomicFile, openSafetensors, type SafetensorsFile, type TensorType, toFloat, writeSafetensors } from "../weights/index.ts";
import { type Activation, type Adapter, activations, checkAdapter } from "./adapter.ts";
import type { AdapterBase, AdapterForm } from "./base.ts";
import { targetedModules } from "./peft-targets.ts";

// PEFT's folder: adapter_config.json and adapter_model.safetensors with `base_model.model.<module>.lora_A.weight` [r, C] and `.lora_B.weight`
// [N, r]. Series and parallel adapters stand in the same folder as in LLM-Adapters' fork of PEFT (peft_type BOTTLENECK), `adapter_down` and
// `adapter_up` in place of A and B, with the names of half-blocks (`self_attn`, `mlp`) as modules.

const configName = "adapter_config.json";
const weightsName = "adapter_model.safetensors";
const maxConfigBytes = 1 << 20;
const sides = { lora_A: "down", lora_B: "up", adapter_down: "down", adapter_up: "up" } as const;

/**
 * Reads an adapter out of a folder in PEFT's layout.
 * @throws NotFoundError, FormatError, UnsupportedError for a kind or an option of PEFT's that we have not
 */
export function readPeft(folder: string, base: AdapterBase): Adapter {
  const configPath = join(folder, configName);
  const config = readConfig(configPath);
  const path = join(folder, weightsName);
  using file = openSafetensors(path);
  const { form, activation, scaleOf } = interpret(configPath, config);
  const targets = targetsByModule(base, form);
  const found = new Map<string, { down?: Matrix; up?: Matrix; module: string }>();
  for (const name of file.tensors.keys()) {
    const [, module, side] = /^base_model\.model\.(.+)\.(lora_A|lora_B|adapter_down|adapter_up)(?:\.default)?\.weight$/.exec(name) ?? [];
    const target = module === undefined ? undefined : targets(module);
    if (target === undefined || (form === "lora") !== side!.startsWith("lora"))
      throw new FormatError(path, `${name} adapts nothing that ${form} adapters can be added to in ${base.file}`);
    const entry = found.get(target) ?? { module: module! };
    if (entry[sides[side as keyof typeof sides]] !== undefined) throw new FormatError(path, `${name} stands there twice`);
    entry[sides[side as keyof typeof sides]] = readMatrix(file, name);
    found.set(target, entry);
  }
  if (form === "lora") {
    const modules = [...found.values()].map(({ module }) => module);
    const targeted = targetedModules(configPath, config, modules);
    const stray = modules.find((module) => !targeted.has(module));
    if (stray !== undefined)
      throw new FormatError(
        path,
        `adapts ${stray}, which ${configName} leaves out: PEFT would not use these matrices; correct one of the two`,
      );
  }
  const parts = [...found].map(([target, { down, up, module }]) => {
    if (down === undefined || up === undefined) throw new FormatError(path, `${target} has one of its two matrices only`);
    if (up.columns !== down.rows)
      throw new FormatError(path, `the matrices of ${target} have ranks ${down.rows} and ${up.columns}, which must be equal`);
    return {
      ...{ target, rank: down.rows, inputs: down.columns, outputs: up.rows, scale: scaleOf(module, down.rows) },
      ...{ down: down.values, up: up.values },
    };
  });
  const adapter = checkAdapter(path, base, { form, activation, parts });
  file.checkUnchanged();
  return { ...adapter, parts: adapter.parts.map((part) => ({ ...part, up: reorder(base, part, "toGguf") })) };
}

/** Writes an adapter as {@link readPeft} and PEFT read it. The folder must exist. */
export function writePeft(folder: string, base: AdapterBase, adapter: Adapter, options: { readonly dropout?: number } = {}): void {
  const { form, activation, parts } = adapter;
  const isLora = form === "lora";
  const [first] = parts as [Adapter["parts"][number]];
  const modules = new Map(parts.map(({ target }) => [target, moduleOf(base, target)]));
  const scaleText = (part: (typeof parts)[number]) => part.scale * part.rank; // alpha
  const patternOf = (value: (part: (typeof parts)[number]) => number) =>
    Object.fromEntries(parts.filter((part) => value(part) !== value(first)).map((part) => [modules.get(part.target)!, value(part)]));
  const common = {
    base_model_name_or_path: base.name,
    bias: "none",
    inference_mode: true,
    target_modules: targetNames(base, adapter),
    task_type: "CAUSAL_LM",
  };
  const config = isLora
    ? {
        ...common,
        ...{ peft_type: "LORA", r: first.rank, lora_alpha: scaleText(first), lora_dropout: options.dropout ?? 0 },
        ...{ rank_pattern: patternOf(({ rank }) => rank), alpha_pattern: patternOf(scaleText) },
        ...{ fan_in_fan_out: false, init_lora_weights: true, use_dora: false, use_rslora: false, modules_to_save: null },
      }
    : {
        ...common,
        ...{ peft_type: "BOTTLENECK", bottleneck_size: first.rank, non_linearity: activation, scaling: first.scale },
        ...{ adapter_dropout: options.dropout ?? 0, use_parallel_adapter: form === "parallel", use_adapterp: false },
      };
  const name = (target: string, side: "down" | "up") => {
    const kind = isLora ? (side === "down" ? "lora_A" : "lora_B") : `adapter_${side}`;
    return `base_model.model.${modules.get(target)}.${kind}.weight`;
  };
  const tensors = parts.flatMap((part) => [
    { name: name(part.target, "down"), type: "F32" as const, shape: [part.rank, part.inputs], data: part.down },
    { name: name(part.target, "up"), type: "F32" as const, shape: [part.outputs, part.rank], data: reorder(base, part, "toPeft") },
  ]);
  writeSafetensors(join(folder, weightsName), { metadata: { format: "pt" }, tensors });
  using file = new AtomicFile(join(folder, configName));
  file.write(Buffer.from(`${JSON.stringify(config, undefined, 2)}\n`));
  file.commit();
}

/** Names as short as PEFT may take them: the last part, unless modules without an adapter end in it too. */
function targetNames(base: AdapterBase, { form, parts }: Adapter): string[] {
  const all =
    form === "lora"
      ? Object.fromEntries(Object.entries(base.modules.layers).map(([layer, { module }]) => [layer, module]))
      : base.modules.halves;
  const adapted = new Set(parts.map(({ target }) => target.split(".")[2]!));
  const last = (module: string) => module.split(".").at(-1)!;
  const others = new Set(Object.entries(all).flatMap(([name, module]) => (adapted.has(name) ? [] : [last(module)])));
  return [
    ...new Set(
      [...adapted].map((name) => all[name as keyof typeof all]!).map((module) => (others.has(last(module)) ? module : last(module))),
    ),
  ].sort();
}

interface Matrix {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

const floatTypes: Readonly<Record<string, TensorType>> = { F32: "f32", F16: "f16", BF16: "bf16" };

function readMatrix(file: SafetensorsFile, name: string): Matrix {
  const { type, shape, sizeBytes } = file.tensor(name);
  const [rows, columns] = shape;
  if (shape.length !== 2 || !(rows! > 0 && columns! > 0))
    throw new FormatError(file.path, `${name} has shape [${shape.join(", ")}], expected two axes`);
  const floatType = floatTypes[type];
  if (floatType === undefined)
    throw new UnsupportedError(`${file.path}: ${name} has type ${type}, adapters have ${Object.keys(floatTypes).join(", ")}`);
  const bytes = new Uint8Array(sizeBytes);
  file.readInto(name, bytes);
  return { values: toFloat(floatType, bytes, rows!, columns!), rows: rows!, columns: columns! };
}

type Config = Readonly<Record<string, unknown>>;

function readConfig(path: string): Config {
  let text: string;
  try {
    if (statSync(path).size > maxConfigBytes) throw new FormatError(path, `is longer than ${maxConfigBytes} bytes`);
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      throw new NotFoundError(`${dirname(path)} has no ${configName}: an adapter is a folder as PEFT saves it, or a GGUF file`);
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(path, "is not valid JSON", { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new FormatError(path, "is no object");
  return value as Config;
}

/** Options of PEFT's that change what the matrices mean where they are not off. */
const mustBeOff: Readonly<Record<string, string>> = {
  bias: "trained biases",
  lora_bias: "biases of the matrices",
  use_dora: "DoRA's magnitudes",
  use_qalora: "QALoRA's groups",
  use_bdlora: "block-diagonal matrices",
  use_adapterp: "AdapterP's places",
  modules_to_save: "whole trained modules",
  target_parameters: "parameters outside linear layers",
  trainable_token_indices: "trained tokens",
  alora_invocation_tokens: "activation from a token on",
  layer_replication: "repeated blocks",
  arrow_config: "a router",
  kasa_config: "KaSA's values",
  monteclora_config: "random matrices",
  velora_config: "VeLoRA's groups",
};
const isOff = (value: unknown): boolean =>
  value === undefined || value === null || value === false || value === "none" || (Array.isArray(value) && value.length === 0);
/** These begin from a changed base; what they save is to be added to that one. */
const changesBase = /^(pissa|olora|corda|loftq)/i;

function interpret(path: string, config: Config): Pick<Adapter, "form" | "activation"> & { scaleOf(module: string, rank: number): number } {
  for (const [key, what] of Object.entries(mustBeOff)) {
    if (!isOff(config[key]))
      throw new UnsupportedError(`${path}: ${key} ${JSON.stringify(config[key])} means ${what}, which is not supported`);
  }
  if (changesBase.test(String(config.init_lora_weights)))
    throw new UnsupportedError(
      `${path}: init_lora_weights "${config.init_lora_weights}" means a changed base model; convert it with PEFT first`,
    );
  const number = (key: string): number => {
    const value = config[key];
    if (typeof value !== "number" || !Number.isFinite(value))
      throw new FormatError(path, `${key} must be a number, got ${JSON.stringify(value)}`);
    return value;
  };
  if (config.peft_type === "LORA") {
    const alpha = number("lora_alpha");
    const pattern = patternOf(path, config.alpha_pattern);
    const rootOf = (rank: number) => (config.use_rslora === true ? Math.sqrt(rank) : rank);
    return { form: "lora", activation: undefined, scaleOf: (module, rank) => (pattern(module) ?? alpha) / rootOf(rank) };
  }
  if (config.peft_type === "BOTTLENECK") {
    const scaling = number("scaling");
    const activation = config.non_linearity as Activation;
    if (!activations.includes(activation))
      throw new UnsupportedError(`${path}: non_linearity ${JSON.stringify(activation)} is none of ${activations.join(", ")}`);
    return { form: config.use_parallel_adapter === true ? "parallel" : "series", activation, scaleOf: () => scaling };
  }
  throw new UnsupportedError(`${path}: peft_type ${JSON.stringify(config.peft_type)} is not supported; LORA and BOTTLENECK are`);
}

/** PEFT takes the keys as regular expressions on a path's end; plain names are all that is accepted from a file. */
function patternOf(path: string, value: unknown): (module: string) => number | undefined {
  const entries = Object.entries((value ?? {}) as Record<string, unknown>);
  for (const [key, alpha] of entries)
    if (!/^[\w.]+$/.test(key) || typeof alpha !== "number" || !Number.isFinite(alpha))
      throw new UnsupportedError(`${path}: alpha_pattern ${JSON.stringify(key)} is no module's name with a number`);
  return (module) => entries.find(([key]) => module === key || module.endsWith(`.${key}`))?.[1] as number | undefined;
}

/** Paths of modules before a family's own; checkpoints that see images keep their text model one level lower. */
const outerPaths = ["", "model.", "language_model.", "language_model.model.", "model.language_model."];

function targetsByModule(base: AdapterBase, form: AdapterForm): (path: string) => string | undefined {
  const { block, layers, halves } = base.modules;
  const known = new Map<string, string>();
  const [, inner] = /^(?:.*\.)?([^.]+\.%)$/.exec(block)!;
  for (let index = 0; index < base.numBlocks; index += 1) {
    const add = (module: string, target: string) => {
      const at = (path: string) => `${path.replace("%", String(index))}.${module}`;
      known.set(at(block), target);
      for (const outer of outerPaths) known.set(at(`${outer}${inner}`), target);
    };
    if (form === "lora") for (const [layer, { module }] of Object.entries(layers)) add(module, `blk.${index}.${layer}`);
    else for (const half of ["attn", "ffn"] as const) add(halves[half], `blocks.${index}.${half}`);
  }
  return (path) => known.get(path);
}

function moduleOf(base: AdapterBase, target: string): string {
  const [, block, name] = /^(?:blk|blocks)\.(\d+)\.(\w+)$/.exec(target)!;
  const module = target.startsWith("blk.") ? base.modules.layers[name!]!.module : base.modules.halves[name as "attn" | "ffn"];
  return `${base.modules.block.replace("%", block!)}.${module}`;
}

/** Rows of `up` in the order of the other world, where a layer's rows stand in another one there. */
function reorder(base: AdapterBase, part: Adapter["parts"][number], direction: "toGguf" | "toPeft"): Float32Array {
  const { target, up, outputs, rank } = part;
  const heads = target.startsWith("blk.") ? base.rotaryHeads(target.split(".")[2]!) : undefined;
  if (heads === undefined) return up;
  const half = outputs / heads / 2;
  const result = new Float32Array(up.length);
  for (let head = 0; head < heads; head += 1) {
    for (let pair = 0; pair < half; pair += 1) {
      for (const side of [0, 1]) {
        const apart = (head * 2 + side) * half + pair; // first members of all pairs, then second ones
        const beside = (head * half + pair) * 2 + side;
        const [from, to] = direction === "toGguf" ? [apart, beside] : [beside, apart];
        result.set(up.subarray(from * rank, (from + 1) * rank), to * rank);
      }
    }
  }
  return result;
}
