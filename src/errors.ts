/**
 * The errors Chainrule throws on purpose. Each class has a stable `code` and keeps its facts as readonly fields, so that a
 * program can react without reading the message. Plain bad arguments of internal functions stay TypeError and RangeError.
 */

export type ErrorCode =
  | "SHAPE"
  | "OPTION"
  | "FORMAT"
  | "UNSUPPORTED"
  | "NOT_FOUND"
  | "NATIVE"
  | "DISPOSED"
  | "MEMORY"
  | "CONTEXT_OVERFLOW"
  | "DOWNLOAD"
  | "TEMPLATE"
  | "TIMEOUT"
  | "TRAINING"
  | "WORKER";

export abstract class ChainruleError extends Error {
  abstract readonly code: ErrorCode;
  override get name(): string {
    return this.constructor.name;
  }
}

/** A tensor has another shape or type than an operation or a model needs. Shapes are written outermost axis first. */
export class ShapeError extends ChainruleError {
  readonly code = "SHAPE";
  readonly operation: string;
  readonly tensor: string;
  readonly expected: string;
  readonly actual: string;
  constructor(operation: string, facts: { tensor: string; expected: string; actual: readonly number[] | string }) {
    const actual = typeof facts.actual === "string" ? facts.actual : `[${facts.actual.join(", ")}]`;
    super(`${operation}: ${facts.tensor} ${actual.startsWith("[") ? "has shape" : "is"} ${actual}, expected ${facts.expected}`);
    this.operation = operation;
    this.tensor = facts.tensor;
    this.expected = facts.expected;
    this.actual = actual;
  }
}

/** An option is unknown, out of range, or contradicts another. `option` is its name as the caller wrote it. */
export class OptionError extends ChainruleError {
  readonly code = "OPTION";
  readonly option: string;
  constructor(option: string, message: string) {
    super(`${option}: ${message}`);
    this.option = option;
  }
}

/** A file is not what it claims to be. `offset` is the byte at which that showed, when it showed at one. */
export class FormatError extends ChainruleError {
  readonly code = "FORMAT";
  readonly file: string;
  readonly offset: number | undefined;
  constructor(file: string, message: string, facts: { offset?: number; cause?: unknown } = {}) {
    super(`${file}: ${message}${facts.offset === undefined ? "" : ` (at byte ${facts.offset})`}`, { cause: facts.cause });
    this.file = file;
    this.offset = facts.offset;
  }
}

/** Something legal that this build, model or device does not do; the message lists what it does. */
export class UnsupportedError extends ChainruleError {
  readonly code = "UNSUPPORTED";
}

/** A model, file, library or package that was named is not there; the message says what to do. */
export class NotFoundError extends ChainruleError {
  readonly code = "NOT_FOUND";
}

/** A native call reported a failure. */
export class NativeError extends ChainruleError {
  readonly code = "NATIVE";
}

/** A native owner was used after it had been disposed of. */
export class DisposedError extends ChainruleError {
  readonly code = "DISPOSED";
  constructor(thing: string) {
    super(`${thing} was used after it had been disposed of`);
  }
}

/** Memory asked for is more than there is; the message names the option that bounds it. */
export class MemoryError extends ChainruleError {
  readonly code = "MEMORY";
  readonly neededBytes: number;
  readonly availableBytes: number;
  constructor(message: string, facts: { neededBytes: number; availableBytes: number }) {
    super(message);
    this.neededBytes = facts.neededBytes;
    this.availableBytes = facts.availableBytes;
  }
}

/** Prompt and answer together are longer than the context. Counts are tokens. */
export class ContextOverflowError extends ChainruleError {
  readonly code = "CONTEXT_OVERFLOW";
  readonly neededTokens: number;
  readonly contextLength: number;
  constructor(message: string, facts: { neededTokens: number; contextLength: number }) {
    super(message);
    this.neededTokens = facts.neededTokens;
    this.contextLength = facts.contextLength;
  }
}

/** A model file could not be fetched from any of its sources. */
export class DownloadError extends ChainruleError {
  readonly code = "DOWNLOAD";
}

/** A chat template failed, took too long or wrote too much. */
export class TemplateError extends ChainruleError {
  readonly code = "TEMPLATE";
}

/** Work was given a time limit and reached it. */
export class TimeoutError extends ChainruleError {
  readonly code = "TIMEOUT";
}

/** Training can't go on: a number is no longer finite. */
export class TrainingError extends ChainruleError {
  readonly code = "TRAINING";
  /** From 1. */
  readonly step: number;
  /** The tensor in which it showed first. */
  readonly tensor: string;
  constructor(message: string, facts: { step: number; tensor: string }) {
    super(message);
    this.step = facts.step;
    this.tensor = facts.tensor;
  }
}

/** A process that worked on some of a table's series ended before it had answered: it crashed, ran out of memory or was killed. */
export class WorkerError extends ChainruleError {
  readonly code = "WORKER";
  /** Names of the series that it had. */
  readonly series: readonly string[];
  constructor(reason: string, series: readonly string[], facts: { cause?: unknown } = {}) {
    const shown = series.slice(0, 5).join(", ") || "the only one";
    const more = series.length > 5 ? ` and ${series.length - 5} more` : "";
    super(`a forecasting process ended over the series ${shown}${more}: ${reason}`, { cause: facts.cause });
    this.series = series;
  }
}
