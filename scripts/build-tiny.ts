// npm run build:tiny -- [--steps N] [--texts N] [--threads 2] [--work FOLDER] [--out FILE]
// Builds the model that the package ships: texts from registries and from SmolLM2, a vocabulary learned from them, a small llama, q8_0; then its
// perplexity on texts held out and its loss curve. Goes on where an earlier call stopped. docs/tiny.md says what is in it.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { load } from "../src/index.ts";
import { lossCurve, readTexts, type TrainFileOptions, trainFile, writeTexts } from "../src/training/index.ts";
import { openGguf, quantize } from "../src/weights/index.ts";
import { bibleChapters, declarationArticles, partsOf, shakespeareScenes } from "./tiny/sources.ts";

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "1600" },
    texts: { type: "string", default: "96" },
    threads: { type: "string", default: "2" },
    work: { type: "string", default: "node_modules/.tiny" },
    out: { type: "string", default: "assets/tiny.gguf" },
  },
});
const work = resolve(values.work);
mkdirSync(work, { recursive: true });
const say = (line: string) => process.stderr.write(`${line}\n`);
const seed = 1;

/** Texts per source; each thirty-second document is held out. */
async function collect(): Promise<Map<string, string[]>> {
  const written = join(work, "smollm2.jsonl");
  const count = Number(values.texts);
  if (count > 0) {
    await using smollm2 = await load("smollm2", { threads: Number(values.threads), onNotice: say });
    await writeTexts(smollm2, written, {
      ...{ count, maxTokens: 200, seed },
      onProgress: ({ texts, tokens }) => say(`SmolLM2 has written ${texts} of ${count} texts, ${tokens} tokens`),
    });
  }
  const dataFolder = process.env.CHAINRULE_DATA;
  return new Map([
    ["King James Bible", bibleChapters(join(work, "sources"))],
    ["Declaration of Human Rights", declarationArticles(join(work, "sources"))],
    ...(count > 0
      ? [
          [
            "SmolLM2",
            readTexts(written)
              .map(({ text }) => text.trim())
              .filter((text) => text !== ""),
          ] as [string, string[]],
        ]
      : []),
    ...(dataFolder === undefined ? [] : [["Shakespeare", shakespeareScenes(dataFolder)] as [string, string[]]]),
  ]);
}

// a work folder belongs to one set of sources
const identity = JSON.stringify({ texts: values.texts, hasDataFolder: process.env.CHAINRULE_DATA !== undefined });
const identityPath = join(work, "identity.json");
if (!existsSync(identityPath)) writeFileSync(identityPath, identity);
else if (readFileSync(identityPath, "utf8") !== identity)
  throw new Error(`${work} was begun with other sources; name another --work folder`);

const isHeldOut = (index: number) => index % 32 === 16;
const dataPath = join(work, "data.jsonl");
const heldOutPath = join(work, "held-out.json");
if (!existsSync(heldOutPath)) {
  const sources = await collect();
  const lines: string[] = [];
  for (const texts of sources.values())
    for (const [index, text] of texts.entries())
      if (!isHeldOut(index)) for (const part of partsOf(text)) lines.push(JSON.stringify({ text: part }));
  writeFileSync(dataPath, `${lines.join("\n")}\n`);
  const heldOut = [...sources].map(([name, texts]) => ({
    name,
    documents: texts.length,
    bytes: texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
    heldOut: texts.filter((_, index) => isHeldOut(index)),
  }));
  writeFileSync(heldOutPath, JSON.stringify(heldOut));
}

const run = join(work, "run");
const training: TrainFileOptions = {
  data: dataPath,
  start: {
    kind: "scratch",
    name: "tiny",
    shape: { hiddenSize: 192, blocks: 4, heads: 6, kvHeads: 3, contextLength: 256 },
    vocabulary: { size: 4096 },
  },
  ...{ out: run, steps: Number(values.steps), sequences: 4, length: 256, learningRate: 2e-3, validation: 0.02, seed, bad: "skip" },
  ...{ threads: Number(values.threads), resume: existsSync(run), validationWindows: 24 },
};
let shownMs = 0;
const result = await trainFile(training, {
  onStage: say,
  onNotice: say,
  onStart: ({ parameters, fromStep }) => say(`${parameters} parameters, from step ${fromStep}`),
  onProgress: ({ step, loss, validationLoss, tokensPerSecond, secondsLeft }) => {
    if (validationLoss === undefined && performance.now() - shownMs < 10_000) return;
    shownMs = performance.now();
    say(
      `step ${step} loss ${loss.toFixed(3)} held out ${validationLoss?.toFixed(3) ?? ""} ${Math.round(tokensPerSecond)} tokens/s, ${Math.round(secondsLeft)} s left`,
    );
  },
});
if (!result.isFinished) process.exit(1);

const small = join(work, "tiny.gguf");
await quantize(join(run, "model.gguf"), small, { type: "q8_0" });
mkdirSync(resolve(values.out, ".."), { recursive: true });
copyFileSync(small, values.out);
const metrics = readFileSync(join(run, "metrics.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));
writeFileSync("docs/images/tiny-loss.svg", lossCurve(metrics));

await using model = await load(small, { threads: Number(values.threads) });
/** Of what was held out, if anything was. */
const perplexity = (nats: number, count: number, digits: number) =>
  count === 0 ? "none held out" : Math.exp(nats / count).toFixed(digits);
const table = ["| source | documents | bytes | perplexity per token | per byte |", "| --- | --- | --- | --- | --- |"];
for (const { name, documents, bytes, heldOut } of JSON.parse(readFileSync(heldOutPath, "utf8"))) {
  let [nats, tokens, textBytes] = [0, 0, 0];
  for (const text of (heldOut as string[]).flatMap(partsOf)) {
    const { total, numScored, bytes: scoredBytes } = await model.score(text);
    nats -= total;
    tokens += numScored;
    textBytes += scoredBytes;
  }
  const cells = [name, documents, bytes.toLocaleString("en"), perplexity(nats, tokens, 1), perplexity(nats, textBytes, 2)];
  table.push(`| ${cells.join(" | ")} |`);
}
using file = openGguf(small);
const facts = `${statSync(small).size.toLocaleString("en")} bytes, ${result.step} steps, ${result.tokens.toLocaleString("en")} tokens learned; held-out loss of the last step ${metrics.findLast(({ validationLoss }) => validationLoss !== undefined)?.validationLoss.toFixed(3)} nats per token; ${values.texts} texts by SmolLM2; seed ${seed}.`;
const docs = readFileSync("docs/tiny.md", "utf8");
const [from, to] = ["<!-- build:tiny writes from here -->\n", "<!-- to here -->"];
writeFileSync(
  "docs/tiny.md",
  `${docs.slice(0, docs.indexOf(from) + from.length)}\n${facts}\n\n${table.join("\n")}\n\n${docs.slice(docs.indexOf(to))}`,
);
execFileSync("npx", ["biome", "format", "--write", "docs/tiny.md"], { stdio: "ignore" });
process.stdout.write(`${table.join("\n")}\n\n${values.out}: ${facts} ${file.fingerprint()}\n`);
