import type { AdapterStacks, AppliedAdapter } from "../adapters/index.ts";
import { ContextOverflowError, OptionError, UnsupportedError } from "../errors.ts";
import type { Transformer } from "../models/index.ts";
import type { Entry } from "./family.ts";
import { checkTaps, halfIndex, type StateMaps } from "./pass.ts";
import type { Embeddings, ForwardRequest, SkipRule, Want } from "./sequence.ts";

/** A request after validation, with every default filled in. Rows count from 0. */
export interface CheckedRequest {
  readonly rows: number;
  readonly contents: readonly (number | Float32Array)[];
  readonly parents: readonly number[];
  readonly isChain: boolean;
  readonly positions: readonly number[];
  readonly sees: readonly Entry["sees"][];
  /** Rows whose logits are wanted, ascending. */
  readonly logitRows: readonly number[];
  readonly hiddenRows: readonly number[];
  readonly top: number;
  readonly fullLogits: boolean;
  readonly scores: Want["scores"];
  readonly taps: readonly string[];
  readonly exits: readonly number[];
  readonly skipped: readonly string[];
  readonly rule: SkipRule | undefined;
  /** Half-blocks that the rule is asked about, in the order of the pass. */
  readonly decides: readonly string[];
  /** Those of scale 0 left out. */
  readonly adapters: readonly AppliedAdapter[];
  /** Rows take each other's states: they are evaluated in one pass. */
  readonly isWhole: boolean;
  readonly original: ForwardRequest;
}

const knownFields = new Set(["input", "parents", "positions", "visible", "want", "blocks", "exits", "inject", "adapters", "signal"]);
const knownWants = new Set(["logits", "top", "scores", "fullLogits", "hidden", "taps"]);

/**
 * Checks a request against the model and the sequence's length: nothing unchecked reaches native code.
 * @throws OptionError, RangeError, ContextOverflowError, UnsupportedError
 */
export function checkRequest(
  request: ForwardRequest,
  entries: readonly Entry[],
  model: Transformer,
  contextLength: number,
  maps: StateMaps,
  adapters: AdapterStacks,
): CheckedRequest {
  for (const name of Object.keys(request))
    if (!knownFields.has(name)) throw new OptionError(name, `a forward request has no such field; it has ${[...knownFields].join(", ")}`);
  const { config } = model;
  const base = entries.length;
  const contents = checkInput(request.input, config.vocabSize, config.hiddenSize);
  const rows = contents.length;
  if (base + rows > contextLength) {
    throw new ContextOverflowError(`${base} + ${rows} entries are more than the context of ${contextLength}`, {
      neededTokens: base + rows,
      contextLength,
    });
  }
  const parents = request.parents ?? Array.from(contents, (_, row) => row - 1);
  checkLength("parents", parents, rows);
  parents.forEach((parent, row) => {
    if (!Number.isInteger(parent) || parent < -1 || parent >= row)
      throw new RangeError(`parents[${row}] must be an integer in [-1, ${row}), got ${parent}`);
  });
  const last = entries.at(-1);
  const positions: number[] = [];
  if (request.positions !== undefined) checkLength("positions", request.positions, rows);
  for (let row = 0; row < rows; row += 1) {
    const parent = parents[row]!;
    const after = parent === -1 ? (last === undefined ? -1 : last.position) : positions[parent]!;
    const position = request.positions?.[row] ?? after + 1;
    if (!Number.isInteger(position) || position < 0 || position >= config.contextLength) {
      throw new RangeError(`positions[${row}] must be an integer in [0, ${config.contextLength}), got ${position}`);
    }
    positions.push(position);
  }
  const want = request.want ?? {};
  for (const name of Object.keys(want))
    if (!knownWants.has(name))
      throw new OptionError(`want.${name}`, `a request can't want this; it can want ${[...knownWants].join(", ")}`);
  const { top = 64, fullLogits = false } = want;
  if (!Number.isInteger(top) || top < 1) throw new RangeError(`want.top must be an integer >= 1, got ${top}`);
  const wantsLogits =
    want.logits ?? (want.top !== undefined || want.scores !== undefined || fullLogits || (request.exits?.length ?? 0) > 0 ? "last" : []);
  const logitRows = checkRows("want.logits", wantsLogits, rows);
  const hiddenRows = checkRows("want.hidden", want.hidden ?? [], rows);
  if (want.scores !== undefined) {
    checkLength("want.scores", want.scores, logitRows.length);
    want.scores.forEach((list, index) => {
      for (const id of list) checkToken(id, config.vocabSize, `want.scores[${index}]`);
    });
  }
  const taps = [...(want.taps ?? [])];
  checkTaps(model, taps);
  const exits = [...(request.exits ?? [])].sort((a, b) => a - b);
  for (const exit of exits)
    if (!Number.isInteger(exit) || exit < 0 || exit >= config.blocks.length)
      throw new RangeError(`exits: no block ${exit}; blocks are 0 to ${config.blocks.length - 1}`);
  const inject = request.inject ?? [];
  for (const injection of inject) checkInjection(injection, model, rows, maps);
  for (const { tap, map, from } of inject)
    if (inject.some((other) => other.tap === tap && (other.map !== map || (other.from === undefined) !== (from === undefined))))
      throw new OptionError("inject", `a request has one map per tap, and ${tap} has several`);
  return {
    rows,
    contents,
    parents,
    isChain: parents.every((parent, row) => parent === row - 1),
    positions,
    sees: checkVisible(request.visible, rows, base),
    logitRows,
    hiddenRows,
    top,
    fullLogits,
    scores: want.scores,
    taps,
    exits,
    ...checkBlocks(request, rows, config.blocks.length),
    adapters: adapters.apply(request.adapters ?? []),
    isWhole: inject.some(({ from }) => from !== undefined),
    original: request,
  };
}

function checkInput(value: ForwardRequest["input"], vocabSize: number, hiddenSize: number): (number | Float32Array)[] {
  if (isEmbeddings(value)) {
    if (value.hiddenSize !== hiddenSize)
      throw new OptionError("input", `embeddings have ${value.hiddenSize} features, the model has ${hiddenSize}`);
    const rows = value.values.length / hiddenSize;
    if (!Number.isInteger(rows) || rows < 1) throw new OptionError("input", `${value.values.length} values are no rows of ${hiddenSize}`);
    if (!value.values.every(Number.isFinite)) throw new OptionError("input", "embeddings must be finite numbers");
    return Array.from({ length: rows }, (_, row) => value.values.slice(row * hiddenSize, (row + 1) * hiddenSize));
  }
  if (value.length === 0) throw new OptionError("input", "is empty; a request needs at least one token");
  value.forEach((id, row) => {
    checkToken(id, vocabSize, `input[${row}]`);
  });
  return [...value];
}

const isEmbeddings = (value: ForwardRequest["input"]): value is Embeddings => !Array.isArray(value);

function checkToken(id: number, vocabSize: number, where: string): void {
  if (!Number.isInteger(id) || id < 0 || id >= vocabSize)
    throw new RangeError(`${where}: token id ${id} is outside the vocabulary [0, ${vocabSize})`);
}

function checkLength(name: string, list: readonly unknown[], expected: number): void {
  if (list.length !== expected) throw new OptionError(name, `needs ${expected} entries, got ${list.length}`);
}

function checkRows(name: string, rows: "last" | "all" | readonly number[], count: number): number[] {
  if (rows === "last") return [count - 1];
  if (rows === "all") return Array.from({ length: count }, (_, row) => row);
  for (const row of rows)
    if (!Number.isInteger(row) || row < 0 || row >= count) throw new RangeError(`${name}: no row ${row}; rows are 0 to ${count - 1}`);
  const ascending = [...new Set(rows)].sort((a, b) => a - b);
  if (ascending.some((row, index) => row !== rows[index])) throw new OptionError(name, "rows must ascend, each named once");
  return ascending;
}

function checkVisible(visible: ForwardRequest["visible"], rows: number, base: number): Entry["sees"][] {
  const sees: Entry["sees"][] = new Array(rows).fill(undefined);
  for (const { rows: range, sees: ranges } of visible ?? []) {
    const [from, to] = range;
    if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to > rows || from >= to)
      throw new RangeError(`visible: rows [${from}, ${to}) are not within [0, ${rows})`);
    for (const [start, end] of ranges) {
      if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end > base + rows || start > end)
        throw new RangeError(`visible: entries [${start}, ${end}) are not within [0, ${base + rows})`);
    }
    for (let row = from; row < to; row += 1) {
      if (sees[row] !== undefined) throw new OptionError("visible", `row ${row} is named twice`);
      sees[row] = ranges;
    }
  }
  return sees;
}

function checkBlocks(request: ForwardRequest, rows: number, numBlocks: number): Pick<CheckedRequest, "skipped" | "rule" | "decides"> {
  const { blocks = {} } = request;
  if (!isRule(blocks)) return { skipped: checkHalves("blocks", Object.keys(blocks), numBlocks).sort(), rule: undefined, decides: [] };
  const { name, start, decides } = blocks;
  if (typeof name !== "string" || typeof start !== "function" || !Array.isArray(decides))
    throw new OptionError(
      "blocks",
      "a rule has a name, the half-blocks it decides, start(position) and next(state, block, half, statistics)",
    );
  for (const field of ["exits", "inject"] as const)
    if ((request[field]?.length ?? 0) > 0) throw new UnsupportedError(`blocks: the rule "${name}" and ${field} can't share a request`);
  if ((request.want?.taps?.length ?? 0) > 0) throw new UnsupportedError(`blocks: the rule "${name}" and want.taps can't share a request`);
  const asked = checkHalves(`blocks: the rule "${name}"`, decides, numBlocks).filter((half) => rows === 1 || half.endsWith(".ffn"));
  return { skipped: [], rule: blocks, decides: [...new Set(asked)].sort((a, b) => halfIndex(a) - halfIndex(b)) };
}

const isRule = (blocks: NonNullable<ForwardRequest["blocks"]>): blocks is SkipRule =>
  typeof (blocks as { next?: unknown }).next === "function";

function checkHalves(name: string, halves: readonly string[], numBlocks: number): string[] {
  for (const half of halves) {
    const match = /^blocks\.(\d+)\.(attn|ffn)$/.exec(half);
    if (match === null || Number(match[1]) >= numBlocks)
      throw new OptionError(name, `no half-block "${half}"; they are blocks.<0..${numBlocks - 1}>.attn and .ffn`);
  }
  return [...halves];
}

function checkInjection(injection: NonNullable<ForwardRequest["inject"]>[number], model: Transformer, rows: number, maps: StateMaps): void {
  const { tap, map, values, from } = injection;
  checkTaps(model, [tap]);
  if (tap.endsWith("attn.pattern")) throw new OptionError("inject", "attention weights can be read but not added to");
  for (const row of injection.rows)
    if (!Number.isInteger(row) || row < 0 || row >= rows) throw new RangeError(`inject: no row ${row}; rows are 0 to ${rows - 1}`);
  if (from !== undefined) {
    if (from.length !== injection.rows.length || !from.every((row) => Number.isInteger(row) && row >= 0 && row < rows))
      throw new OptionError("inject", `from needs a row in [0, ${rows - 1}] for each of ${injection.rows.length} rows`);
    if (rows >= 64) throw new OptionError("inject", `rows that take each other's states are fewer than 64, got ${rows}`);
    if (map === "identity") throw new OptionError("inject", "from needs a registered map");
  }
  if (map === "identity") {
    if (values === undefined || values.length !== injection.rows.length * model.config.hiddenSize) {
      throw new OptionError("inject", `the identity map needs ${injection.rows.length} rows of ${model.config.hiddenSize} values`);
    }
    if (!values.every(Number.isFinite)) throw new OptionError("inject", "values must be finite numbers");
  } else {
    if (!maps.has(map))
      throw new OptionError("inject", `no map "${map}" is registered; registered: ${["identity", ...maps.keys()].join(", ")}`);
    if (values !== undefined) throw new OptionError("inject", `the map "${map}" takes no values`);
  }
}
