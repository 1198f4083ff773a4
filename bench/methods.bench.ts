// npm run bench:methods -- [--quick] [--only draft,search,sample,skip,layout,explain] [--models smollm2:q4_0,smollm2,gemma3-270m] [--pairs 15]
// [--tokens 64] [--threads 2] [--fresh]: what each method does on real models, into docs/methods.md. What was measured is kept in
// node_modules/.bench/methods.json: a run that was cut short goes on, and --only measures parts anew. --quick writes no page.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { registry } from "../src/decoding/index.ts";
import { OptionError } from "../src/errors.ts";
import { pin } from "../src/ggml/index.ts";
import { load } from "../src/index.ts";
import { draftRows } from "./methods/drafts.ts";
import { type Findings, type Row, type Setting, Store } from "./methods/harness.ts";
import { explainRows, layoutRows } from "./methods/prompting.ts";
import { samplerRows, searchRows } from "./methods/searches.ts";
import { skipRows } from "./methods/skips.ts";

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
  },
});
/** In the order in which they are measured: what has a target first. */
const parts: Readonly<Record<string, { readonly run: (setting: Setting) => Promise<Findings>; readonly models?: readonly string[] }>> = {
  draft: { run: draftRows },
  search: { run: searchRows },
  skip: { run: skipRows, models: ["smollm2:q4_0", "gemma3-270m"] },
  sample: { run: samplerRows, models: ["smollm2:q4_0", "gemma3-270m"] },
  layout: { run: layoutRows, models: ["smollm2", "gemma3-270m"] },
  explain: { run: explainRows, models: ["smollm2", "gemma3-270m"] },
};
const only = options.only?.split(",") ?? Object.keys(parts);
for (const part of only)
  if (!Object.hasOwn(parts, part)) throw new OptionError("only", `no part "${part}"; parts are ${Object.keys(parts).join(", ")}`);
const models = options.quick && options.models.includes(",") ? options.models.split(",").slice(0, 1) : options.models.split(",");
const began = performance.now();
/** No part begins after this. */
const limitMs = 60_000 * Number(options.minutes ?? (options.quick ? 3 : 23));
const storePath = options.quick ? join(tmpdir(), `chainrule-methods-${process.pid}.json`) : "node_modules/.bench/methods.json";
if (options.fresh) rmSync(storePath, { force: true });
mkdirSync("node_modules/.bench", { recursive: true });
const store = new Store(storePath);
const say = (line: string) => process.stdout.write(`${line}\n`);
const machine = () =>
  `${cpus()[0]?.model.trim()}, ${cpus().length} processors, ${options.threads} threads, Node ${process.version}, ggml ${pin.ggmlVersion} (${pin.ggmlCommit})`;
say(`${machine()}, load ${loadavg()[0]!.toFixed(2)}`);
const left: string[] = [];
// the model with the targets comes first, and what has a target first on each
for (const name of models) {
  const wanted = only.filter((part) => parts[part]!.models?.includes(name) ?? true);
  const missing = wanted.filter((part) => options.only !== undefined || store.get(`${part} ${name}`) === undefined);
  if (missing.length === 0) continue;
  await using model = await load(name, { threads: Number(options.threads), context: 1024 });
  for (const part of missing) {
    if (performance.now() - began > limitMs) {
      left.push(`${part} on ${name}`);
      continue;
    }
    say(`${part} on ${name}`);
    const partBegan = performance.now();
    const findings = await parts[part]!.run({
      ...{ model, modelName: name, say, isQuick: options.quick, textFolder: process.env.CHAINRULE_DATA },
      pairs: Number(options.pairs ?? (options.quick ? 2 : 15)),
      maxTokens: Number(options.tokens ?? (options.quick ? 16 : 64)),
      numPrompts: options.quick ? 1 : 2,
    });
    store.put(`${part} ${name}`, { ...findings, load: loadavg()[0]! }, machine());
    say(`  took ${((performance.now() - partBegan) / 1000).toFixed(0)} s`);
  }
}
if (options.quick) {
  say(page());
  rmSync(storePath, { force: true });
} else writeFileSync("docs/methods.md", page());
say(
  `took ${((performance.now() - began) / 1000).toFixed(0)} s${left.length === 0 ? "" : `; not measured yet, run it again: ${left.join(", ")}`}`,
);

function page(): string {
  const found = store.all.filter(([key]) => Object.hasOwn(parts, key.split(" ")[0]!));
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
- load average after the parts: ${found.map(([, { load = 0 }]) => load.toFixed(1)).join(", ")} (one busy process beside it halves a speed)

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
