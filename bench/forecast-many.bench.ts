/**
 * Many short series in one command: `chainrule forecast` on a CSV of 10,000 simulated monthly series of five years, horizon 12, with the baselines and
 * with `auto`'s models, by workers. Prints seconds and the peaks of memory of the program and its workers; the figures stand in docs/forecasting.md.
 *
 *   npm run bench:forecast-many -- [--series 10000] [--models naive,seasonal-naive,drift,window-mean] [--workers 2]
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, createWriteStream, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { uniformSampler } from "../src/forecasting/models/normal-sampler.ts";

const option = (name: string, otherwise: string) =>
  process.argv.includes(`--${name}`) ? process.argv[process.argv.indexOf(`--${name}`) + 1]! : otherwise;
const count = Number(option("series", "10000"));
const models = option("models", "naive,seasonal-naive,drift,window-mean");
const workers = option("workers", String(availableParallelism()));
const [months, horizon] = [60, 12];

const folder = mkdtempSync(join(tmpdir(), "chainrule-many-"));
try {
  const table = join(folder, "many.csv");
  const file = createWriteStream(table);
  const uniform = uniformSampler(1);
  file.write("series,month,value\n");
  for (let series = 0; series < count; series++) {
    const [level, slope, swing] = [100 + 900 * uniform(), uniform() - 0.3, 0.4 * uniform()];
    let rows = "";
    for (let month = 0; month < months; month++) {
      const season = 1 + swing * Math.sin((2 * Math.PI * month) / 12);
      const value = (level + slope * month) * season * (1 + 0.1 * (uniform() - 0.5));
      rows += `s${series},${2019 + Math.floor(month / 12)}-${String((month % 12) + 1).padStart(2, "0")},${value.toFixed(2)}\n`;
    }
    if (!file.write(rows)) await once(file, "drain");
  }
  file.end();
  await once(file, "finish");

  const answer = join(folder, "answer.json");
  const args = ["dist/cli/main.js", "forecast", table, "--horizon", String(horizon), "--model", models, "--workers", workers, "--json"];
  const start = performance.now();
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.pipe(createWriteStream(answer));
  /** Peaks of the program and of its workers, kB, by process. */
  const peaks = new Map<string, number>();
  const watch = setInterval(() => {
    try {
      const workers = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ");
      for (const pid of [String(child.pid), ...workers])
        peaks.set(pid, Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0));
    } catch {
      // one has ended, or the system has no /proc
    }
  }, 200);
  const [code] = await once(child, "close");
  clearInterval(watch);
  const seconds = (performance.now() - start) / 1000;
  if (code !== 0) throw new Error(`the command ended with ${code}`);
  let text = "";
  for await (const line of createInterface({ input: createReadStream(answer) })) text += line;
  const { chosen, forecasts } = JSON.parse(text) as { chosen: { model: string }; forecasts: { mean: number[]; intervals: object }[] };
  const isWhole = forecasts.length === count && forecasts.every(({ mean }) => mean.length === horizon && mean.every(Number.isFinite));
  if (!isWhole) throw new Error("a series has no forecast");
  console.log(
    `${count} series of ${months} months, ${models}, ${workers} workers: ${seconds.toFixed(1)} s, peaks ${Array.from(peaks.values(), (kilobytes) => (kilobytes / 1024).toFixed(0)).join(" + ")} MiB; chosen ${chosen.model}`,
  );
  console.log(`Node ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}, load ${loadavg()[0]!.toFixed(1)}`);
} finally {
  rmSync(folder, { recursive: true });
}
