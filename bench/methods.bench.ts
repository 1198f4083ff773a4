// npm run bench:methods -- [--quick] [--only draft,search.rewind,…] [--models smollm2:q4_0,smollm2,gemma3-270m] [--pairs 15] [--tokens 64]
// [--threads 2] [--minutes 60] [--fresh] [--reward FOLDER]: what each method does on real models, into docs/methods.md. It goes step by step, of some minutes
// each, and keeps what was measured in node_modules/.bench/methods.json: a run that was cut short goes on, no step begins after --minutes,
// and --only measures parts (or single steps, part.step) anew. --reward FOLDER is an adapter for the guide; without it one is trained once and kept
// in the home folder. --quick goes through every step with tiny counts and writes no page.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { registry } from "../src/decoding/index.ts";
import { OptionError } from "../src/errors.ts";
import { pin } from "../src/ggml/index.ts";
import { load, type Model } from "../src/index.ts";
import { draftSteps } from "./methods/drafts.ts";
import { guideSteps } from "./methods/guides.ts";
import { type Row, type Steps, Store } from "./methods/harness.ts";
import { explainSteps, layoutSteps } from "./methods/prompting.ts";
import { samplerSteps, searchSteps } from "./methods/searches.ts";
import { skipSteps } from "./methods/skips.ts";

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    models: { type: "string", default: "smollm2:q4_0,smollm2,gemma3-270m" },
    pairs: { type: "string" },
    tokens: { type: "string" },
    threads: { type: "string", default: "2" },
    minutes: { type: "string" },
    fresh: { type: "boolean", default: false },
    reward: { type: "string" },
  },
});
/** In the order in which they are measured: what has a target first. */
const parts: Readonly<Record<string, { readonly steps: Steps; readonly models?: readonly string[] }>> = {
  draft: { steps: draftSteps },
  search: { steps: searchSteps },
  skip: { steps: skipSteps, models: ["smollm2:q4_0", "gemma3-270m"] },
  guide: { steps: guideSteps, models: ["smollm2:q4_0", "gemma3-270m"] },
  sample: { steps: samplerSteps, models: ["smollm2:q4_0", "gemma3-270m"] },
  layout: { steps: layoutSteps, models: ["smollm2", "gemma3-270m"] },
  explain: { steps: explainSteps, models: ["smollm2", "gemma3-270m"] },
};
const all = Object.entries(parts).flatMap(([part, { steps }]) => Object.keys(steps).map((step) => `${part}.${step}`));
const asked = options.only?.split(",") ?? Object.keys(parts);
for (const name of asked)
  if (!all.some((step) => step === name || step.startsWith(`${name}.`)))
    throw new OptionError("only", `no part or step "${name}"; there are ${all.join(", ")}`);
const wanted = all.filter((step) => asked.some((name) => step === name || step.startsWith(`${name}.`)));
const models = options.models.split(",");
const began = performance.now();
/** No step begins after this. */
const limitMs = 60_000 * Number(options.minutes ?? (options.quick ? 10 : 90));
const scratch = mkdtempSync(join(tmpdir(), "chainrule-methods-"));
const storePath = options.quick ? join(scratch, "methods.json") : "node_modules/.bench/methods.json";
if (options.fresh) rmSync(storePath, { force: true });
mkdirSync("node_modules/.bench", { recursive: true });
const store = new Store(storePath);
const say = (line: string) => process.stdout.write(`${line}\n`);
const machine = () =>
  `${cpus()[0]?.model.trim()}, ${cpus().length} processors, ${options.threads} threads, Node ${process.version}, ggml ${pin.ggmlVersion} (${pin.ggmlCommit})`;
say(`${machine()}, load ${loadavg()[0]!.toFixed(2)}`);
const left: string[] = [];
// the model with the targets comes first, and what has a target first on each
for (const modelName of models) {
  const missing = wanted.filter((step) => {
    const { models: only = models } = parts[step.split(".")[0]!]!;
    return only.includes(modelName) && (options.only !== undefined || store.get(`${step} ${modelName}`) === undefined);
  });
  if (missing.length === 0) continue;
  await using model = await load(modelName, { threads: Number(options.threads), context: 1024 });
  await model.costCurve({ entries: 300, remeasure: !options.quick }); // a quick run on a busy machine would leave a wrong one behind
  const note = `T(n)/T(1), ${modelName}, ${(await Promise.all([128, 512].map((entries) => curveLine(model, entries)))).join("; ")}`;
  say(note);
  for (const step of missing) {
    if (performance.now() - began > limitMs) {
      left.push(`${step} on ${modelName}`);
      continue;
    }
    const [part, name] = step.split(".") as [string, string];
    say(`${step} on ${modelName}`);
    const stepBegan = performance.now();
    const { rows, notes = [] } = await parts[part]!.steps[name]!({
      ...{
        model,
        modelName,
        scratch,
        say,
        isQuick: options.quick,
        textFolder: process.env.CHAINRULE_DATA,
        rewardAdapter: options.reward,
      },
      pairs: Number(options.pairs ?? (options.quick ? 2 : 15)),
      maxTokens: Number(options.tokens ?? (options.quick ? 16 : 64)),
      numPrompts: options.quick ? 1 : 2,
    });
    store.put(`${step} ${modelName}`, { rows, notes: part === "draft" ? [note, ...notes] : notes, load: loadavg()[0]! }, machine());
    say(`  took ${((performance.now() - stepBegan) / 1000).toFixed(0)} s`);
  }
}
if (options.quick) say(page());
else writeFileSync("docs/methods.md", page());
rmSync(scratch, { recursive: true });
say(
  `took ${((performance.now() - began) / 1000).toFixed(0)} s${left.length === 0 ? "" : `; not measured yet, run it again: ${left.join(", ")}`}`,
);

async function curveLine(model: Model, entries: number): Promise<string> {
  const { singleRowMs, points } = await model.costCurve({ entries });
  return `after ${entries} tokens ${points.map(({ rows, ratio }) => `${rows}: ${ratio.toFixed(2)}`).join(", ")}, one row ${singleRowMs.toFixed(2)} ms`;
}

function page(): string {
  const found = store.all.filter(([key]) => all.includes(key.split(" ")[0]!));
  const rows = found.flatMap(([, findings]) => findings.rows);
  const measured = new Set(rows.map(({ method }) => method));
  const cells = (row: Row) => [
    `\`${row.method.split(" ")[1]}\``,
    row.model,
    row.claim,
    row.figure,
    row.met,
    row.speed ?? "",
    row.passes ?? "",
  ];
  const line = (list: readonly string[]) => `| ${list.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const table = (axis: string, list: readonly Row[]) =>
    [
      `## ${axis}`,
      "",
      line(["method", "model", "claim", "here", "direction met", "speed against plain", "passes"]),
      line(new Array(7).fill("---")),
      ...list.map((row) => line(cells(row))),
    ].join("\n");
  const axes = Object.keys(registry).filter((axis) => rows.some(({ method }) => method.startsWith(`${axis} `)));
  const others = Object.entries(registry).flatMap(([axis, list]) =>
    list.filter((method) => !measured.has(`${axis} ${method.name}`)).map((method) => `- ${axis} \`${method.name}\`: ${method.summary}`),
  );
  const machines = [...new Map(found.map(([key, findings]) => [findings.machine, key])).keys()];
  return `# What the methods do on real models

Written by \`npm run bench:methods\`. Speeds are ratios to plain greedy decoding in alternating rounds of one run, the median with a 95 % bootstrap
interval; above 1 is faster. The same tokens are checked first where a method promises them. Prompts: \`bench/methods/prompts.json\`, written for
this project after the six kinds of Spec-Bench (arXiv 2401.07851), and prompts whose answer copies its context. Quality is measured on few short
prompts: it shows a direction, not a benchmark.

${machines.map((one) => `- ${one}`).join("\n")}
- load average after the steps: ${loadsOf(found.map(([, { load = 0 }]) => load))} (one busy process beside it halves a speed)

${axes
  .map((axis) =>
    table(
      axis,
      rows.filter(({ method }) => method.startsWith(`${axis} `)),
    ),
  )
  .join("\n\n")}

${found
  .flatMap(([, { notes = [] }]) => notes)
  .filter((note, index, all) => all.indexOf(note) === index)
  .map((note) => `- ${note}`)
  .join("\n")}

The clairvoyant draft knows before each pass which of the proposals of \`ngram\` and \`adaptive\` will be accepted and verifies just these, at this run's
T(n)/T(1). Where a draft loses, passes of several rows cost more on these processors than the accepted tokens save.

## Without a figure here

${others.join("\n")}
`;
}

function loadsOf(loads: readonly number[]): string {
  const sorted = [...loads].sort((a, b) => a - b);
  return `${(sorted[sorted.length >> 1] ?? 0).toFixed(1)} in the median, ${(sorted.at(-1) ?? 0).toFixed(1)} at most`;
}
