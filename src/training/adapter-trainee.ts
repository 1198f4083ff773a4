import { mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  type Adapter,
  type AdapterBase,
  type AdapterOptions,
  type AdapterPart,
  type AdapterPlan,
  adapterDeltas,
  type Deltas,
  downName,
  planAdapter,
  upName,
  writeGgufLora,
  writePeft,
} from "../adapters/index.ts";
import { OptionError } from "../errors.ts";
import type { Device } from "../ggml/index.ts";
import { Parameters } from "../weights/index.ts";
import type { DropoutFunction } from "./dropout.ts";
import { normal, uniform } from "./random.ts";

/** An adapter to be trained. */
export interface AdapterTraining extends AdapterOptions {
  /** Part of what goes into it that each pass leaves out, in [0, 1); default 0. */
  readonly dropout?: number;
}

/**
 * A new adapter over a frozen model. It changes nothing at first: the second matrix is zero, the first uniform in ±1/√C for lora (as PEFT
 * begins), normal with a deviation of 0.02 for the others.
 */
export class AdapterTrainee implements Disposable {
  readonly plan: AdapterPlan;
  readonly dropout: number;
  readonly parameters: Parameters;
  readonly #base: AdapterBase;

  /** @throws OptionError */
  static create(device: Device, base: AdapterBase, options: AdapterTraining, seed: number): AdapterTrainee {
    const { dropout = 0, ...rest } = options;
    if (!(dropout >= 0 && dropout < 1)) throw new OptionError("dropout", `must be in [0, 1), got ${dropout}`);
    const plan = planAdapter(base, rest);
    const parameters = Parameters.create(
      device,
      plan.parts.flatMap(({ target, rank, inputs, outputs }) => [
        { name: downName(target), shape: [rank, inputs] },
        { name: upName(target), shape: [outputs, rank] },
      ]),
    );
    for (const [stream, { target, inputs }] of plan.parts.entries()) {
      const values = parameters.values(downName(target));
      const bound = 1 / Math.sqrt(inputs);
      for (let i = 0; i < values.length; i += 1)
        values[i] =
          plan.form === "lora" ? bound * (2 * uniform(seed, "weights", stream, i) - 1) : 0.02 * normal(seed, "weights", stream, i);
    }
    return new AdapterTrainee(base, plan, dropout, parameters);
  }

  private constructor(base: AdapterBase, plan: AdapterPlan, dropout: number, parameters: Parameters) {
    this.#base = base;
    this.plan = plan;
    this.dropout = dropout;
    this.parameters = parameters;
  }

  readonly deltas = (dropout?: DropoutFunction): Deltas => adapterDeltas(this.plan, (name) => this.parameters.tensor(name), dropout);

  /** In one line, for comparing runs. */
  get summary(): string {
    const { form, activation, parts } = this.plan;
    const names = [...new Set(parts.map(({ target }) => target.split(".")[2]))].join(", ");
    const [{ rank, scale }] = parts as [AdapterPart];
    return `${form} on ${names}: rank ${rank}, scale ${scale}, ${activation ?? "linear"}, dropout ${this.dropout}`;
  }

  /** The adapter as it is now, or with other values for its matrices. */
  adapter(values: (name: string) => Float32Array = (name) => this.parameters.values(name).slice()): Adapter {
    const parts = this.plan.parts.map((part) => ({ ...part, down: values(downName(part.target)), up: values(upName(part.target)) }));
    return { ...this.plan, parts };
  }

  /** Writes `adapter/` in PEFT's layout, and for lora `adapter.gguf` as llama.cpp loads it. */
  async save(folder: string, values?: (name: string) => Float32Array): Promise<void> {
    const adapter = this.adapter(values);
    mkdirSync(join(folder, "adapter"), { recursive: true });
    writePeft(join(folder, "adapter"), this.#base, adapter, { dropout: this.dropout });
    if (adapter.form === "lora") await writeGgufLora(join(folder, "adapter.gguf"), this.#base, adapter);
  }

  [Symbol.dispose](): void {
    this.parameters[Symbol.dispose]();
  }
}
