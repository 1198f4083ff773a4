import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { loadForecasts } from "../../forecasting/index.ts";
import { runCommand } from "../run.ts";
import { showWork } from "../work-line.ts";
import { explain } from "./explain.ts";
import { backtestCommand, forecastCommand } from "./forecast.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "chainrule-cli-"));
  const rows = Array.from(
    { length: 60 },
    (_, day) => `${new Date(Date.UTC(2024, 0, 1 + day)).toISOString().slice(0, 10)},${10 + (day % 7)}`,
  );
  await writeFile(join(folder, "sales.csv"), `date,sales\n${rows.join("\n")}\n`);
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

async function chainrule(...args: string[]) {
  const written = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      written[stream] += text;
      return true;
    });
  }
  const program = new Command("chainrule").option("--debug");
  for (const command of [forecastCommand, backtestCommand, await explain(args.slice(1))]) program.addCommand(command);
  await runCommand(program, ["node", "chainrule", ...args]);
  return { out: written.stdout, err: written.stderr, code: process.exitCode ?? 0 };
}

test("forecast --json prints the documented object, and writes a report and the models", async () => {
  const [html, saved] = [join(folder, "report.html"), join(folder, "models.json")];
  const { out } = await chainrule(
    "forecast",
    join(folder, "sales.csv"),
    "--horizon",
    "7",
    "--levels",
    "50,90",
    "--json",
    "--html",
    html,
    "--save",
    saved,
  );
  const answer = JSON.parse(out);
  expect(Object.keys(answer).sort()).toEqual(["chosen", "coverage", "forecasts", "notes", "understood"]);
  expect(answer.forecasts).toHaveLength(1);
  expect(answer.forecasts[0]).toMatchObject({
    series: "sales",
    time: expect.arrayContaining(["2024-03-01"]),
    mean: [14, 15, 16, 10, 11, 12, 13],
  });
  expect(Object.keys(answer.forecasts[0].intervals)).toEqual(["50", "90"]);
  expect(await readFile(html, "utf8")).toContain("<svg");
  expect(loadForecasts(JSON.parse(await readFile(saved, "utf8"))).forecast(7, [50, 90])).toEqual(answer.forecasts);
});

test("backtest and explain say what was understood, tried and fitted", async () => {
  const tried = await chainrule(
    "backtest",
    join(folder, "sales.csv"),
    "--horizon",
    "7",
    "--model",
    "naive,seasonal-naive",
    "--windows",
    "3",
  );
  expect(tried.out).toMatch(/frequency {2}daily[\s\S]*seasonal-naive \*/);
  const explained = await chainrule("explain", join(folder, "sales.csv"), "--horizon", "7", "--model", "seasonal-naive");
  expect(explained.out).toContain("sales: the value 7 steps before; intervals from its own backtest errors");
});

test("explain takes a table's ending, or a horizon, for a table, wherever the file stands, and the rest for a prompt", async () => {
  const [table, other] = [join(folder, "sales.csv"), join(folder, "sales.txt")];
  await copyFile(table, other);
  const model = ["--model", "naive", "--json"];
  const ways = [
    [table, "--horizon", "7", ...model],
    ["--horizon", "7", "--debug", ...model, table],
    ["--horizon=7", ...model, "--", table],
    [other, "--horizon", "7", ...model],
  ];
  for (const args of ways) expect(JSON.parse((await chainrule("explain", ...args)).out).series[0].description).toBe("last value");
  for (const args of [["sales.csv"], [other], ["--examples", table, "--layout", "few-shot", "Why?"]])
    expect((await chainrule("explain", ...args, "--season", "7")).err).toContain("--season: is for a table, and");
});

test("explain refuses by name what the other kind of thing would take, and says what it was taken for", async () => {
  const table = join(folder, "sales.csv");
  const cases: [string[], string][] = [
    [[table, "--max-tokens", "4"], `error: --max-tokens: is for a prompt, and ${table} is a table; leave it out`],
    [["-", "--strict", "--horizon", "7"], "error: --strict: is for a prompt, and standard input with --horizon is a table; leave it out"],
    [["sales.cvs", "--horizon", "7"], "error: --horizon: is for a table, and there is no file sales.cvs; a prompt has no such option"],
    [
      ["--no-day-first"],
      "error: --no-day-first: is for a table, and standard input is one with --horizon <steps>; a prompt has no such option",
    ],
    [[table], "error: required option '--horizon <steps>' not specified"],
    [[table, "--horizon", "7", "--wrong"], "error: unknown option '--wrong'"],
  ];
  for (const [args, message] of cases) {
    const { err, code } = await chainrule("explain", ...args);
    expect([err.split("\n")[0], code]).toEqual([message, 2]);
  }
  for (const [args, option] of [
    [[], "--max-tokens"],
    [[table], "--horizon <steps>"],
  ] as const) {
    const { out } = await chainrule("explain", ...args, "--help");
    expect(out).toContain(option);
    expect(out).toMatch(/chainrule explain "The .*\n.*chainrule explain sales\.csv --horizon 28\n/);
    expect(out).not.toContain(option === "--max-tokens" ? "--season" : "--top-k");
  }
});

test("forecast draws the first series, its future on the ground of its intervals", async () => {
  const { out } = await chainrule("forecast", join(folder, "sales.csv"), "--horizon", "7", "--model", "naive");
  const chart = out.split("\n\n").find((part) => part.includes("┤"))!;
  expect(chart.split("\n")[0]).toBe("sales");
  expect(chart.match(/●/g)).toHaveLength(7);
  expect(chart.match(/·/g)).toHaveLength(60);
  expect(chart).toMatch(/[░▒]/);
  expect(chart.trimEnd()).toMatch(/2024-01-01 +2024-03-07$/);
});

test("bad input is one line and exit code 2", async () => {
  const { err, code } = await chainrule("forecast", join(folder, "sales.csv"), "--horizon", "7", "--target", "units");
  expect([err, code]).toEqual(['error: target: there is no column "units"; the columns are date, sales\n', 2]);
  expect((await chainrule("forecast", join(folder, "sales.csv"), "--horizon", "seven")).err).toContain(
    '--horizon: expects a whole number, got "seven"',
  );
  expect((await chainrule("forecast", join(folder, "none.csv"), "--horizon", "7")).code).toBe(2);
});

test("what was understood is printed before anything is fitted, beside the object of --json", async () => {
  const args = ["forecast", join(folder, "sales.csv"), "--horizon", "7", "--model", "ar-net", "--parameter", "order=500"];
  for (const [more, stream] of [
    [[], "out"],
    [["--json"], "err"],
  ] as const) {
    const refused = await chainrule(...args, ...more);
    expect(refused[stream]).toMatch(/frequency {2}daily/);
    expect(refused.err).toMatch(/error: order: 500 lags need 502 values/);
    expect(refused.code).toBe(2);
  }
});

test("progress is shown after a second, often on a terminal and rarely elsewhere", () => {
  let now = 0;
  const run = (isTTY: boolean) => {
    let text = "";
    const write = (part: string) => {
      text += part;
    };
    const line = showWork({ isTTY, columns: 80, write }, () => now);
    for (now = 0; now <= 12_000; now += 100) line.update("fitting", now, 12_000);
    line.clear();
    return text;
  };
  now = 0;
  expect(run(false)).toBe("fitting 8 %\nfitting 91 %\n");
  now = 0;
  expect(run(true).startsWith("\r\x1b[Kfitting 8 %\r\x1b[Kfitting 9 %")).toBe(true);
});
