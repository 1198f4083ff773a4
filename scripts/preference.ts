// npm run recipe:preference -- [--model tiny] [--adapter lora,rank=8] [--pairs N] [--steps N] [--threads N] [--work FOLDER]
// Learning from preferences, end to end. A model goes on from openings several times; by rule the continuation with the shortest words is preferred to
// the one with the longest. Then a reward model is trained, and by DPO the model itself, and what they write after openings that neither has seen is
// compared with what the model wrote before. docs/preferences.md has the figures. Goes on where an earlier call stopped.
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type GenerateOptions, load, type Model } from "../src/index.ts";
import { trainFile } from "../src/training/index.ts";
import { each, heldOut, preferredShare, sampling, wordLength, writePairs } from "./preference/short-words.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "tiny" },
    adapter: { type: "string" },
    pairs: { type: "string", default: "480" },
    steps: { type: "string", default: "120" },
    "learning-rate": { type: "string" },
    threads: { type: "string", default: "2" },
    work: { type: "string", default: "node_modules/.preference" },
  },
});
const work = resolve(values.work);
mkdirSync(work, { recursive: true });
const threads = Number(values.threads);
const say = (line: string) => process.stderr.write(`${line}\n`);
const data = join(work, "pairs.jsonl");
await using base = await load(values.model, { threads, onNotice: say });
if (!existsSync(data)) {
  const onWritten = (count: number) => {
    if (count % 64 === 0) say(`${count} pairs of ${values.pairs}`);
  };
  writeFileSync(data, await writePairs(base, Number(values.pairs), { onWritten }));
}
say(`${readFileSync(data, "utf8").split("\n").length - 1} pairs, ${statSync(data).size} bytes`);

const report: string[] = [
  "| objective | loss, first step | last | held-out pairs ranked right, first look | last |",
  "| --- | --- | --- | --- | --- |",
];
for (const objective of ["reward", "dpo"]) {
  const out = join(work, objective);
  if (!existsSync(join(out, values.adapter === undefined ? "model.gguf" : "adapter"))) {
    await trainFile(
      {
        ...{ data, start: { kind: "model", path: base.path }, objective, out, resume: existsSync(out), validation: 0.1, threads, seed: 1 },
        ...(values.adapter === undefined
          ? { sequences: 8, learningRate: Number(values["learning-rate"] ?? 3e-4) }
          : { adapter: values.adapter, sequences: 2, accumulate: 4, learningRate: Number(values["learning-rate"] ?? 5e-4) }),
        ...{ steps: Number(values.steps), weightDecay: 0.05 },
      },
      {
        onStage: say,
        onProgress: ({ step, loss, accuracy, validationAccuracy }) => {
          if (validationAccuracy !== undefined)
            say(
              `${objective} step ${step} loss ${loss.toFixed(4)} right ${accuracy?.toFixed(2)} held out ${validationAccuracy.toFixed(2)}`,
            );
        },
      },
    );
  }
  const metrics = readFileSync(join(out, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const looks = metrics.flatMap(({ validationAccuracy }) => (validationAccuracy === undefined ? [] : [validationAccuracy]));
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  report.push(
    `| ${objective} | ${metrics[0].loss.toFixed(3)} | ${metrics.at(-1).loss.toFixed(3)} | ${percent(looks[0])} | ${percent(looks.at(-1))} |`,
  );
}

const result = (objective: string) => join(work, objective, values.adapter === undefined ? "model.gguf" : "adapter");
const isAdapter = values.adapter !== undefined;
await using guided = await load(values.model, {
  ...{ threads, onNotice: say },
  ...(isAdapter ? { adapters: { reward: result("reward"), dpo: result("dpo") } } : { beside: { reward: result("reward") } }),
});
await using tuned = isAdapter ? undefined : await load(result("dpo"), { threads, onNotice: say });

const reward = isAdapter ? { adapter: "reward" } : { model: "reward" };
const guide = (weight: number): GenerateOptions => ({ guide: { name: "reward", ...reward, weight } });
const variants: readonly { readonly name: string; readonly model: Model; readonly options: GenerateOptions }[] = [
  ...[0, 0.5, 1, 2].map((weight) => ({ name: `guide reward, weight ${weight}`, model: guided, options: guide(weight) })),
  {
    name: "best-of 4, judge reward",
    model: guided,
    options: { search: { name: "best-of", n: 4, judge: "reward", ...reward, prune: 0, first: 1 } },
  },
  { name: "dpo", model: tuned ?? guided, options: isAdapter ? { adapter: "dpo" } : {} },
];

/** Nats per token that a model gives a continuation. */
async function nats(model: Model, prompt: string, text: string, options: { adapter?: string } = {}): Promise<readonly [number, number]> {
  const before = model.tokenize(prompt, { bos: true });
  const tokens = model.tokenize(text, { bos: false });
  if (tokens.length === 0) return [0, 0];
  const { logprobs } = await model.score([...before, ...tokens], options);
  return [-logprobs.slice(before.length).reduce((sum: number, one) => sum + one!, 0), tokens.length];
}

await using judge = isAdapter ? undefined : await load(result("reward"), { threads, onNotice: say });
const rivals = await each(heldOut, async (prompt, i) => (await base.generate(prompt, { ...sampling, seed: 900_000 + i })).text);
report.push(
  "",
  "| held-out openings | preferred to the model's own | letters per word | nats per token to the model | to the reward model |",
  "| --- | --- | --- | --- | --- |",
);
for (const { name, model, options } of variants) {
  const texts = await each(
    heldOut,
    async (prompt, i) => (await model.generate(prompt, { ...sampling, seed: 500_000 + i, ...options })).text,
  );
  const mean = async (of: Model, how: { adapter?: string } = {}) => {
    const all = await each(heldOut, (prompt, i) => nats(of, prompt, texts[i]!, how));
    return (all.reduce((sum, [one]) => sum + one, 0) / all.reduce((sum, [, count]) => sum + count, 0)).toFixed(3);
  };
  const letters = texts.reduce((sum, text) => sum + wordLength(text), 0) / texts.length;
  const figures = [
    `${(100 * preferredShare(texts, rivals)).toFixed(0)} % of ${texts.length}`,
    letters.toFixed(2),
    await mean(base),
    await (isAdapter ? mean(guided, { adapter: "reward" }) : mean(judge!)),
  ];
  report.push(`| ${name} | ${figures.join(" | ")} |`);
  say(report.at(-1)!);
}
process.stdout.write(`${report.join("\n")}\n`);
