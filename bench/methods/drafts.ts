import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { AdaptiveState, adaptive } from "../../src/decoding/drafting/adaptive.ts";
import type { DraftState, DraftTree } from "../../src/decoding/drafting/draft.ts";
import { NgramState } from "../../src/decoding/drafting/ngram.ts";
import { clairvoyantGain, expectedGain } from "../../src/decoding/drafting/worth.ts";
import { RandomNumbers } from "../../src/decoding/sampling/random.ts";
import type { CostCurve } from "../../src/engine/index.ts";
import type { GenerateOptions, GenerateResult, Prompt } from "../../src/index.ts";
import { cutModel, defaultHome, findInstalled } from "../../src/models/index.ts";
import type { TokenId } from "../../src/token.ts";
import { transferMapsPath } from "../../src/training/index.ts";
import {
  alternate,
  curveAmid,
  type Findings,
  kinds,
  mean,
  median,
  percent,
  perPass,
  promptsOf,
  type Row,
  repeatedShare,
  type Setting,
  type Steps,
  show,
  prompts as written,
} from "./harness.ts";

const targetOfAims = "smollm2:q4_0";
/** Settings that `auto` is compared with: the best of them in hindsight, by kind of prompt. */
const fixed = ["ngram,nodes=1", "ngram,nodes=3", "ngram,nodes=7", "adaptive,nodes=3", "adaptive,nodes=7"];
const fixedRounds = 3;

/**
 * The speed-up of a draft that knows, before each pass, what of the proposals would be accepted, and verifies just that, by this run's curve. It
 * proposes with the methods that `auto` has: a draft that knew the future outright would be as fast on every text.
 */
export async function clairvoyant(prompt: readonly TokenId[], tokens: readonly TokenId[], curve: CostCurve): Promise<number> {
  const states: DraftState[] = [
    new NgramState({ nodes: 15, longest: 4, shortest: 1 }, prompt),
    new AdaptiveState({ nodes: 7, depth: 3, iterations: 60 }, 0, prompt),
  ];
  const push = (token: TokenId) => {
    for (const state of states) state.advance(token);
  };
  push(tokens[0]!);
  let cost = 0;
  let written = 1;
  while (written < tokens.length) {
    const rest = tokens.slice(written);
    let longest = 0;
    for (const state of states) {
      const tree = await state.propose({ maxNodes: 15, maxDepth: Math.max(rest.length - 1, 1) });
      longest = Math.max(longest, acceptedOf(tree, rest));
    }
    const gain = (count: number) => (1 + count) / curve.ratio(1 + count);
    let best = 0;
    for (let count = 1; count <= longest; count += 1) if (gain(count) > gain(best)) best = count;
    cost += curve.ratio(1 + best);
    for (let step = 0; step <= best && written < tokens.length; step += 1) {
      push(tokens[written]!);
      written += 1;
    }
  }
  return (tokens.length - 1) / cost;
}

/** Length of the path of a tree that is the beginning of a text. */
function acceptedOf({ tokens, parents }: DraftTree, text: readonly TokenId[]): number {
  let at = -1;
  for (let length = 0; length < text.length; length += 1) {
    const next = tokens.findIndex((token, index) => parents[index] === at && token === text[length]);
    if (next === -1) return length;
    at = next;
  }
  return text.length;
}

/** `auto` on one kind of prompt: against plain, against the best fixed setting in hindsight, against a draft that knows what is accepted. */
async function autoRow(setting: Setting, kind: (typeof kinds)[number]): Promise<Findings> {
  const { model, modelName, pairs, say, isQuick } = setting;
  const hasTarget = modelName === targetOfAims;
  const prompts = await promptsOf(setting, kind);
  // the best fixed setting is looked for where there is an aim to hold against it
  const best = hasTarget ? await bestFixed(setting, prompts, isQuick ? 1 : fixedRounds) : undefined;
  const compared = [{}, { draft: "auto" }, ...(best === undefined ? [] : [{ draft: best }])];
  const { ratios, rounds, results } = await alternate(setting, prompts, compared, pairs, true);
  const [plains, autos] = [results[0]!, results[1]!];
  const ideals: number[] = [];
  const shares: number[] = [];
  for (const [index, { tokens }] of plains.entries()) {
    const prompt = (await model.layOut(prompts[index]!)).tokens;
    ideals.push(await clairvoyant(prompt, tokens, await curveAmid(setting, [prompts[index]!])));
    shares.push(repeatedShare(prompt, tokens));
  }
  const [auto, ideal, share] = [ratios[1]!, mean(ideals), mean(shares)];
  const fixedBest = ratios[2] ?? { median: 1, low: 1, high: 1 };
  // round by round, since prompts of a kind differ; "off" is a fixed setting, too
  const against = median(rounds[1]!.map((ratio, round) => ratio / (fixedBest.median > 1 ? rounds[2]![round]! : 1)));
  const ofIdeal = median(rounds[1]!.map((ratio, round) => ratio / ideals[round % ideals.length]!));
  const curve = await curveAmid(setting, prompts);
  const omniscient = clairvoyantGain(curve, (plains[0]?.tokens.length ?? 1) - 1);
  const aims = [
    `${percent(against)} of the best fixed setting (aim 90 %: ${verdict(against >= 0.9)})`,
    `${percent(ofIdeal)} of the clairvoyant one (aim 75 %: ${verdict(ofIdeal >= 0.75)}); of one that is told the answer ${percent(auto.median / omniscient)} (75 %: ${verdict(auto.median >= 0.75 * omniscient)})`,
    ...(share >= 0.85 ? [`aim 1.6 for copied text: ${verdict(auto.median >= 1.6)}`] : []),
    `aim 0.97: ${verdict(auto.median >= 0.97)}`,
  ];
  const bestText = best === undefined ? "" : `; best fixed \`${fixedBest.median >= 1 ? best : "off"}\` ${show(fixedBest)}`;
  say(`  auto on ${kind}: ${show(auto)}${bestText}, clairvoyant ${ideal.toFixed(2)}, ${percent(share)} from the context`);
  const row: Row = {
    method: "draft auto",
    model: modelName,
    claim: `the same tokens in less time (${kind})`,
    figure: `${expected(autos, curve)}${bestText}; clairvoyant ${ideal.toFixed(2)} (a draft that is told the answer: ${omniscient.toFixed(2)}); ${percent(share)} of 4-grams from the context`,
    met: `${auto.median > 1.02 ? "yes" : auto.median >= 0.97 ? "even: guesses are not verified where they would not pay" : "no"}${hasTarget ? `; ${aims.join("; ")}` : ""}`,
    speed: show(auto),
    passes: perPass(autos),
  };
  return { rows: [row] };
}

const verdict = (isMet: boolean) => (isMet ? "met" : "missed");

interface Fixed {
  readonly draft: string;
  readonly method: string;
  readonly claim: string;
  readonly kinds: readonly (typeof kinds)[number][];
  readonly options?: GenerateOptions;
  /** Why it may lose here. */
  readonly loses: string;
}

/** One setting, on prompts of some kinds together. */
async function fixedRow(setting: Setting, { draft, method, claim, kinds: on, options = {}, loses }: Fixed): Promise<Row> {
  const { modelName, pairs, say, isQuick } = setting;
  const prompts = (await Promise.all(on.map((kind) => promptsOf({ ...setting, numPrompts: 1 }, kind))))
    .flat()
    .slice(0, isQuick ? 1 : undefined);
  const { ratios, results } = await alternate(setting, prompts, [options, { ...options, draft }], pairs, true);
  const curve = await curveAmid(setting, prompts);
  const others = results[1]!.flatMap(({ facts }) => facts.models ?? []);
  const theirs =
    others.length === 0
      ? ""
      : `; its own ${mean(others.map(({ passes }) => passes)).toFixed(0)} passes took ${mean(others.map(({ computeMs }) => computeMs)).toFixed(0)} of ${mean(results[1]!.map(({ timings }) => timings.completionMs)).toFixed(0)} ms`;
  const exits = results[1]![0]!.facts.choices.find(({ what }) => what === "draft exits");
  say(`  ${draft}: ${show(ratios[1]!)}; ${expected(results[1]!, curve)}`);
  return {
    ...{ method: `draft ${method}`, model: modelName, claim },
    figure: `${on.length > 2 ? "all kinds" : on.join(", ")}: ${expected(results[1]!, curve)}${theirs}${exits === undefined ? "" : `; exits: ${exits.chosen}`}`,
    met: ratios[1]!.median > 1.02 ? "yes" : `no: ${loses}`,
    speed: show(ratios[1]!),
    passes: perPass(results[1]!),
  };
}

const rowsCost = "the passes of several rows cost more than the accepted tokens save";
const copies = ["copying"] as const;
const six = kinds.slice(0, 6);

async function ngramRow(setting: Setting): Promise<Findings> {
  const claim = "2 to 3 times faster where the answer copies";
  return { rows: [await fixedRow(setting, { draft: "ngram", method: "ngram", claim, kinds: copies, loses: rowsCost })] };
}

async function adaptiveRow(setting: Setting): Promise<Findings> {
  const claim = "up to 2.5 times faster without training";
  const fixed = { draft: "adaptive", method: "adaptive", claim, loses: rowsCost };
  const rows = [await fixedRow(setting, { ...fixed, kinds: copies }), await fixedRow(setting, { ...fixed, kinds: six })];
  return { rows: [...rows, await documentRow(setting)] };
}

/** What the adaptive matrix gathers along a text that repeats itself, and on the same tokens shuffled: no model writes, the text is what follows. */
async function documentRow({ model, modelName, say, isQuick }: Setting): Promise<Row> {
  const text = JSON.stringify(written.records, null, 2);
  const tokens = model.tokenize(text, { bos: false }).slice(0, isQuick ? 90 : undefined);
  const random = new RandomNumbers(7);
  const shuffled = [...tokens];
  for (let index = shuffled.length - 1; index > 0; index -= 1) {
    const other = Math.floor(random.next() * (index + 1));
    [shuffled[index], shuffled[other]] = [shuffled[other]!, shuffled[index]!];
  }
  const [asItStands, mixed] = [await perPassAlong(tokens), await perPassAlong(shuffled)];
  const line = (parts: readonly number[]) => parts.map((one) => one.toFixed(2)).join(", ");
  const figure = `tokens per pass in the thirds of a list of ${written.records.length} JSON records (${tokens.length} tokens): ${line(asItStands)}; of the same tokens shuffled: ${line(mixed)}`;
  say(`  adaptive along a text: ${figure}`);
  const isMet = asItStands.at(-1)! > 1.5 && asItStands.at(-1)! > asItStands[0]! && Math.max(...mixed) < 1.25;
  return {
    ...{ method: "draft adaptive", model: modelName },
    claim: "learns while it reads: above 1.5 tokens per pass on repetitive text and rising along it, 1.0 to 1.2 on shuffled text",
    ...{ figure, met: isMet ? "yes" : "no", passes: "none: the text is given" },
  };
}

/** Tokens gained per pass in each third of a text, if it is what the model writes. */
async function perPassAlong(tokens: readonly TokenId[]): Promise<number[]> {
  const usual = (name: string) => Number(adaptive.parameters[name]!.default);
  const values = { nodes: usual("nodes"), depth: usual("depth"), iterations: usual("iterations") };
  const state = new AdaptiveState(values, 0, tokens.slice(0, 2));
  const ends = [1, 2, 3].map((part) => Math.floor((part * tokens.length) / 3));
  const rates: number[] = [];
  let at = 2;
  for (const end of ends) {
    const from = at;
    let passes = 0;
    while (at < end) {
      const rest = tokens.slice(at);
      const tree = await state.propose({ maxNodes: values.nodes, maxDepth: Math.max(rest.length - 1, 1) });
      const taken = Math.min(1 + acceptedOf(tree, rest), rest.length);
      for (const token of rest.slice(0, taken)) state.advance(token);
      at += taken;
      passes += 1;
    }
    rates.push((at - from) / Math.max(passes, 1));
  }
  return rates;
}

/** A cut of the model's own first four blocks, and smollm2-draft where it is installed. */
async function modelRows(setting: Setting): Promise<Findings> {
  const { modelName } = setting;
  const claim = "2 to 3 times faster with a draft model 10 to 50 times smaller";
  const loses = "a cut that was never trained guesses little, and each guess is a pass of its own with the whole head";
  const cut = await cutOf(setting);
  const rows = [
    await fixedRow(setting, {
      draft: `model,model=${cut}`,
      method: "model",
      claim: `${claim} (here: the model's own first 4 blocks, untrained)`,
      kinds: six,
      loses,
    }),
  ];
  const notes: string[] = [];
  if (modelName.startsWith("smollm2")) {
    const trained = await trainedDraftOf(setting);
    if (trained === undefined) notes.push("`smollm2-draft` was not installed: `chainrule pull smollm2-draft` builds it.");
    else {
      const tiny = {
        method: "model",
        claim: `${claim} (here: smollm2-draft, 5.2 M parameters)`,
        kinds: six,
        loses: "it guesses too little of what it is asked for what its passes and the wider pass cost",
      };
      rows.push(await fixedRow(setting, { ...tiny, draft: `model,model=${trained}` }));
      rows.push(
        await fixedRow(setting, {
          ...tiny,
          method: "auto",
          claim: "considers a draft model at what its passes cost (smollm2-draft)",
          draft: `auto,model=${trained}`,
        }),
      );
    }
  }
  return { rows, notes };
}

async function nestedRows(setting: Setting): Promise<Findings> {
  const claim = "a draft left at the first sure exit beats one of a fixed size (exits trained for it)";
  const loses = "exits of a model that was not trained for them are hardly ever right";
  const cut = await cutOf(setting);
  const blocks = setting.model.config.blocks.length;
  const own = { draft: "nested", method: "nested", claim: `${claim} (here: the model's own blocks, untrained)`, kinds: six, loses };
  const cutRow = { ...own, draft: `nested,model=${cut},exits=2;4`, claim: `${claim} (here: a cut of 4 blocks, untrained)` };
  const withExits = async (fixed: Fixed, exits: readonly number[]) => {
    const row = await fixedRow(setting, fixed);
    return { ...row, figure: `${row.figure}; ${await exitsOf(setting, fixed.draft.split(",exits=")[0]!, exits)}` };
  };
  return { rows: [await withExits(own, [Math.ceil(blocks / 4), Math.ceil(blocks / 2)]), await withExits(cutRow, [2, 4])] };
}

/** The choice among exits beside each of them alone: guesses that were right, and how many a thousand blocks of drafting gave. */
async function exitsOf(setting: Setting, draft: string, exits: readonly number[]): Promise<string> {
  const { model, maxTokens, isQuick } = setting;
  const prompts = (await Promise.all(six.map((kind) => promptsOf({ ...setting, numPrompts: 1 }, kind))))
    .flat()
    .slice(0, isQuick ? 1 : undefined);
  const measure = async (name: string, list: readonly number[]) => {
    let [drafted, accepted, blocks] = [0, 0, 0];
    for (const prompt of prompts) {
      const { facts } = await model.generate(prompt, { maxTokens, ignoreEndTokens: true, draft: `${draft},exits=${list.join(";")}` });
      drafted += facts.drafts!.drafted;
      accepted += facts.drafts!.accepted;
      // "8 blocks: 48, 15 blocks: 109": tokens that each exit gave, which ran all blocks below it
      const chosen = facts.choices.find(({ what }) => what === "draft exits")?.chosen ?? "";
      for (const [, depth, count] of chosen.matchAll(/(\d+) blocks: (\d+)/g)) blocks += Number(depth) * Number(count);
    }
    return `${name} ${percent(accepted / Math.max(drafted, 1))} right, ${((1000 * accepted) / Math.max(blocks, 1)).toFixed(1)}`;
  };
  const parts = [await measure(`chosen ${exits.join(" or ")} blocks`, exits)];
  for (const exit of exits) parts.push(await measure(`always ${exit}`, [exit]));
  return `guesses by exit, and those accepted per 1,000 blocks of drafting: ${parts.join("; ")}`;
}

async function transferRow(setting: Setting): Promise<Findings> {
  const { model, modelName } = setting;
  if (!existsSync(transferMapsPath(model.path)))
    return {
      rows: [],
      notes: [`draft \`hidden-transfer\` on ${modelName}: no maps; \`chainrule distill --model ${modelName}\` trains them.`],
    };
  const claim = "1.5 to 2.6 times faster with three trained maps (7 B parameters, on a GPU)";
  const loses = "its probes are rows of every pass, and a row costs here what it costs a wide pass";
  return { rows: [await fixedRow(setting, { draft: "hidden-transfer", method: "hidden-transfer", claim, kinds: six, loses })] };
}

/** File of smollm2-draft, for models of its vocabulary and where it was built. */
export async function trainedDraftOf({ modelName }: Setting): Promise<string | undefined> {
  if (!modelName.startsWith("smollm2")) return undefined;
  return (await findInstalled(defaultHome(process.env, process.platform, homedir()), "smollm2-draft"))?.path;
}

/** The model's first four blocks, as a model. */
export async function cutOf({ model, scratch }: Setting): Promise<string> {
  const path = join(scratch, `${model.hash.slice(0, 8)}.cut4.gguf`);
  if (!existsSync(path)) await cutModel(model.path, path, { blocks: 4 });
  return path;
}

export const draftSteps: Steps = {
  ...Object.fromEntries(kinds.map((kind) => [`auto-${kind.replaceAll(" ", "-")}`, (setting: Setting) => autoRow(setting, kind)])),
  ngram: ngramRow,
  adaptive: adaptiveRow,
  model: modelRows,
  nested: nestedRows,
  "hidden-transfer": transferRow,
};

async function bestFixed(setting: Setting, prompts: readonly Prompt[], rounds: number): Promise<string> {
  const { ratios } = await alternate(setting, prompts, [{}, ...fixed.map((draft) => ({ draft }))], rounds, true);
  const medianOf = (draft: string) => ratios[1 + fixed.indexOf(draft)]!.median;
  return fixed.reduce((a, b) => (medianOf(b) > medianOf(a) ? b : a));
}

/** Tokens gained per pass against its cost: (1 + accepted) / (T(rows) / T(1)), with both numbers. */
function expected(results: readonly GenerateResult[], curve: CostCurve): string {
  const widths = results.flatMap(({ facts }) => facts.drafts!.byWidth);
  const sum = (of: (width: (typeof widths)[number]) => number) => widths.reduce((total, width) => total + of(width), 0);
  const [passes, drafted, accepted] = [
    sum((width) => width.passes),
    sum((width) => width.passes * width.drafted),
    sum((width) => width.accepted),
  ];
  if (passes === 0) return "no pass after the prompt's";
  const gain = expectedGain(curve, widths);
  const cost = (passes + accepted) / passes / gain;
  const share = drafted === 0 ? "" : `, ${percent(accepted / drafted)} of ${(drafted / results.length).toFixed(0)} drafted tokens accepted`;
  return `expected gain (1 + ${(accepted / passes).toFixed(2)}) / ${cost.toFixed(2)} = ${gain.toFixed(2)} at ${(1 + drafted / passes).toFixed(1)} rows${share}`;
}
