// npm run docs:draft
// Writes what smollm2-draft learned, as `chainrule pull smollm2-draft` measured it when it was built, into docs/tiny.md, and its loss curve.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { home } from "../src/cli/home.ts";
import { resolveModel } from "../src/models/index.ts";
import { type DraftModelFacts, lossCurve } from "../src/training/index.ts";

const { path, sizeBytes } = await resolveModel("smollm2-draft", { home: home(), offline: true });
const read = (file: string) => readFileSync(join(dirname(path), file), "utf8");
const facts: DraftModelFacts = JSON.parse(read("training.json"));
const metrics = read("metrics.jsonl")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));
writeFileSync("docs/images/smollm2-draft-loss.svg", lossCurve(metrics));

const count = (value: number) => value.toLocaleString("en");
const rows = [
  ["parameters", count(facts.parameters)],
  ["file, q8_0", `${count(sizeBytes)} bytes`],
  ["texts by SmolLM2, held out of them", `${count(facts.texts)}, ${facts.heldOutTexts}`],
  ["steps, tokens learned", `${count(facts.steps)}, ${count(facts.tokens)}`],
  [`perplexity on the ${count(facts.heldOutTokens)} held-out tokens that SmolLM2 wrote`, facts.perplexity!.toFixed(1)],
  ["of them, where both find the same token most probable", `${(100 * facts.agreement!).toFixed(1)} %`],
];
const table = ["| smollm2-draft | |", "| --- | --- |", ...rows.map((cells) => `| ${cells.join(" | ")} |`)].join("\n");
const picture = "![Loss of smollm2-draft: the cross-entropy with SmolLM2's distribution](images/smollm2-draft-loss.svg)";
const docs = readFileSync("docs/tiny.md", "utf8");
const [from, to] = ["<!-- docs:draft writes from here -->\n", "<!-- docs:draft ends -->"];
writeFileSync(
  "docs/tiny.md",
  `${docs.slice(0, docs.indexOf(from) + from.length)}\n${table}\n\n${picture}\n\n${docs.slice(docs.indexOf(to))}`,
);
execFileSync("npx", ["biome", "format", "--write", "docs/tiny.md"], { stdio: "ignore" });
process.stdout.write(`${table}\n`);
