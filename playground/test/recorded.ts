import { readFileSync } from "node:fs";
import { EventStreamParser } from "../src/api/event-stream.ts";
import type { Chunk, Registry } from "../src/api/wire.ts";
import { applyChunks, type Run, startedRun } from "../src/run/run.ts";
import { defaultSettings } from "../src/run/settings.ts";

// For tests: what a real server said, as scripts/record-playground.mjs wrote it down.

interface Recording {
  readonly blocks: number;
  readonly streams: Readonly<Record<string, string>>;
  readonly methods: Registry;
}

export const recorded = JSON.parse(readFileSync(new URL("./runs.fixture.json", import.meta.url), "utf8")) as Recording;

/** The chunks of a recorded stream. */
export function chunksOf(name: string): Chunk[] {
  return new EventStreamParser()
    .push(recorded.streams[name]!)
    .filter(({ data }) => data !== "[DONE]")
    .map(({ data }) => JSON.parse(data) as Chunk);
}

export const emptyRun = (): Run => startedRun({ prompt: { kind: "text", text: "" }, settings: defaultSettings, model: "smollm2" });

/** A recorded run at its end. */
export const runOf = (name: string): Run => applyChunks(emptyRun(), chunksOf(name));
