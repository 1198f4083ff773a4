import { signal } from "@preact/signals";
import { ApiError } from "../api/client.ts";
import { client } from "../app-state.ts";
import { defaultForecastSettings, type ForecastSettings, forecastRequestOf, type GivenTable, tableRequestOf } from "./settings.ts";
import type { ForecastAnswer, ForecastEvent, ForecastModel, Progress, TableAnswer } from "./wire.ts";

// The forecast view: a table, what the server understood of it, and the forecast that it gave.

interface Failure {
  readonly message: string;
  readonly param?: string | undefined;
}

export const table = signal<GivenTable | undefined>(undefined);
export const settings = signal<ForecastSettings>(defaultForecastSettings);
export const models = signal<readonly ForecastModel[]>([]);
export const reading = signal<
  { kind: "none" } | { kind: "loading" } | { kind: "ready"; answer: TableAnswer } | { kind: "failed"; error: Failure }
>({ kind: "none" });
/** A forecast with the settings and the table that it was made from. */
export interface Ready {
  readonly kind: "ready";
  readonly answer: ForecastAnswer;
  readonly settings: ForecastSettings;
  readonly table: TableAnswer;
}
export type Work =
  | { readonly kind: "none" }
  /** The forecast before stays until there is another. */
  | { readonly kind: "running"; readonly progress: Progress | undefined; readonly before: Ready | undefined }
  | Ready
  | { readonly kind: "failed"; readonly error: Failure }
  | { readonly kind: "stopped" };
export const work = signal<Work>({ kind: "none" });
/** The series that is drawn, by its place. */
export const shownSeries = signal(0);

let readingController: AbortController | undefined;
let workController: AbortController | undefined;

/** Takes a table in place of the one before, with settings of its own. */
export async function take(given: GivenTable): Promise<void> {
  workController?.abort();
  table.value = given;
  settings.value = { ...defaultForecastSettings, horizon: settings.value.horizon };
  work.value = { kind: "none" };
  shownSeries.value = 0;
  reading.value = { kind: "loading" };
  await Promise.all([readTable(), loadModels()]);
}

export function clear(): void {
  readingController?.abort();
  workController?.abort();
  table.value = undefined;
  reading.value = { kind: "none" };
  work.value = { kind: "none" };
}

/** Takes settings; columns that changed are read again. */
export function change(next: ForecastSettings): void {
  const { time, targets, id, seasonalPeriod } = settings.value;
  settings.value = next;
  if (time !== next.time || targets !== next.targets || id !== next.id || seasonalPeriod !== next.seasonalPeriod) void readTable();
}

async function readTable(): Promise<void> {
  const given = table.value;
  if (given === undefined) return;
  readingController?.abort();
  const controller = new AbortController();
  readingController = controller;
  try {
    const answer = await client.post<TableAnswer>("/v1/forecasts/table", tableRequestOf(given, settings.value), controller.signal);
    if (controller.signal.aborted) return;
    reading.value = { kind: "ready", answer };
    shownSeries.value = Math.max(0, Math.min(shownSeries.value, answer.series.length - 1));
  } catch (error) {
    if (controller.signal.aborted) return;
    reading.value = { kind: "failed", error: failureOf(error) };
  }
}

async function loadModels(): Promise<void> {
  if (models.value.length > 0) return;
  try {
    models.value = await client.get<ForecastModel[]>("/v1/forecasts/models");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // the picker then has auto alone, and the table's own failure is shown
  }
}

export async function run(): Promise<void> {
  const [given, asked, read] = [table.value, settings.value, reading.value];
  if (given === undefined || read.kind !== "ready" || read.answer.understood === undefined) return;
  workController?.abort();
  const controller = new AbortController();
  workController = controller;
  const show = (next: Work) => {
    if (workController === controller) work.value = next;
  };
  const before = readyOf(work.value);
  show({ kind: "running", progress: undefined, before });
  try {
    let hasEnded = false;
    for await (const events of client.stream("/v1/forecasts", forecastRequestOf(given, asked), controller.signal)) {
      for (const { event, data } of events) {
        if (event === "error") throw new ApiError(0, (JSON.parse(data) as { error: { message: string } }).error.message);
        if (data === "[DONE]") continue;
        const said = JSON.parse(data) as ForecastEvent;
        if ("progress" in said) show({ kind: "running", progress: said.progress, before });
        else if ("answer" in said) {
          hasEnded = true;
          show({ kind: "ready", answer: said.answer, settings: asked, table: read.answer });
        }
      }
    }
    if (!hasEnded) throw new ApiError(0, "the connection ended before the forecast did");
  } catch (error) {
    show(controller.signal.aborted ? { kind: "stopped" } : { kind: "failed", error: failureOf(error) });
  }
}

/** The forecast that is shown. */
export const readyOf = (now: Work): Ready | undefined => (now.kind === "ready" ? now : now.kind === "running" ? now.before : undefined);

export function cancel(): void {
  workController?.abort();
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof ApiError)) throw error;
  return { message: error.message, param: error.param };
}
