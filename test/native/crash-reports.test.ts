import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { announceCrashes, listCrashes } from "../../src/cli/crash-reports.ts";
import { temporaryFolder } from "../support/engine.ts";

const loader = new URL("../../src/models/testing/typescript.mjs", import.meta.url).href;
const worker = fileURLToPath(new URL("../support/abort-worker.ts", import.meta.url));

function announced(home: string): string[] {
  const lines: string[] = [];
  announceCrashes(home, (line) => lines.push(line));
  return lines;
}

test.each(["sync", "async"])("a failed native check (%s call) is said, kept, and announced once by the next run", (how) => {
  using home = temporaryFolder();
  const run = spawnSync(process.execPath, ["--import", loader, worker, home.path, how], { encoding: "utf8", timeout: 60_000 });
  expect(run.signal).toBe("SIGABRT");
  expect(run.stderr).toMatch(
    /^error: a check in native code failed and ends this process: ggml\/src\/ggml\.c:\d+: GGML_ASSERT\(obj_new\) failed$/m,
  );

  const [line, ...others] = announced(home.path);
  const [report] = listCrashes(home.path);
  expect(line).toMatch(/^note: an earlier run was ended by a failed check in native code: ggml.*obj_new/);
  expect(line).toContain(`report: ${report!.path}`);
  expect(report).toMatchObject({ command: ["generate", "Hello"], model: "smollm2", versions: { node: process.version } });
  expect(Date.parse(report!.time)).toBeGreaterThan(Date.now() - 60_000);
  expect(others).toEqual([]);
  expect(announced(home.path)).toEqual([]);
});

test("the newest twenty reports are kept; a report that was cut is announced and not listed", () => {
  using home = temporaryFolder();
  const folder = join(home.path, "crashes");
  mkdirSync(folder);
  for (let day = 10; day < 35; day += 1) writeFileSync(join(folder, `2026-01-${day}-1.json`), JSON.stringify({ message: `day ${day}` }));
  writeFileSync(join(folder, "2026-02-01-1.new.json"), '{ "mess');
  expect(announced(home.path)).toEqual([expect.stringContaining("an unreadable report; report: ")]);
  expect(readdirSync(folder)).toHaveLength(20);
  expect(listCrashes(home.path).map(({ message }) => message)).toEqual(Array.from({ length: 19 }, (_, index) => `day ${16 + index}`));
});

test("a home without reports has nothing to say", () => {
  using home = temporaryFolder();
  expect([announced(home.path), listCrashes(home.path)]).toEqual([[], []]);
});
