import type { WireError } from "./protocol.ts";

// What the parent and a process that forecasts say to each other. The parent never looks into bodies and answers: both are JSON.

export interface ForecastJob {
  readonly kind: "forecast" | "table";
  /** The request's body as it came. */
  readonly body: Uint8Array;
  readonly limits: ForecastSizes;
}

/** What one request may ask for. */
export interface ForecastSizes {
  readonly rows: number;
  readonly series: number;
  readonly horizon: number;
  /** Numbers of the answer: series × steps, and of a table the steps of all series. */
  readonly values: number;
}

export type FromForecaster =
  /** The request is in order. */
  | { readonly kind: "begun"; readonly isStreamed: boolean }
  /** Data of one event of a stream. */
  | { readonly kind: "event"; readonly json: string }
  | { readonly kind: "done"; readonly json: string }
  | { readonly kind: "failed"; readonly error: WireError };
