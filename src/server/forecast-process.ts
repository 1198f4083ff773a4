// A process that forecasts: one job at a time, from the bytes of a request to the text of its answer. Started and, when its client leaves,
// ended by `ForecastPool`: fitting is one long computation, which nothing else could interrupt.

import { constants, setPriority } from "node:os";
import { Readable } from "node:stream";
import { ChainruleError, FormatError, MemoryError, OptionError } from "../errors.ts";
import {
  type BacktestOptions,
  forecast,
  formatTime,
  isTrainedModel,
  type LoadOptions,
  loadTable,
  type Progress,
  tableColumns,
  type Understood,
} from "../forecasting/index.ts";
import { parseJson } from "./body.ts";
import type { ForecastJob, ForecastSizes, FromForecaster } from "./forecast-protocol.ts";
import { type ForecastRequest, forecastRequest, type TableRequest, tableRequest } from "./forecast-schemas.ts";
import { parseBody, RequestError } from "./parse-body.ts";
import type { WireError } from "./protocol.ts";

/** A request asks for more than one may have. */
class SizeError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Progress comes in steps of microseconds and of minutes; a reader wants neither more often than this, in milliseconds. */
const progressMs = 100;

setPriority(constants.priority.PRIORITY_BELOW_NORMAL); // the engine's passes come first
process.on("disconnect", () => process.exit(0)); // the parent is gone
process.on("message", (job: ForecastJob) => void take(job));

const send = (message: FromForecaster) => process.send?.(message);

async function take({ kind, body, limits }: ForecastJob): Promise<void> {
  let given: Partial<ForecastRequest> = {};
  try {
    const json = parseJson(body);
    if (kind === "table") {
      const request = parseBody(tableRequest, json);
      given = request;
      send({ kind: "begun", isStreamed: false });
      send({ kind: "done", json: JSON.stringify(await tableOf(request, limits)) });
    } else {
      const request = parseBody(forecastRequest, json);
      given = request;
      if (request.horizon > limits.horizon)
        throw new RequestError("horizon", "invalid_value", `horizon: must be at most ${limits.horizon}, got ${request.horizon}`);
      send({ kind: "begun", isStreamed: request.stream === true });
      send({ kind: "done", json: JSON.stringify(await forecastOf(request, limits)) });
    }
  } catch (error) {
    send({ kind: "failed", error: describe(error, given) });
  }
}

async function forecastOf(request: ForecastRequest, limits: ForecastSizes) {
  const { text: _, rows: __, stream, ...options } = request;
  const trained = [request.model ?? []].flat().find(isTrainedModel);
  if (trained !== undefined)
    throw new OptionError(
      "model",
      `"${trained}" trains for minutes over a model file: the command line and the library have it, the server does not`,
    );
  const event = (data: object) => stream === true && send({ kind: "event", json: JSON.stringify(data) });
  let toldAt = 0;
  const {
    series: ___,
    fitted: ____,
    ...answer
  } = await forecast(sourceOf(request, limits), {
    ...(options as BacktestOptions),
    workers: 0, // one request, one core
    onUnderstood: (understood) => {
      checkSizes(understood, limits, request.horizon);
      event({ understood });
    },
    onProgress: (progress: Progress) => {
      const now = performance.now();
      if (progress.stage === "reading" || now - toldAt < progressMs) return;
      toldAt = now;
      event({ progress });
    },
  });
  return answer;
}

/** What can be said of a table: where it can't be understood, its columns and what is wrong, so that one can choose among them. */
async function tableOf(request: TableRequest, limits: ForecastSizes) {
  const { text: _, rows: __, last = 400, ...given } = request;
  const options = given as LoadOptions;
  const columns = await tableColumns(sourceOf(request, limits), options);
  const table = await loadTable(sourceOf(request, limits), options).catch((error: unknown) => {
    if (error instanceof OptionError || error instanceof FormatError) return describe(error, request);
    throw error;
  });
  if ("message" in table) return { columns, series: [], problem: { code: table.code, message: table.message, param: table.param } };
  const { series, understood } = table;
  checkSizes(understood, limits, 1);
  const most = Math.max(1, Math.min(last, Math.floor(limits.values / series.length)));
  return {
    columns,
    understood,
    series: series.map(({ id, values, time }) => {
      const from = Math.max(0, values.length - most);
      const shown = [...values.subarray(from)];
      return { series: id, time: shown.map((_, index) => formatTime(time, from + index)), values: shown };
    }),
  };
}

/** The request's table; never a path. */
function sourceOf({ text, rows }: TableRequest | ForecastRequest, limits: ForecastSizes) {
  if (rows === undefined) return Readable.from([Buffer.from(text!)]);
  checkRows(rows.length, limits);
  return rows;
}

function checkRows(rows: number, limits: ForecastSizes): void {
  if (rows > limits.rows) throw new SizeError("too_many_rows", `the table has ${rows} rows; this server takes ${limits.rows}`);
}

function checkSizes({ source, series }: Understood, limits: ForecastSizes, steps: number): void {
  checkRows(source.rows, limits);
  if (series.count > limits.series)
    throw new SizeError("too_many_series", `the table has ${series.count} series; this server takes ${limits.series}`);
  if (series.count * steps > limits.values)
    throw new SizeError(
      "answer_too_large",
      `${series.count} series times ${steps} steps are more than the ${limits.values} numbers that this server answers with`,
    );
}

function describe(error: unknown, request: Partial<ForecastRequest>): WireError {
  const table = request.rows === undefined ? "text" : "rows";
  if (error instanceof RequestError) return { status: 400, code: error.code, message: error.message, param: error.param };
  if (error instanceof SizeError) return { status: 413, code: error.code, message: error.message, param: table };
  if (error instanceof MemoryError) return { status: 413, code: "table_too_large", message: error.message, param: table };
  if (error instanceof OptionError) {
    const param = Object.hasOwn(request.parameters ?? {}, error.option) ? `parameters.${error.option}` : error.option;
    return { status: 400, code: "invalid_value", message: error.message, param };
  }
  if (error instanceof FormatError) return { status: 400, code: "invalid_table", message: error.message, param: table };
  if (error instanceof ChainruleError) return { status: 400, code: error.code.toLowerCase(), message: error.message, param: null };
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  return { status: 500, code: "internal_error", message: "internal error", param: null };
}
