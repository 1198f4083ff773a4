import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { each, heldOut, preferredShare, sampling, wordLength, writePairs } from "../../scripts/preference/short-words.ts";
import type { GenerateOptions } from "../../src/index.ts";
import { defaultHome } from "../../src/models/index.ts";
import { heldOutRanking, trainFile } from "../../src/training/index.ts";
import { alternate, type Findings, mean, onePerKind, percent, perPass, type Row, type Setting, show } from "./harness.ts";

const weights = [0, 0.5, 1, 2];
/** Where the models with the adapter are asked to train it: the head of a large vocabulary takes a training several times as long. */
const trainable = /^smollm2/;
/** No training goes on for longer (it takes some five on two quiet cores): the next run goes on with it. */
const mostMinutes = 20;

/** A reward model of the writing model and a small LoRA: what is written after held-out openings at several weights. */
export async function rewardRows(setting: Setting): Promise<Findings> {
  const { model, modelName, pairs, say, isQuick } = setting;
  const adapter = await rewardAdapter(setting);
  if (typeof adapter !== "string") return { rows: [], notes: [adapter.missing] };
  const name = "liking";
  await model.loadAdapter(adapter, { name });
  try {
    const openings = heldOut.slice(0, isQuick ? 2 : undefined);
    const maxTokens = isQuick ? 8 : sampling.maxTokens;
    const write = (seed: number, options: GenerateOptions) =>
      each(openings, (prompt, i) => model.generate(prompt, { ...sampling, maxTokens, logprobs: 0, seed: seed + i, ...options }));
    const rivals = (await write(900_000, {})).map(({ text }) => text);
    const curve = async (reward: object) => {
      const points = [];
      for (const weight of weights) {
        const answers = await write(500_000, { guide: { name: "reward", weight, ...reward } });
        const texts = answers.map(({ text }) => text);
        const nats = answers.flatMap(({ logprobs }) => logprobs!.map(({ logprob }) => -logprob));
        points.push({ preferred: preferredShare(texts, rivals), letters: mean(texts.map(wordLength)), nats: mean(nats) });
      }
      return points;
    };
    const guided = await curve({ adapter: name });
    // what a reward adds to the model's own log-probabilities makes the answer sharper, whatever it likes
    const blind = await curve({ model: model.withAdapters(`${name},scale=0`) });
    const list = await onePerKind(setting);
    const { ratios, results } = await alternate(setting, list, [{}, { guide: `reward,adapter=${name},weight=1` }], pairs, false);
    const ranking = heldOutRanking(adapter);
    const line = (points: typeof guided, of: (point: (typeof guided)[number]) => string) => points.map(of).join(", ");
    const figure = [
      `at weights ${weights.join(", ")} ${line(guided, ({ preferred }) => percent(preferred))} of ${openings.length} texts have shorter words than the model's own, which is what was liked; with a reward that likes nothing ${line(blind, ({ preferred }) => percent(preferred))}`,
      `letters per word ${line(guided, ({ letters }) => letters.toFixed(2))}`,
      `nats per token to the model ${line(guided, ({ nats }) => nats.toFixed(2))} (${line(blind, ({ nats }) => nats.toFixed(2))})`,
      ...(ranking === undefined ? [] : [`the reward ranks ${percent(ranking.share)} of ${ranking.numPairs ?? "the"} held-out pairs right`]),
    ].join("; ");
    const above = guided.map(({ preferred }, index) => preferred - blind[index]!.preferred).slice(1);
    const isMet = above.every((gain) => gain > 0) && above.at(-1)! >= above[0]!;
    say(`  reward: ${figure}, ${show(ratios[1]!)}`);
    const row: Row = {
      ...{ method: "guide reward", model: modelName },
      claim: "a small reward model turns a frozen one at every token, the more the larger its weight (7 B parameters)",
      figure,
      met: isMet ? "yes" : `no: ${ranking !== undefined && ranking.share < 0.6 ? "the reward learned little" : "not at every weight"}`,
      speed: show(ratios[1]!),
      passes: perPass(results[1]!),
    };
    return { rows: [row] };
  } finally {
    await model.unloadAdapter(name);
  }
}

/** The adapter that was given or kept, or one trained now; why there is none. */
async function rewardAdapter(setting: Setting): Promise<string | { readonly missing: string }> {
  const { model, modelName, rewardAdapter: given, isQuick, scratch, say } = setting;
  if (given !== undefined) return given;
  const home = join(defaultHome(process.env, process.platform, homedir()), "bench");
  const folder = isQuick ? join(scratch, "liking") : join(home, `liking-${model.hash.slice(0, 16)}`);
  const out = join(folder, "reward");
  const adapter = join(out, "adapter");
  if (existsSync(adapter)) return adapter;
  const recipe = `npm run recipe:preference -- --model ${modelName} --adapter lora,rank=8 --pairs 96 --steps 24 --work DIR`;
  if (!trainable.test(modelName))
    return {
      missing: `guide \`reward\` on ${modelName}: no adapter; \`${recipe}\` trains one, and \`--reward DIR/reward/adapter\` reads it.`,
    };
  mkdirSync(folder, { recursive: true });
  const data = join(folder, "pairs.jsonl");
  if (!existsSync(data)) {
    say("  reward: writing pairs");
    writeFileSync(data, await (isQuick ? writePairs(model, 16, { maxTokens: 8 }) : writePairs(model, 96)));
  }
  say(`  reward: training an adapter, at most ${mostMinutes} minutes`);
  const { isFinished, step } = await trainFile(
    {
      ...{ data, start: { kind: "model", path: model.path }, adapter: "lora,rank=8", objective: "reward", out, resume: existsSync(out) },
      ...{ steps: isQuick ? 1 : 24, sequences: 2, accumulate: isQuick ? 1 : 4, learningRate: 5e-4, weightDecay: 0.05, validation: 0.1 },
      ...{ threads: model.threads, seed: 1, validateEvery: isQuick ? 1 : 6 },
    },
    {
      signal: AbortSignal.timeout(60_000 * mostMinutes),
      onProgress: ({ step, loss, validationAccuracy, secondsLeft }) => {
        if (validationAccuracy !== undefined)
          say(`  reward: step ${step}, loss ${loss.toFixed(3)}, held out ${percent(validationAccuracy)}, ${secondsLeft.toFixed(0)} s left`);
      },
    },
  );
  if (isFinished) return adapter;
  return {
    missing: `guide \`reward\` on ${modelName}: its adapter had ${step} of 24 steps after ${mostMinutes} minutes; the next run goes on with it.`,
  };
}
