import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { build } from "tsdown";
import { beforeAll, expect, test } from "vitest";

// Nothing that the constructors accept may abort natively or compute something else. Node 20 runs no TypeScript: the process is bundled first.

const graphs = process.env.CHAINRULE_SOAK ? 20_000 : 300;
const folder = join(import.meta.dirname, "../../node_modules/.cache/chainrule"); // beside the packages that the bundle imports

beforeAll(async () => {
  mkdirSync(folder, { recursive: true });
  const entry = join(import.meta.dirname, "graph-process.ts");
  await build({
    entry,
    outDir: folder,
    format: "esm",
    platform: "node",
    target: "node20",
    dts: false,
    clean: false,
    config: false,
    logLevel: "error",
  });
});

test(`${graphs} random graphs are computed as defined, and none aborts`, async () => {
  const { code, signal, lines } = await runGraphs(0, graphs);
  const wrong = lines.filter((line) => line.startsWith("WRONG"));
  const last = lines.filter((line) => line.startsWith("graph")).at(-1);
  expect(wrong.map((line) => `${line}\n${lines.find((other) => other.startsWith(`graph ${line.split(" ")[1]}:`))}`)).toEqual([]);
  expect({ code, signal, stoppedAt: code === 0 ? undefined : last }).toEqual({ code: 0, signal: null, stoppedAt: undefined });
  expect(lines.length).toBe(graphs);
});

function runGraphs(first: number, last: number): Promise<{ code: number; signal: string | null; lines: string[] }> {
  return new Promise((resolve) => {
    const args = [join(folder, "graph-process.mjs"), `${first}`, `${last}`];
    execFile(process.execPath, args, { maxBuffer: 2 ** 30 }, (error, stdout, stderr) => {
      const failure = error as { code?: number; signal?: string } | null;
      const lines = `${stdout}`.split("\n").filter((line) => line !== "");
      if (failure && `${stderr}` !== "") lines.push(`graph stderr: ${`${stderr}`.slice(0, 2000)} after ${lines.at(-1)}`);
      resolve({ code: error ? Number(failure?.code ?? -1) : 0, signal: failure?.signal ?? null, lines });
    });
  });
}
