import { inputNames } from "../adapters/index.ts";
import { OptionError } from "../errors.ts";
import type { Device } from "../ggml/index.ts";
import type { Transformer } from "../models/index.ts";
import type { Program } from "../tensor/index.ts";
import type { Ran } from "./half-count.ts";
import type { KvCache } from "./kv-cache.ts";
import { halfIndex, maskName, type Span } from "./pass.ts";
import type { PassProgram } from "./pass-io.ts";
import type { ProgramCache } from "./programs.ts";
import type { RowStatistics, SkipRule } from "./sequence.ts";
import { rowStep, type Structure } from "./structure.ts";

type Values = Float32Array | Int32Array | Uint16Array | BigInt64Array;

/** A row that a rule decides on, and what it decided. */
export class RuleRow implements RowStatistics {
  /** Row of the pass. */
  readonly row: number;
  readonly ffnCosine: (number | undefined)[] = [];
  readonly skipped: string[] = [];
  /** What the rule threw: from then on the row skips nothing, so that its neighbours get their results. */
  error: unknown;
  readonly #rule: SkipRule;
  readonly #state: unknown;

  constructor(row: number, rule: SkipRule, position: number) {
    this.row = row;
    this.#rule = rule;
    try {
      this.#state = rule.start(position);
    } catch (error) {
      this.error = error;
    }
  }

  /** Asks the rule. */
  skips(half: string): boolean {
    if (this.error !== undefined) return false;
    const [, block, kind] = half.split(".");
    try {
      const answer = this.#rule.next(this.#state, Number(block), kind as "attn" | "ffn", this);
      if (answer !== "run" && answer !== "skip")
        throw new OptionError("blocks", `the rule "${this.#rule.name}" must answer "run" or "skip", got ${String(answer)}`);
      if (answer === "skip") this.skipped.push(half);
      return answer === "skip";
    } catch (error) {
      this.error = error;
      return false;
    }
  }
}

/**
 * A pass in which rules decide: the half-blocks between two decisions are one program, each that is decided on is one of its own, and the
 * residual stream passes from one to the next through memory of ours. All run synchronously, since a hop to another thread costs ten times
 * what a cut costs.
 *
 * A feed-forward half runs for the rows that want it, gathered. An attention half runs for all rows once one wants it; the others keep
 * their residual stream, and what they would write goes to the scratch row.
 */
export class SegmentedPass implements PassProgram {
  readonly #device: Device;
  readonly #programs: ProgramCache;
  readonly #structure: Structure;
  readonly #model: Transformer;
  readonly #cache: KvCache;
  readonly #inputs: ReadonlyMap<string, Values>;
  readonly #rows: readonly RuleRow[];
  /** What ran. */
  readonly ran: Ran[] = [];
  #windowRow = 0;
  #last: Program | undefined;

  constructor(device: Device, programs: ProgramCache, structure: Structure, model: Transformer, cache: KvCache, rows: readonly RuleRow[]) {
    this.#device = device;
    this.#programs = programs;
    this.#structure = structure;
    this.#model = model;
    this.#cache = cache;
    this.#inputs = inputsOf(structure, model);
    this.#rows = rows;
  }

  input(name: string): never {
    const found = this.#inputs.get(name);
    if (found === undefined) throw new OptionError(name, "this pass has no such input");
    return found as never;
  }

  hasInput(name: string): boolean {
    return this.#inputs.has(name);
  }

  setWindow(row: number): void {
    this.#windowRow = row;
  }

  peek(name: string): Float32Array {
    return this.#last!.peek(name);
  }

  /** Runs when the device is free, and holds the event loop until the pass is done. */
  async run(): Promise<"done"> {
    await new Promise<void>((resolve) => setImmediate(resolve)); // one such pass per turn
    return this.#device.exclusively(() => {
      const { hiddenSize } = this.#model.config;
      const x = new Float32Array(this.#structure.streams * this.#structure.rows * hiddenSize); // [N, E]
      let from = 0;
      for (const half of this.#structure.decides) {
        const at = halfIndex(half);
        if (at > from) this.#runSpan({ from, to: at }, x);
        if (at % 2 === 0) this.#decideAttention(half, at, x);
        else this.#decideFeedForward(half, at, x);
        from = at + 1;
      }
      this.#runSpan({ from, to: 2 * this.#model.config.blocks.length + 1 }, x);
      return "done";
    });
  }

  /** Half-blocks that every row runs. */
  #runSpan(span: Span, x: Float32Array): void {
    const isEnd = span.to > 2 * this.#model.config.blocks.length;
    if (isEnd && span.from === span.to - 1 && this.#structure.outputs === 0) return; // only the head is left, and nobody wants it
    const structure = isEnd ? this.#structure : { ...this.#structure, outputs: 0, head: false };
    const program = this.#programs.pass({ ...structure, decides: [] }, span);
    const { hiddenSize } = this.#model.config;
    const before = span.from % 2 === 1 ? x.slice() : x; // its first half is a feed-forward one: there `x` is what was before
    this.#runProgram(program, x);
    this.ran.push({ computed: program.computed, structure, rows: this.#rows.length });
    const row = (values: Float32Array, index: number) => values.subarray(index * hiddenSize, (index + 1) * hiddenSize);
    for (let half = span.from + (1 - (span.from % 2)); half < Math.min(span.to, 2 * this.#model.config.blocks.length); half += 2) {
      const block = (half - 1) / 2;
      const start =
        half === span.from ? before : program.hasOutput(`ffn.${block}.before`) ? program.peek(`ffn.${block}.before`) : undefined;
      if (start === undefined || !program.hasOutput(`ffn.${block}.after`)) continue; // the last block's, of rows nobody asked for
      const end = program.peek(`ffn.${block}.after`);
      for (const one of this.#rows) one.ffnCosine[block] = cosine(row(start, one.row), row(end, one.row));
    }
    if (isEnd) this.#last = program;
    else x.set(program.peek("x"));
  }

  #decideAttention(half: string, at: number, x: Float32Array): void {
    const skipping = this.#rows.filter((one) => one.skips(half));
    if (skipping.length === this.#rows.length) return;
    const { hiddenSize } = this.#model.config;
    const structure = { ...this.#structure, outputs: 0, head: false, decides: [] };
    const program = this.#programs.pass(structure, { from: at, to: at + 1 });
    const kept = skipping.map(({ row }) => ({ row, values: x.slice(row * hiddenSize, (row + 1) * hiddenSize) }));
    const cells = this.#inputs.get("cells") as BigInt64Array;
    const own = kept.map(({ row }) => cells[row]!);
    for (const { row } of kept) cells[row] = BigInt(this.#cache.scratchRow);
    this.#runProgram(program, x);
    this.ran.push({ computed: program.computed, structure, rows: this.#rows.length }); // for those too that keep their stream
    for (const [index, { row }] of kept.entries()) cells[row] = own[index]!;
    x.set(program.peek("x"));
    for (const { row, values } of kept) x.set(values, row * hiddenSize);
  }

  #decideFeedForward(half: string, at: number, x: Float32Array): void {
    const running = this.#rows.filter((one) => !one.skips(half));
    if (running.length === 0) return;
    const { hiddenSize } = this.#model.config;
    const { backend, adapters } = this.#structure;
    const structure = { ...plainStructure, backend, adapters, rows: rowStep(running.length) };
    const program = this.#programs.pass(structure, { from: at, to: at + 1 });
    const gathered = program.input("x").fill(0);
    for (const [index, { row }] of running.entries())
      gathered.set(x.subarray(row * hiddenSize, (row + 1) * hiddenSize), index * hiddenSize);
    for (const { indices, scales, slots } of inputNames(adapters)) {
      for (const name of [indices, scales].filter((one) => program.hasInput(one))) {
        const [from, to] = [this.#inputs.get(name) as Float32Array, program.input(name).fill(0)];
        for (const [index, { row }] of running.entries()) to.set(from.subarray(row * slots, (row + 1) * slots), index * slots);
      }
    }
    program.runSync();
    this.ran.push({ computed: program.computed, structure, rows: running.length });
    const after = program.peek("x");
    for (const [index, one] of running.entries()) {
      const stream = x.subarray(one.row * hiddenSize, (one.row + 1) * hiddenSize);
      const values = after.subarray(index * hiddenSize, (index + 1) * hiddenSize);
      one.ffnCosine[(at - 1) / 2] = cosine(stream, values);
      stream.set(values);
    }
  }

  #runProgram(program: Program, x: Float32Array): void {
    program.setWindow(this.#windowRow);
    for (const name of program.inputNames) {
      const target = program.input(name) as { set(values: ArrayLike<unknown>): void };
      target.set(name === "x" ? x : this.#inputs.get(name)!);
    }
    program.runSync();
  }
}

/** What a feed-forward half of some rows depends on: not on streams, cells or the kind of input. */
const plainStructure: Omit<Structure, "backend" | "rows" | "adapters"> = {
  ...{ streams: 1, cells: 256, outputs: 0, head: false, input: "tokens" },
  ...{ skipped: [], decides: [], taps: [], exits: [], injections: [] },
};

/** Memory for what `fillInputs` writes: as in the program of the whole pass. */
function inputsOf({ streams, rows, cells, outputs, input, adapters }: Structure, model: Transformer): Map<string, Values> {
  const numRows = streams * rows;
  const inputs = new Map<string, Values>([
    ["positions", new Int32Array(numRows)],
    ["cells", new BigInt64Array(numRows)],
    input === "tokens" ? ["ids", new Int32Array(numRows)] : ["embeddings", new Float32Array(numRows * model.config.hiddenSize)],
  ]);
  if (outputs > 0 && outputs < numRows) inputs.set("outputs", new Int32Array(outputs));
  for (const { slidingWindow } of model.config.blocks) inputs.set(maskName(slidingWindow), new Uint16Array(streams * rows * cells));
  for (const { indices, scales, slots } of inputNames(adapters))
    inputs.set(indices, new Int32Array(numRows * slots)).set(scales, new Float32Array(numRows * slots));
  return inputs;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}
