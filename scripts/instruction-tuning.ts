// npm run recipe:instruction -- [--model smollm2] [--judge gemma3-270m] [--steps N] [--threads N] [--work FOLDER]
// Instruction tuning from end to end: pairs made by rule, a LoRA, the held-out answers' loss before and after, and a judge model's scores of the
// answers before and after, the judge's reliability measured first. Goes on where an earlier call stopped. docs/instruction-tuning.md has the figures.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { load, type Model } from "../src/index.ts";
import { trainFile } from "../src/training/index.ts";
import { Judgements, judgesOf, type RecipeJudge, reliability } from "./instruction-tuning/judges.ts";
import { makePairs, type Pair } from "./instruction-tuning/pairs.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2" },
    judge: { type: "string", default: "gemma3-270m" },
    steps: { type: "string", default: "120" },
    threads: { type: "string", default: "2" },
    work: { type: "string", default: "node_modules/.instruction-tuning" },
    "judge-only": { type: "boolean", default: false },
  },
});
const work = resolve(values.work);
const threads = Number(values.threads);
const say = (line: string) => process.stderr.write(`${line}\n`);
const user = (content: string) => [{ role: "user" as const, content }];

mkdirSync(work, { recursive: true });
// made once: the documentation may change before a run is gone on with
const made = join(work, "pairs.json");
if (!existsSync(made)) {
  const reference = readFileSync(new URL("../docs/cli.md", import.meta.url), "utf8");
  writeFileSync(made, JSON.stringify(makePairs(join(work, "sources"), reference)));
}
const pairs: Pair[] = JSON.parse(readFileSync(made, "utf8"));
const [learned, heldOut] = [pairs.filter(({ isHeldOut }) => !isHeldOut), pairs.filter(({ isHeldOut }) => isHeldOut)];
say(`${pairs.length} pairs, ${heldOut.length} of them held out`);
const data = join(work, "pairs.jsonl");
const rows = learned.map(({ question, answer }) => JSON.stringify({ instruction: question, input: "", output: answer }));
const text = `${rows.join("\n")}\n`;
if (!existsSync(data) || readFileSync(data, "utf8") !== text) writeFileSync(data, text); // its time tells a run to be resumed that it is the same

const out = join(work, "run");
if (!existsSync(join(out, "adapter")) && !values["judge-only"]) {
  const path = await pathOf(values.model);
  let shownMs = 0;
  await trainFile(
    {
      ...{ data, start: { kind: "model", path }, adapter: "lora,rank=8,alpha=16,targets=q;v", out, resume: existsSync(out) },
      ...{ steps: Number(values.steps), sequences: 2, accumulate: 2, length: 256, learningRate: 1e-3, threads, seed: 1 },
    },
    {
      onStage: say,
      onNotice: say,
      onProgress: ({ step, steps, loss, validationLoss, secondsLeft }) => {
        if (validationLoss === undefined && performance.now() - shownMs < 10_000) return;
        shownMs = performance.now();
        say(`step ${step} of ${steps} loss ${loss.toFixed(3)} ${validationLoss?.toFixed(3) ?? ""} ${Math.round(secondsLeft)} s left`);
      },
    },
  );
}

/** Where a model's file is, fetched if it isn't there. */
async function pathOf(name: string): Promise<string> {
  await using model = await load(name, { onNotice: say });
  return model.path;
}

/** Whose answers are looked at: the model's with the adapter, and without. */
const versions = ["before", "after"] as const;
type Version = (typeof versions)[number];
const adapterOf = (version: Version) => (version === "after" ? { adapter: "tuned" } : {});

/** Nats of an answer, the end of its turn included, and its tokens. */
async function answerLoss(model: Model, { question, answer }: Pair, version: Version): Promise<readonly [nats: number, tokens: number]> {
  const prompt = await model.encode(user(question));
  const whole = await model.render([...user(question), { role: "assistant", content: answer }], { addGenerationPrompt: false });
  const tokens = model.tokenize(whole, { special: true, bos: false });
  const end = tokens.findLastIndex((id) => model.tokenizer.endTokens.has(id)) + 1;
  const { logprobs } = await model.score(tokens.slice(0, end), adapterOf(version));
  const own = logprobs.slice(prompt.length);
  return [-own.reduce((sum: number, one) => sum + one!, 0), own.length];
}

/** Whether a text is Vietnamese: at least a tenth of its letters have marks that only Vietnamese has. */
function isVietnamese(answer: string): boolean {
  const letters = answer.normalize("NFC").match(/\p{L}/gu) ?? [];
  return (
    letters.filter((letter) => /[ăâđêôơưàảãạằẳẵặầẩẫậèẻẽẹềểễệìỉĩịòỏõọồổỗộờởỡợùủũụừửữựỳỷỹỵáắấéếíóốớúứý]/iu.test(letter)).length >=
    letters.length / 10
  );
}

interface Answers {
  readonly losses: Record<Version, (readonly [number, number])[]>;
  readonly texts: Record<Version, string[]>;
}

async function answersOf(): Promise<Answers> {
  const path = join(work, "answers.json");
  if (existsSync(path)) return JSON.parse(readFileSync(path, "utf8"));
  await using model = await load(values.model, { threads, adapters: { tuned: join(out, "adapter") }, onNotice: say });
  const found: Answers = { losses: { before: [], after: [] }, texts: { before: [], after: [] } };
  for (const version of versions) {
    for (const pair of heldOut) found.losses[version].push(await answerLoss(model, pair, version));
    say(`${version}: the loss of ${heldOut.length} held-out answers is measured`);
    for (let from = 0; from < heldOut.length; from += 8) {
      const part = heldOut
        .slice(from, from + 8)
        .map(({ question }) => model.generate(user(question), { maxTokens: 96, ...adapterOf(version) }));
      found.texts[version].push(...(await Promise.all(part)).map(({ text }) => text));
      say(`${version}: ${found.texts[version].length} of ${heldOut.length} questions answered`);
    }
  }
  writeFileSync(path, JSON.stringify(found));
  return found;
}

/** What the tuning costs in plain English: the perplexity of a text of ours that no pair is made of. */
async function englishPerplexities(): Promise<Record<Version, number>> {
  const path = join(work, "english.json");
  if (existsSync(path)) return JSON.parse(readFileSync(path, "utf8"));
  await using model = await load(values.model, { threads, adapters: { tuned: join(out, "adapter") }, onNotice: say });
  const prose = readFileSync(new URL("../docs/architecture.md", import.meta.url), "utf8");
  const perplexity = async (version: Version) => (await model.score(prose, { window: 512, ...adapterOf(version) })).perplexity;
  const found = { before: await perplexity("before"), after: await perplexity("after") };
  writeFileSync(path, JSON.stringify(found));
  return found;
}

/** Says how long the rest takes, from the second score on and then every ten seconds. */
function pacer(score: RecipeJudge["score"], most: number): RecipeJudge["score"] {
  let [startMs, done, shownMs] = [Number.NaN, 0, Number.NEGATIVE_INFINITY];
  return async (question, answer) => {
    if (done === 0) startMs = performance.now();
    const found = await score(question, answer);
    done += 1;
    const now = performance.now();
    if (done > 1 && now - shownMs > 10_000) {
      shownMs = now;
      say(
        `${done} scores, at most ${most} wanted: ${Math.ceil(((now - startMs) / done / 60_000) * Math.max(0, most - done))} min left for this judge`,
      );
    }
    return found;
  };
}

const groups = [
  { name: "English, declaration", has: ({ language, source }: Pair) => language === "English" && source === "declaration" },
  { name: "Vietnamese, declaration", has: ({ language }: Pair) => language === "Vietnamese" },
  { name: "documentation", has: ({ source }: Pair) => source === "documentation" },
];
/** The right answer against that to another question of the same kind and language, the next whose answer is another one. */
const knownPairs = (pairs: readonly Pair[]) =>
  groups.flatMap(({ has }) => {
    const kin = pairs.filter(has);
    return kin.map(({ question, answer }, i) => {
      const others = [...kin.slice(i + 1), ...kin.slice(0, i)];
      return { question, good: answer, bad: others.find((other) => other.answer !== answer && !question.includes(other.answer))!.answer };
    });
  });
const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
const report: string[] = [];

if (!values["judge-only"]) {
  const { losses, texts } = await answersOf();
  report.push("| held-out answers | count | loss before | after | in Vietnamese before | after |", "| --- | --- | --- | --- | --- | --- |");
  for (const { name, has } of [...groups, { name: "all", has: () => true }]) {
    const places = heldOut.flatMap((pair, i) => (has(pair) ? [i] : []));
    const loss = (version: Version) => {
      const [nats, tokens] = places.reduce(([a, b], i) => [a + losses[version][i]![0], b + losses[version][i]![1]], [0, 0]);
      return (nats / tokens).toFixed(3);
    };
    const share = (version: Version) => percent(places.filter((i) => isVietnamese(texts[version][i]!)).length / places.length);
    report.push(`| ${name} | ${places.length} | ${loss("before")} | ${loss("after")} | ${share("before")} | ${share("after")} |`);
  }
  const { before, after } = await englishPerplexities();
  const more = percent(after / before - 1);
  report.push("", "| other English text | perplexity before | after | more |", "| --- | --- | --- | --- |");
  report.push(`| docs/architecture.md | ${before.toFixed(2)} | ${after.toFixed(2)} | ${more} |`);
}

{
  await using judge = await load(values.judge, { threads, onNotice: say });
  // the judge has learned none of the pairs, so it is measured on every seventh of the learned ones too: 58 alone leave too much to chance
  const known = [heldOut, learned.filter((_, i) => i % 7 === 3)].flatMap(knownPairs);
  const judgements = new Judgements(join(work, "judgements.jsonl"));
  const judges = judgesOf(judge).map((one) => judgements.of(one, values.judge));
  const scored = 2 * known.length + (values["judge-only"] ? 0 : 2 * heldOut.length); // the right answers are scored in either part
  say(`judging: at most ${judges.length} x ${scored} scores by ${values.judge}, ${judgements.count} of them are there already`);
  const measured = [`| judge, a prompt of ${values.judge} | prefers the right answer | 95 % interval | |`, "| --- | --- | --- | --- |"];
  const tables: string[] = [];
  for (const { name, score } of judges) {
    const one = { name, score: pacer(score, scored) };
    const { share, low, high, count } = await reliability(one, known);
    const verdict = low > 0.5 ? "above chance" : "at chance: its scores say nothing here";
    measured.push(`| ${name} | ${percent(share)} of ${count} | ${percent(low)} to ${percent(high)} | ${verdict} |`);
    say(measured.at(-1)!);
    if (low > 0.5 && !values["judge-only"]) tables.push("", ...(await answersJudgedBy(one)));
  }
  if (tables.length === 0 && !values["judge-only"]) tables.push("", "No judge is above chance: the answers are not judged.");
  report.push("", ...measured, ...tables);
}

async function answersJudgedBy(judge: RecipeJudge): Promise<string[]> {
  const { texts } = await answersOf();
  const scores: { before: number; after: number; right: number }[] = [];
  for (const [i, { question, answer }] of heldOut.entries()) {
    const [before, after] = versions.map((version) => texts[version][i]!) as [string, string];
    scores.push({
      before: await judge.score(question, before),
      after: await judge.score(question, after),
      right: await judge.score(question, answer),
    });
  }
  const rows = [...groups, { name: "all", has: () => true }].map(({ name, has }) => {
    const some = scores.filter((_, i) => has(heldOut[i]!));
    const mean = (key: keyof (typeof scores)[number]) => (some.reduce((sum, score) => sum + score[key], 0) / some.length).toFixed(2);
    const wins = some.reduce((sum, { before, after }) => sum + (after > before ? 1 : after === before ? 0.5 : 0), 0);
    return `| ${name} | ${mean("before")} | ${mean("after")} | ${mean("right")} | ${percent(wins / some.length)} |`;
  });
  const table = [
    `| score by ${judge.name} | before | after | right answer | after is better |`,
    "| --- | --- | --- | --- | --- |",
    ...rows,
  ];
  say(table.join("\n"));
  return table;
}

process.stdout.write(`${report.join("\n")}\n`);
