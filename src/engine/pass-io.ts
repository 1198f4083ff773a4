import { type AdapterStacks, inputNames } from "../adapters/index.ts";
import type { Transformer } from "../models/index.ts";
import type { Program } from "../tensor/index.ts";
import { candidatesOf, logSumExp, pieceLength } from "./candidates.ts";
import type { Entry } from "./family.ts";
import type { KvCache } from "./kv-cache.ts";
import type { ModelSequence } from "./model-sequence.ts";
import { maskName } from "./pass.ts";
import type { ProgramCache } from "./programs.ts";
import type { CheckedRequest } from "./request.ts";
import type { Part as PartOf, Work } from "./scheduler.ts";
import type { Candidates, ForwardResult, RowResult } from "./sequence.ts";
import { headSlice, isPattern, type Structure } from "./structure.ts";

const masked = 0xfc00; // -Infinity as f16

/** One request on its way through the queue, with what it gathers there. */
export interface Job extends Work {
  readonly sequence: ModelSequence;
  readonly request: CheckedRequest;
  readonly results: Map<number, { -readonly [K in keyof RowResult]: RowResult[K] }>;
  readonly taps: Map<string, { values: Float32Array; shape: number[] }>;
  readonly queuedAt: number;
  startedAt: number;
  readonly passIds: number[];
  computedRows: number;
  computeMs: number;
  resolve: (result: ForwardResult) => void;
  reject: (error: unknown) => void;
  onAbort: (() => void) | undefined;
  isCancelled: boolean;
}

export type Part = PartOf<Job>;

export interface Output {
  readonly job: Job;
  readonly requestRow: number;
  readonly passRow: number;
  readonly logits: boolean;
  readonly hidden: boolean;
}

/** What a pass computes, by stream. */
export type PassParts = readonly (readonly Part[])[];

/** What a pass's inputs are written to and its outputs read from. */
export type PassProgram = Pick<Program, "input" | "hasInput" | "setWindow" | "peek">;

/** Writes a pass's inputs; returns which rows of which jobs its outputs are. */
export function fillInputs(
  program: PassProgram,
  structure: Structure,
  parts: PassParts,
  first: number,
  model: Transformer,
  cache: KvCache,
  adapters: AdapterStacks,
): Output[] {
  const { rows, cells } = structure;
  const { hiddenSize } = model.config;
  const cellsPerStream = cache.shape.cells;
  program.setWindow(first * cellsPerStream);
  const ids = structure.input === "tokens" ? program.input<"i32">("ids").fill(0) : undefined;
  const embeddings = structure.input === "embeddings" ? program.input("embeddings").fill(0) : undefined;
  const positions = program.hasInput("positions") ? program.input<"i32">("positions").fill(0) : undefined; // not where no attention runs
  const cellRows = program.hasInput("cells") ? program.input<"i64">("cells").fill(BigInt(cache.scratchRow)) : undefined;
  const masks = [...new Set(model.config.blocks.map(({ slidingWindow }) => slidingWindow))]
    .filter((slidingWindow) => program.hasInput(maskName(slidingWindow)))
    .map((slidingWindow) => ({ slidingWindow, values: program.input<"f16">(maskName(slidingWindow)).fill(masked) }));
  const injected = new Map(structure.injections.map(({ tap }) => [tap, program.input(`inject.${tap}`).fill(0)]));
  const choices = new Map<string, Int32Array | Float32Array>();
  for (const { indices, scales } of inputNames(structure.adapters)) {
    if (program.hasInput(indices)) choices.set(indices, program.input<"i32">(indices).fill(0)); // matrix 0 is zero
    if (program.hasInput(scales)) choices.set(scales, program.input(scales).fill(0));
  }
  for (const { tap, moves } of structure.injections) if (moves) program.input<"i32">(`inject.${tap}.from`).fill(0);
  const wanted: Output[] = [];
  for (const list of parts) {
    const stream = list[0]!.job.sequence.family.slot! - first;
    let row = stream * rows;
    for (const { job, from, entries } of list) {
      const { request, sequence } = job;
      const base = (sequence.family.slot ?? 0) * cellsPerStream;
      const own = [...job.rows, ...entries];
      entries.forEach((entry, index) => {
        const requestRow = from + index;
        if (ids !== undefined) ids[row] = entry.content as number;
        embeddings?.set(entry.content as Float32Array, row * hiddenSize);
        if (positions !== undefined) positions[row] = entry.position;
        if (cellRows !== undefined) cellRows[row] = BigInt(base + entry.cell);
        for (const { slidingWindow, values } of masks)
          writeMask(values, row * cells, entry, request, requestRow, sequence.entries, own, slidingWindow);
        adapters.fillRow(structure.adapters, row, request.adapters, (name) => choices.get(name));
        for (const injection of request.original.inject ?? []) {
          const at = injection.rows.indexOf(requestRow);
          if (at === -1) continue;
          const values = injected.get(injection.tap)!;
          if (injection.from !== undefined)
            program.input<"i32">(`inject.${injection.tap}.from`)[row] = row - requestRow + injection.from[at]!;
          if (injection.values === undefined) values[row] = 1;
          else for (let i = 0; i < hiddenSize; i += 1) values[row * hiddenSize + i]! += injection.values[at * hiddenSize + i]!;
        }
        const logits = request.logitRows.includes(requestRow);
        const hidden = request.hiddenRows.includes(requestRow);
        if (logits || hidden) wanted.push({ job, requestRow, passRow: row, logits, hidden });
        row += 1;
      });
    }
  }
  if (program.hasInput("outputs")) {
    const outputs = program.input<"i32">("outputs").fill(0);
    wanted.forEach(({ passRow }, index) => {
      outputs[index] = passRow;
    });
  }
  return wanted;
}

/** Turns a pass's outputs into the results of its jobs; heads of many rows run slice by slice. */
export async function readResults(
  program: PassProgram,
  structure: Structure,
  wanted: readonly Output[],
  parts: PassParts,
  first: number,
  model: Transformer,
  programs: ProgramCache,
): Promise<void> {
  const { vocabSize, hiddenSize } = model.config;
  const isSelected = structure.outputs > 0 && structure.outputs < structure.streams * structure.rows;
  const indexOf = (output: Output, order: number) => (isSelected ? order : output.passRow);
  if (structure.outputs > 0) {
    const states = program.peek("state");
    for (const [order, output] of wanted.entries()) {
      if (!output.hidden) continue;
      const index = indexOf(output, order);
      rowOf(output).hidden = states.slice(index * hiddenSize, (index + 1) * hiddenSize);
    }
    const scored = wanted.map((output, order) => ({ output, index: indexOf(output, order) })).filter(({ output }) => output.logits);
    if (structure.head) {
      readHead(program, "", scored, vocabSize, takeRow);
    } else if (scored.length > 0) {
      const copy = states.slice(); // the head's programs run on the same device buffers one after the other
      for (let from = 0; from < scored.length; from += headSlice) {
        const slice = scored.slice(from, from + headSlice);
        const head = programs.head(structure.backend, headSlice);
        const input = head.input("state").fill(0);
        slice.forEach(({ index }, row) => {
          input.set(copy.subarray(index * hiddenSize, (index + 1) * hiddenSize), row * hiddenSize);
        });
        await head.run();
        readHead(
          head,
          "",
          slice.map(({ output }, row) => ({ output, index: row })),
          vocabSize,
          takeRow,
        );
      }
    }
    for (const exit of structure.exits) {
      readHead(program, `exit.${exit}.`, scored, vocabSize, (output, candidates) => {
        const result = rowOf(output);
        result.exits = new Map([...(result.exits ?? []), [exit, candidates]]);
      });
    }
  }
  for (const tap of structure.taps) readTap(program, tap, structure, parts, first, model);
}

function rowOf({ job, requestRow }: Output) {
  let row = job.results.get(requestRow);
  if (row === undefined) {
    row = { row: requestRow };
    job.results.set(requestRow, row);
  }
  return row;
}

/** Candidates, scores and rows of logits, from the head that has this prefix. */
function readHead(
  program: PassProgram,
  prefix: string,
  rows: readonly Selected[],
  vocabSize: number,
  take: (output: Output, candidates: Candidates, logits: Float32Array) => void,
): void {
  const logits = program.peek(`${prefix}logits`);
  const shares = program.peek(`${prefix}shares`);
  const piece = pieceLength(vocabSize);
  for (const { output, index } of rows) {
    const row = logits.subarray(index * vocabSize, (index + 1) * vocabSize);
    const sums = logSumExp(row, shares.subarray(index * vocabSize, (index + 1) * vocabSize), piece);
    take(output, candidatesOf(row, output.job.request.top, sums), row);
  }
}

function takeRow(output: Output, candidates: Candidates, logits: Float32Array): void {
  const { request } = output.job;
  const result = rowOf(output);
  result.candidates = candidates;
  if (request.fullLogits) result.logits = logits.slice();
  if (request.scores !== undefined) {
    const list = request.scores[request.logitRows.indexOf(output.requestRow)]!;
    result.scores = Float32Array.from(list, (id) => logits[id]!);
  }
}

/** An output with its row among what the head computed. */
interface Selected {
  readonly output: Output;
  readonly index: number;
}

function readTap(program: PassProgram, tap: string, structure: Structure, parts: PassParts, first: number, model: Transformer): void {
  const values = program.peek(tap);
  const { hiddenSize } = model.config;
  for (const list of parts) {
    let row = (list[0]!.job.sequence.family.slot! - first) * structure.rows;
    for (const { job, from, entries } of list) {
      if (isPattern(tap)) readPattern(model, job, tap, values, structure, row % structure.rows, entries.length, from);
      else {
        const stored = job.taps.get(tap) ?? {
          values: new Float32Array(job.request.rows * hiddenSize),
          shape: [job.request.rows, hiddenSize],
        };
        job.taps.set(tap, stored);
        stored.values.set(values.subarray(row * hiddenSize, (row + entries.length) * hiddenSize), from * hiddenSize);
      }
      row += entries.length;
    }
  }
}

/** Attention weights by entry: [H, T, entries]; the job runs alone, in the first stream of its pass. */
function readPattern(
  model: Transformer,
  job: Job,
  tap: string,
  values: Float32Array,
  structure: Structure,
  firstRow: number,
  count: number,
  from: number,
): void {
  const block = Number(/^blocks\.(\d+)/.exec(tap)![1]);
  const { numHeads } = model.config.blocks[block]!;
  const columns = job.base + job.request.rows;
  const stored = job.taps.get(tap) ?? {
    values: new Float32Array(numHeads * job.request.rows * columns),
    shape: [numHeads, job.request.rows, columns],
  };
  job.taps.set(tap, stored);
  const entries = [...job.sequence.entries, ...job.rows];
  for (let head = 0; head < numHeads; head += 1) {
    for (let row = 0; row < count; row += 1) {
      const source = (head * structure.rows + firstRow + row) * structure.cells;
      const target = (head * job.request.rows + from + row) * columns;
      entries.forEach(({ cell }, column) => {
        stored.values[target + column] = values[source + cell]!;
      });
    }
  }
}

/** Rows of the request that `entry` sees: set to 0 in its row of the mask. */
function writeMask(
  mask: Uint16Array,
  offset: number,
  entry: Entry,
  request: CheckedRequest,
  requestRow: number,
  before: readonly Entry[],
  own: readonly Entry[],
  slidingWindow: number | undefined,
): void {
  const reach = slidingWindow === undefined ? -1 : entry.position - slidingWindow;
  const { sees } = entry;
  const show = (seen: Entry, index: number): void => {
    if (seen.position <= reach) return;
    if (sees !== undefined && seen !== entry && !sees.some(([from, to]) => index >= from && index < to)) return;
    mask[offset + seen.cell] = 0;
  };
  before.forEach(show);
  for (let row = requestRow; row !== -1; row = request.parents[row]!) show(own[row]!, before.length + row);
}
