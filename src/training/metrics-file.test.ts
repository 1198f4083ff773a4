import { appendFileSync, fsyncSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { heldOutRanking, MetricsFile } from "./metrics-file.ts";

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  return { ...fs, fsyncSync: vi.fn(fs.fsyncSync) };
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "chainrule-metrics-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const line = (step: number) => `{"step":${step}}\n`;

test("a resumed run keeps the lines up to its checkpoint's step, whatever lines are missing or broken", () => {
  const path = join(folder, "metrics.jsonl");
  for (const [text, kept] of [
    [line(1) + line(2) + line(3), [1, 2]],
    [line(2) + line(3) + line(4), [2]], // counted, these would be steps 2 and 3
    [`${line(1)}\0\0\0\n${line(2)}{"step":`, [1, 2]],
    ["", []],
  ] as const) {
    writeFileSync(path, text);
    using file = new MetricsFile(path, 2);
    file.append({ step: 3 });
    expect(readFileSync(path, "utf8")).toBe([...kept, 3].map(line).join(""));
  }
});

test("what a run ranked right is the last look's, of whatever the run wrote", () => {
  const path = join(folder, "metrics.jsonl");
  const results = ["model.gguf", "adapter", "adapter/", "adapter.gguf"].map((name) => `${folder}/${name}`);
  for (const [text, expected] of [
    [undefined, undefined],
    ["", undefined],
    [line(1) + line(2), undefined],
    ['{"step":1,"validationAccuracy":0.5}\n{"step":2,"validationAccuracy":0.75}\n{"step":3}\n', { share: 0.75 }],
    [
      '{"step":1,"validationAccuracy":0.5,"validationPairs":9}\n{"step":2,"validationAccuracy":0.75,"validationPairs":8}\n',
      { share: 0.75, numPairs: 8 },
    ],
    [
      '{"step":1,"validationAccuracy":0.5,"validationPairs":9}\n{"step":2,"validationAccuracy":0.75,"validationPairs":0}\n',
      { share: 0.75 },
    ],
    ['{"step":1,"validationAccuracy":0.5,"validationPairs":"9"}\n', { share: 0.5 }],
    ['{"step":1,"validationAccuracy":0.5}\n\0\0\nnull\n{"step":2,"validationAccuracy":0.9', { share: 0.5 }],
    ['{"step":1,"validationAccuracy":"all"}\n', undefined],
    ['{"step":1,"validationAccuracy":1.5}\n', undefined],
  ] as const) {
    if (text !== undefined) writeFileSync(path, text);
    expect(results.map(heldOutRanking)).toEqual(results.map(() => expected));
  }
});

test("lines reach the disk when told to, and a new run begins with none", () => {
  const path = join(folder, "metrics.jsonl");
  using file = new MetricsFile(path, 0);
  file.append({ step: 1 });
  const flushes = vi.mocked(fsyncSync).mock.calls.length;
  file.sync();
  expect(vi.mocked(fsyncSync).mock.calls.length).toBe(flushes + 1);
  appendFileSync(path, line(2)); // nobody else's lines are overwritten
  file.append({ step: 3 });
  expect(readFileSync(path, "utf8")).toBe(line(1) + line(2) + line(3));
});
