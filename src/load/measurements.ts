import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  type AttributeHead,
  type DecodingModel,
  isAttributeHead,
  isJudgeQuality,
  type JudgeName,
  type JudgeQuality,
  measureJudge,
  measureSkipOrder,
  type SkipOrder,
  type SkipPart,
} from "../decoding/index.ts";
import {
  type CostCurve,
  type CurvePoints,
  costCurve,
  curveAt,
  curveEntries,
  type Engine,
  type Exit,
  measureCostCurve,
  measureExits,
} from "../engine/index.ts";
import { OptionError } from "../errors.ts";
import { type Device, pin } from "../ggml/index.ts";
import { shippedSkipOrders } from "./skip-orders.ts";

export interface SkipOrderOptions {
  /** What to measure on; of a longer text the first 1,024 tokens. Default: what was measured before, also by us, else a page of ours. */
  readonly text?: string;
  readonly signal?: AbortSignal;
  /** Told after each reading of the text. */
  readonly onProgress?: (done: number, total: number) => void;
}

interface CurveOptions {
  readonly signal?: AbortSignal;
  readonly remeasure?: boolean;
}

/** What is measured of a model: once, at the first call, and then kept in the home folder. */
export class Measurements {
  readonly #engine: Engine;
  readonly #device: Device;
  readonly #home: string;
  readonly #model: DecodingModel;
  readonly #onNotice: (notice: string) => void;
  /** By the length of the sequence. */
  readonly #curves = new Map<number, Promise<CurvePoints>>();
  #exits: Promise<readonly Exit[]> | undefined;
  readonly #skipOrders = new Map<SkipPart, Promise<SkipOrder>>();

  constructor(
    model: DecodingModel,
    parts: {
      readonly engine: Engine;
      readonly device: Device;
      readonly home: string;
      readonly onNotice?: ((notice: string) => void) | undefined;
    },
  ) {
    this.#model = model;
    this.#engine = parts.engine;
    this.#device = parts.device;
    this.#home = parts.home;
    this.#onNotice = parts.onNotice ?? (() => {});
  }

  /** T(n)/T(1), between the two measured lengths next to `entries`; up to the shortest and from the longest on that one's. */
  async costCurve({ entries = 0, ...options }: CurveOptions & { readonly entries?: number }): Promise<CostCurve> {
    if (!Number.isInteger(entries) || entries < 0) throw new OptionError("entries", `must be a whole number of tokens, got ${entries}`);
    const half = Math.floor(this.#engine.contextLength / 2); // the longest leaves room for the rows
    const lengths = curveEntries.filter((length, index) => index === 0 || length <= half).map((length) => Math.min(length, half));
    const at = lengths.findLastIndex((length) => length <= entries);
    const shorter = await this.#pointsAt(lengths[Math.max(at, 0)]!, options);
    const next = at < 0 ? undefined : lengths[at + 1];
    return costCurve(next === undefined ? shorter : curveAt(entries, shorter, await this.#pointsAt(next, options)));
  }

  #pointsAt(entries: number, options: CurveOptions): Promise<CurvePoints> {
    const known = options.remeasure === true ? undefined : this.#curves.get(entries);
    if (known !== undefined) return known;
    const found = this.#loadCurve(entries, options).catch((error: unknown) => {
      this.#curves.delete(entries);
      throw error;
    });
    this.#curves.set(entries, found);
    return found;
  }

  /** What the model is worth left after a quarter and after half of its blocks. */
  exits(options: { readonly signal?: AbortSignal; readonly remeasure?: boolean }): Promise<readonly Exit[]> {
    if (options.remeasure === true) this.#exits = undefined;
    this.#exits ??= this.#loadExits(options).catch((error: unknown) => {
      this.#exits = undefined;
      throw error;
    });
    return this.#exits;
  }

  /** In which order the model does without its blocks, or their feed-forward halves. */
  skipOrder(part: SkipPart, options: SkipOrderOptions): Promise<SkipOrder> {
    const known = options.text === undefined ? this.#skipOrders.get(part) : undefined;
    if (known !== undefined) return known;
    const found = this.#loadSkipOrder(part, options).catch((error: unknown) => {
      this.#skipOrders.delete(part);
      throw error;
    });
    this.#skipOrders.set(part, found);
    return found;
  }

  /** How well a judge tells good answers from bad ones. */
  async judgeQuality(judge: JudgeName, options: { readonly signal?: AbortSignal; readonly remeasure?: boolean }): Promise<JudgeQuality> {
    const { remeasure, ...rest } = options;
    const path = join(this.#home, "judges", `${this.#hash}-${judge}.json`);
    const kept = remeasure === true ? undefined : readJson(path, isJudgeQuality);
    if (kept !== undefined) return kept;
    this.#onNotice(`measuring once how well ${this.#model.name} tells good answers from bad ones`);
    const measured = await measureJudge(this.#model, judge, rest);
    writeJson(path, measured);
    return measured;
  }

  keepAttributeHead(name: string, head: AttributeHead): void {
    writeJson(this.#attributePath(name), head);
  }

  attributeHead(name: string): AttributeHead | undefined {
    const isHead = (value: unknown): value is AttributeHead => isAttributeHead(value, this.#engine.model.config.hiddenSize);
    return /^[a-z0-9-]+$/.test(name) ? readJson(this.#attributePath(name), isHead) : undefined;
  }

  get #hash(): string {
    return this.#model.hash.slice(0, 16);
  }

  #attributePath(name: string): string {
    return join(this.#home, "attributes", `${this.#hash}-${name}.json`);
  }

  async #loadSkipOrder(part: SkipPart, { text, ...options }: SkipOrderOptions): Promise<SkipOrder> {
    const path = join(this.#home, "skip-orders", `${this.#hash}-${part}.json`);
    if (text === undefined) {
      const kept =
        readJson(path, (value) => isSkipOrder(value, this.#engine.model.config.blocks.length)) ?? shippedSkipOrders[this.#hash]?.[part];
      if (kept !== undefined) return kept;
    }
    const tokens = this.#model.tokenizer.encode(text ?? calibrationText).slice(0, 1024);
    const parts = part === "ffn" ? "feed-forward halves" : "blocks";
    this.#onNotice(`measuring once in which order ${this.#model.name} does without its ${parts}, which takes minutes`);
    const measured = await measureSkipOrder(this.#model, tokens, part, options);
    writeJson(path, measured);
    return measured;
  }

  /** What speeds depend on beside the file. */
  get #speedKey(): string {
    const device = this.#device;
    return [this.#hash, device.kind, `${device.threads}t`, this.#engine.strict ? "strict" : "default", pin.ggmlCommit].join("-");
  }

  async #loadExits({ signal, remeasure }: { readonly signal?: AbortSignal; readonly remeasure?: boolean }): Promise<readonly Exit[]> {
    const path = join(this.#home, "exits", `${this.#speedKey}.json`);
    if (remeasure !== true) {
      const kept = readJson(path, isExits);
      if (kept !== undefined) return kept;
    }
    const length = this.#model.blocks ?? 0;
    const exits = [...new Set([length / 4, length / 2].map(Math.ceil))].filter((blocks) => blocks > 0 && blocks < length);
    if (exits.length === 0) return [];
    this.#onNotice(`measuring once what ${this.#model.name} is worth when it is left early`);
    const tokens = this.#model.tokenizer.encode(calibrationText).slice(0, Math.min(this.#engine.contextLength, 192));
    const measured = await measureExits(this.#engine, tokens, exits, signal === undefined ? {} : { signal });
    writeJson(path, measured);
    return measured;
  }

  async #loadCurve(entries: number, { signal, remeasure }: CurveOptions): Promise<CurvePoints> {
    const path = join(this.#home, "cost-curves", `${this.#speedKey}-${entries}.json`);
    if (remeasure !== true) {
      const kept = readJson(path, isCurve);
      if (kept !== undefined) return kept;
    }
    this.#onNotice(`measuring once what passes of several rows cost ${this.#model.name} after ${entries} tokens`);
    const measured = await measureCostCurve(this.#engine, entries, signal === undefined ? {} : { signal });
    writeJson(path, measured);
    return measured;
  }
}

/** A measurement kept by an earlier run, if it is there and whole; a damaged one is measured again. */
function readJson<T>(path: string, isWhole: (value: unknown) => value is T): T | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    return isWhole(value) ? value : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}`, JSON.stringify(value));
  renameSync(`${path}.${process.pid}`, path);
}

/** Of a model of `numBlocks` blocks: each but the first and the last once. */
function isSkipOrder(value: unknown, numBlocks: number): value is SkipOrder {
  const { blocks, costs } = (value ?? {}) as Partial<SkipOrder>;
  return (
    Array.isArray(blocks) &&
    blocks.length === Math.max(numBlocks - 2, 0) &&
    new Set(blocks).size === blocks.length &&
    blocks.every((block) => Number.isInteger(block) && block >= 1 && block <= numBlocks - 2) &&
    Array.isArray(costs) &&
    costs.every(Number.isFinite)
  );
}

function isExits(value: unknown): value is Exit[] {
  const isExit = ({ blocks, agreement, price }: Partial<Exit>) =>
    Number.isInteger(blocks) && Number(agreement) >= 0 && Number(agreement) <= 1 && Number(price) > 0;
  return Array.isArray(value) && value.every((one) => isExit((one ?? {}) as Partial<Exit>));
}

function isCurve(value: unknown): value is CurvePoints {
  const { entries, singleRowMs, points } = (value ?? {}) as Partial<CurvePoints>;
  return (
    Number.isInteger(entries) &&
    Number(singleRowMs) > 0 &&
    Array.isArray(points) &&
    points[0]?.rows === 1 &&
    points.every(({ rows, ratio }, index) => ratio > 0 && (index === 0 || rows > points[index - 1]!.rows))
  );
}

/** Plain prose of several kinds, for calibration. */
export const calibrationText = `The river rises in the hills to the north and runs for ninety miles before it meets the sea. In spring, when the
snow melts, it floods the meadows on both banks, and the farmers wait until May before they bring their animals down. "We have always lived
with the water," an old woman told me, "and it has always given back more than it took." To make a simple bread, mix five hundred grams of
flour with three hundred and fifty grams of water, a little salt and yeast; let it rise for an hour, fold it twice, and bake it in a hot oven
until the crust is brown. A function that calls itself must have a case in which it doesn't; otherwise it never ends. The committee met on
Tuesday and agreed that the bridge should be closed to lorries until the engineers had finished their report. Why do leaves turn red in
autumn? The green pigment breaks down first, and what was hidden beneath it becomes visible. He opened the letter slowly, read the first line
twice, and put it back into its envelope without a word. In 1905 a clerk at the patent office published four papers, each of which changed
physics. Prices rose by two per cent in the second quarter, mostly because of energy, while wages hardly moved.`;
