import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { each, heldOut, preferredShare, sampling, wordLength, writePairs } from "../../scripts/preference/short-words.ts";
import type { GenerateOptions } from "../../src/index.ts";
import { defaultHome } from "../../src/models/index.ts";
import { heldOutRanking, type TrainProgress, trainFile } from "../../src/training/index.ts";
import { trainedDraftOf } from "./drafts.ts";
import { alternate, type Findings, mean, onePerKind, percent, perPass, type Row, type Setting, show } from "./harness.ts";

const weights = [0, 0.5, 1, 2];
const weakPairs = 480;
/** No training goes on for longer (SmolLM2's takes some five on two quiet cores): the next run goes on with it. */
const mostMinutes = 20;

/** A reward model of the writing model and a small LoRA. */
export async function rewardRows(setting: Setting): Promise<Findings> {
  const { model } = setting;
  const adapter = await rewardAdapter(setting);
  if (typeof adapter !== "string") return { rows: [], notes: [adapter.missing] };
  const name = "liking";
  await model.loadAdapter(adapter, { name });
  try {
    const row = await rewardRow(setting, {
      ...{ who: "the model itself with a LoRA, 96 pairs", ranking: heldOutRanking(adapter) },
      ...{ reward: { adapter: name }, blind: { model: model.withAdapters(`${name},scale=0`) } },
    });
    return { rows: [row] };
  } finally {
    await model.unloadAdapter(name);
  }
}

/** A reward model 26 times smaller than the model that it steers, trained whole on more pairs: weak to strong. */
export async function weakRewardRows(setting: Setting): Promise<Findings> {
  const weak = await trainedDraftOf(setting);
  if (weak === undefined) return { rows: [] };
  const trained = await weakReward(setting, weak);
  const row = await rewardRow(setting, {
    ...{ who: `smollm2-draft, 5.2 M parameters, trained whole on ${weakPairs} pairs`, ranking: heldOutRanking(trained) },
    ...{ reward: { model: trained }, blind: { model: weak } },
  });
  return { rows: [row] };
}

interface Liking {
  readonly who: string;
  /** The guide's parameters of the reward, and of what it was before it liked anything. */
  readonly reward: object;
  readonly blind: object;
  readonly ranking: ReturnType<typeof heldOutRanking>;
}

/** What is written after held-out openings at several weights. */
async function rewardRow(setting: Setting, { who, reward, blind, ranking }: Liking): Promise<Row> {
  const { model, modelName, pairs, say, isQuick } = setting;
  const openings = heldOut.slice(0, isQuick ? 2 : undefined);
  const maxTokens = isQuick ? 8 : sampling.maxTokens;
  const write = (seed: number, options: GenerateOptions) =>
    each(openings, (prompt, i) => model.generate(prompt, { ...sampling, maxTokens, logprobs: 0, seed: seed + i, ...options }));
  const rivals = (await write(900_000, {})).map(({ text }) => text);
  const curve = async (liking: object) => {
    const points = [];
    for (const weight of weights) {
      const answers = await write(500_000, { guide: { name: "reward", weight, ...liking } });
      const texts = answers.map(({ text }) => text);
      const nats = answers.flatMap(({ logprobs }) => logprobs!.map(({ logprob }) => -logprob));
      points.push({ preferred: preferredShare(texts, rivals), letters: mean(texts.map(wordLength)), nats: mean(nats) });
    }
    return points;
  };
  const guided = await curve(reward);
  // what a reward adds to the model's own log-probabilities makes the answer sharper, whatever it likes
  const unguided = await curve(blind);
  const list = await onePerKind(setting);
  const { ratios, results } = await alternate(setting, list, [{}, { guide: { name: "reward", weight: 1, ...reward } }], pairs, false);
  const line = (points: typeof guided, of: (point: (typeof guided)[number]) => string) => points.map(of).join(", ");
  const figure = [
    `at weights ${weights.join(", ")} ${line(guided, ({ preferred }) => percent(preferred))} of ${openings.length} texts have shorter words than the model's own, which is what was liked; with a reward that likes nothing ${line(unguided, ({ preferred }) => percent(preferred))}`,
    `letters per word ${line(guided, ({ letters }) => letters.toFixed(2))} (${line(unguided, ({ letters }) => letters.toFixed(2))})`,
    `nats per token to the model ${line(guided, ({ nats }) => nats.toFixed(2))} (${line(unguided, ({ nats }) => nats.toFixed(2))})`,
    ...(ranking === undefined ? [] : [`the reward ranks ${percent(ranking.share)} of ${ranking.numPairs ?? "the"} held-out pairs right`]),
  ].join("; ");
  // by the letters, since the share of texts comes near 100 %
  const gains = guided.map(({ letters }, index) => unguided[index]!.letters - letters).slice(1);
  const isMet = gains.every((gain, index) => gain > (gains[index - 1] ?? 0));
  say(`  reward, ${who}: ${figure}, ${show(ratios[1]!)}`);
  return {
    ...{ method: "guide reward", model: modelName },
    claim: `a small reward model turns a frozen one at every token, the more the larger its weight (7 B parameters; here: ${who})`,
    figure,
    met: isMet ? "yes" : `no: ${ranking !== undefined && ranking.share < 0.6 ? "the reward learned little" : "not at every weight"}`,
    speed: show(ratios[1]!),
    passes: perPass(results[1]!),
  };
}

/** The adapter that was given or kept, or one trained now; why there is none. */
async function rewardAdapter(setting: Setting): Promise<string | { readonly missing: string }> {
  const { model, modelName, rewardAdapter: given, isQuick, say } = setting;
  if (given !== undefined) return given;
  const folder = folderOf(setting);
  const out = join(folder, "reward");
  const adapter = join(out, "adapter");
  if (existsSync(adapter)) return adapter;
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
    { signal: AbortSignal.timeout(60_000 * mostMinutes), onProgress: tellProgress(say) },
  );
  if (isFinished) return adapter;
  return {
    missing: `guide \`reward\` on ${modelName}: its adapter had ${step} of 24 steps after ${mostMinutes} minutes; the next run goes on with it.`,
  };
}

/** The weak model trained on pairs that the model itself wrote; kept. */
async function weakReward(setting: Setting, weak: string): Promise<string> {
  const { model, isQuick, say } = setting;
  const folder = folderOf(setting);
  mkdirSync(folder, { recursive: true });
  const out = join(folder, "weak");
  const trained = join(out, "model.gguf");
  if (existsSync(trained)) return trained;
  const data = join(folder, "pairs-for-weak.jsonl");
  if (!existsSync(data)) {
    say(`  reward: writing ${weakPairs} pairs`);
    writeFileSync(data, await (isQuick ? writePairs(model, 16, { maxTokens: 8 }) : writePairs(model, weakPairs)));
  }
  say("  reward: training the weak model");
  await trainFile(
    {
      ...{ data, start: { kind: "model", path: weak }, objective: "reward", out, resume: existsSync(out) },
      ...{ steps: isQuick ? 1 : 120, sequences: 8, learningRate: 3e-4, weightDecay: 0.05, validation: 0.1 },
      ...{ threads: model.threads, seed: 1, validateEvery: isQuick ? 1 : 20 },
    },
    { onProgress: tellProgress(say) },
  );
  return trained;
}

/** Where pairs and what is trained on them are kept. */
function folderOf({ model, isQuick, scratch }: Setting): string {
  const home = join(defaultHome(process.env, process.platform, homedir()), "bench");
  return isQuick ? join(scratch, "liking") : join(home, `liking-${model.hash.slice(0, 16)}`);
}

const tellProgress =
  (say: Setting["say"]) =>
  ({ step, loss, validationAccuracy, secondsLeft }: TrainProgress) => {
    if (validationAccuracy !== undefined)
      say(`  reward: step ${step}, loss ${loss.toFixed(3)}, held out ${percent(validationAccuracy)}, ${secondsLeft.toFixed(0)} s left`);
  };
