import { OptionError } from "../errors.ts";
import { type Projection, project } from "../nn/index.ts";
import { add, chosenLinear, input, mul, narrow, reshape, type Shape, type Tensor, unary } from "../tensor/index.ts";
import type { FloatTensors } from "../weights/index.ts";
import type { Activation, Adapter } from "./adapter.ts";
import type { AdapterForm } from "./base.ts";
import { bottleneckInput, type Deltas } from "./deltas.ts";

// Legend: M matrices of a stack, T rows of a pass, K adapters of a row within one stack, C inputs, N outputs.

/** A loaded adapter with its strength in one request. */
export interface AppliedAdapter {
  readonly name: string;
  /** Differs between two adapters that had the same name one after the other. */
  readonly id: number;
  readonly scale: number;
}

/** Which stack takes part in a pass, and how many adapters of it a row may have. */
export interface StackUse {
  readonly key: string;
  readonly slots: number;
}

/** The same numbers and names as a stack of matrices, for the memory that holds them. */
export interface StackTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly values: Float32Array;
}

interface Stack {
  readonly key: string;
  readonly form: AdapterForm;
  readonly activation: Activation | undefined;
  readonly rank: number;
  /** Places of adapters among the matrices, from 1: matrix 0 is zero. */
  readonly members: Map<string, number>;
  readonly targets: Set<string>;
}

interface Loaded {
  readonly id: number;
  readonly adapter: Adapter;
}

/**
 * Adapters by name, those of one form and rank stacked at each place to which any of them adds. Which one a row takes and how strongly is data,
 * so that rows of different adapters, and of none, share a pass. Ranks are not padded: an adapter's sums are the same whatever else is loaded.
 */
export class AdapterStacks implements Disposable {
  readonly #allocate: (tensors: readonly StackTensor[]) => FloatTensors;
  readonly #loaded = new Map<string, Loaded>();
  #stacks = new Map<string, Stack>();
  #tensors: FloatTensors | undefined;
  #nextId = 1;

  /** @param allocate  puts the matrices where programs can read them */
  constructor(allocate: (tensors: readonly StackTensor[]) => FloatTensors) {
    this.#allocate = allocate;
  }

  get names(): string[] {
    return [...this.#loaded.keys()];
  }

  get sizeBytes(): number {
    return this.#tensors?.sizeBytes ?? 0;
  }

  /** @throws OptionError for a name that is taken; MemoryError, after which nothing has changed */
  add(name: string, adapter: Adapter): void {
    if (this.#loaded.has(name)) throw new OptionError("name", `an adapter named "${name}" is loaded already`);
    this.#rebuild(new Map([...this.#loaded, [name, { id: this.#nextId, adapter }]]));
    this.#nextId += 1;
  }

  /** @throws OptionError for a name that is not loaded */
  remove(name: string): void {
    this.#find(name);
    this.#rebuild(new Map([...this.#loaded].filter(([other]) => other !== name)));
  }

  /**
   * Adapters that a request names, in an order of their own and without those of scale 0.
   * @throws OptionError for a name that is not loaded or stands twice; RangeError for a scale that is no finite number
   */
  apply(wanted: readonly { readonly name: string; readonly scale: number }[]): AppliedAdapter[] {
    const applied = wanted.map(({ name, scale }) => {
      const { id } = this.#find(name);
      if (!Number.isFinite(scale)) throw new RangeError(`adapters: the scale of ${name} must be a finite number, got ${scale}`);
      return { name, id, scale };
    });
    if (new Set(applied.map(({ id }) => id)).size < applied.length) throw new OptionError("adapters", "names an adapter twice");
    return applied.filter(({ scale }) => scale !== 0).sort((a, b) => a.id - b.id);
  }

  /** @throws OptionError where an adapter was unloaded since {@link apply} */
  #places({ name, id }: AppliedAdapter): Stack[] {
    const found = this.#loaded.get(name);
    if (found?.id !== id) throw new OptionError("adapters", `"${name}" was unloaded`);
    return [...this.#stacks.values()].filter(({ members }) => members.has(name));
  }

  /** The stacks that rows with these adapters need, in order. */
  usesOf(rows: Iterable<readonly AppliedAdapter[]>): StackUse[] {
    const slots = new Map<string, number>();
    for (const applied of rows) {
      const own = new Map<string, number>();
      for (const one of applied) for (const { key } of this.#places(one)) own.set(key, (own.get(key) ?? 0) + 1);
      for (const [key, count] of own) slots.set(key, Math.max(slots.get(key) ?? 0, 2 ** Math.ceil(Math.log2(count))));
    }
    return [...slots].map(([key, count]) => ({ key, slots: count })).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** Writes a row's choices: `indices` and `scales` [T, K] of each use, zero before. */
  fillRow(
    uses: readonly StackUse[],
    row: number,
    applied: readonly AppliedAdapter[],
    target: (name: string) => Int32Array | Float32Array | undefined,
  ) {
    for (const { key, slots } of uses) {
      const { members } = this.#stacks.get(key)!;
      let slot = row * slots;
      for (const { name, scale } of applied) {
        const index = members.get(name);
        if (index === undefined) continue;
        const [indices, scales] = [target(indexName(key)), target(scaleName(key))];
        if (indices !== undefined) indices[slot] = index;
        if (scales !== undefined) scales[slot] = scale;
        slot += 1;
      }
    }
  }

  /** The deltas of a pass over `rows` rows. Its program has the inputs {@link inputNames}, where a layer reads them. */
  deltas(uses: readonly StackUse[], rows: number): Deltas {
    const used = uses.map(({ key, slots }) => ({
      stack: this.#stacks.get(key)!,
      slots,
      indices: input(indexName(key), "i32", [rows, slots]),
      scales: reshape(input(scaleName(key), "f32", [rows, slots]), [rows, slots, 1]),
    }));
    const addTo = (target: string, y: Tensor, inputOf: (form: AdapterForm) => Tensor, isLayer: boolean): Tensor => {
      let sum = y;
      for (const { stack, slots, indices, scales } of used) {
        if (!stack.targets.has(target) || (stack.form === "lora") !== isLayer) continue;
        const x = inputOf(stack.form); // [T, C]
        const [down, up] = [this.#tensors!.tensor(`${stack.key}/${target}/down`), this.#tensors!.tensor(`${stack.key}/${target}/up`)];
        const between = chosenLinear(reshape(x, [rows, 1, x.shape[1]!]), down, indices); // [T, K, rank]
        const active = stack.activation === undefined ? between : unary(stack.activation, between);
        const deltas = chosenLinear(mul(active, scales), up, indices); // [T, K, N]
        for (let slot = 0; slot < slots; slot += 1) sum = add(sum, reshape(slots === 1 ? deltas : narrow(deltas, 1, slot, 1), y.shape));
      }
      return sum;
    };
    return {
      linear: (x: Tensor, layer: Projection) => addTo(layer.name, project(x, layer), () => x, true),
      half: (name, x, y) => addTo(name, y, (form) => bottleneckInput(form, x, y), false),
    };
  }

  #find(name: string): Loaded {
    const found = this.#loaded.get(name);
    if (found !== undefined) return found;
    const known = this.names.length === 0 ? "none is loaded" : `loaded: ${this.names.join(", ")}`;
    throw new OptionError("adapters", `no adapter "${name}" is loaded; ${known}`);
  }

  #rebuild(loaded: ReadonlyMap<string, Loaded>): void {
    const stacks = new Map<string, Stack>();
    for (const [name, { adapter }] of loaded) {
      for (const { rank, target } of adapter.parts) {
        const key = [adapter.form, adapter.activation, rank].filter((part) => part !== undefined).join(".");
        const { form, activation } = adapter;
        const stack = stacks.get(key) ?? { key, form, activation, rank, members: new Map(), targets: new Set() };
        stacks.set(key, stack);
        if (!stack.members.has(name)) stack.members.set(name, stack.members.size + 1);
        stack.targets.add(target);
      }
    }
    const tensors = [...stacks.values()].flatMap((stack) => [...stack.targets].flatMap((target) => stackTensors(stack, target, loaded)));
    const next = tensors.length === 0 ? undefined : this.#allocate(tensors);
    this.#tensors?.[Symbol.dispose]();
    this.#tensors = next;
    this.#stacks = stacks;
    this.#loaded.clear();
    for (const [name, one] of loaded) this.#loaded.set(name, one);
  }

  [Symbol.dispose](): void {
    this.#tensors?.[Symbol.dispose]();
    this.#tensors = undefined;
    this.#loaded.clear();
    this.#stacks.clear();
  }
}

const indexName = (key: string): string => `adapter.${key}.indices`;
const scaleName = (key: string): string => `adapter.${key}.scales`;

/** Inputs of a pass with these stacks, each [rows, slots]. */
export const inputNames = (uses: readonly StackUse[]): { indices: string; scales: string; slots: number }[] =>
  uses.map(({ key, slots }) => ({ indices: indexName(key), scales: scaleName(key), slots }));

/** The matrices of a stack at one place, zeros for those of its adapters that add nothing there. An adapter's own scale is in `up`. */
function stackTensors({ key, rank, members }: Stack, target: string, loaded: ReadonlyMap<string, Loaded>): StackTensor[] {
  const parts = [...members].flatMap(([name, index]) => {
    const part = loaded.get(name)!.adapter.parts.find((one) => one.target === target && one.rank === rank);
    return part === undefined ? [] : [{ index, part }];
  });
  const { inputs, outputs } = parts[0]!.part;
  const down = new Float32Array((members.size + 1) * rank * inputs);
  const up = new Float32Array((members.size + 1) * outputs * rank);
  for (const { index, part } of parts) {
    down.set(part.down, index * rank * inputs);
    up.set(part.scale === 1 ? part.up : part.up.map((value) => value * part.scale), index * outputs * rank);
  }
  return [
    { name: `${key}/${target}/down`, shape: [members.size + 1, rank, inputs], values: down },
    { name: `${key}/${target}/up`, shape: [members.size + 1, outputs, rank], values: up },
  ];
}
