import { AdaptiveState } from "../../src/decoding/drafting/adaptive.ts";
import type { DraftState, DraftTree } from "../../src/decoding/drafting/draft.ts";
import { NgramState } from "../../src/decoding/drafting/ngram.ts";
import type { CostCurve } from "../../src/engine/index.ts";
import type { GenerateResult, Prompt } from "../../src/index.ts";
import type { TokenId } from "../../src/token.ts";
import { alternate, type Findings, kinds, mean, percent, promptsOf, type Row, repeatedShare, type Setting, show } from "./harness.ts";

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

export async function draftRows(setting: Setting): Promise<Findings> {
  const { model, modelName, pairs, say, isQuick } = setting;
  const curve = await model.costCurve({ remeasure: true });
  const line = curve.points.map(({ rows, ratio }) => `${rows}: ${ratio.toFixed(2)}`).join(", ");
  const rows: Row[] = [];
  const hasTarget = modelName === "smollm2:q4_0";
  for (const kind of kinds) {
    const prompts = await promptsOf(setting, kind);
    // the best fixed setting is looked for where there is an aim to hold against it
    const best = hasTarget ? await bestFixed(setting, prompts, isQuick ? 1 : fixedRounds) : undefined;
    const compared = [{}, { draft: "auto" }, ...(best === undefined ? [] : [{ draft: best }])];
    const { ratios, results } = await alternate(setting, prompts, compared, pairs, true);
    const [plains, autos] = [results[0]!, results[1]!];
    const ideals: number[] = [];
    const shares: number[] = [];
    for (const [index, { tokens }] of plains.entries()) {
      const prompt = (await model.layOut(prompts[index]!)).tokens;
      ideals.push(await clairvoyant(prompt, tokens, curve));
      shares.push(repeatedShare(prompt, tokens));
    }
    const [auto, ideal, share] = [ratios[1]!, mean(ideals), mean(shares)];
    const fixedBest = ratios[2] ?? { median: 1, low: 1, high: 1 };
    const against = auto.median / Math.max(fixedBest.median, 1); // "off" is a fixed setting, too
    const ofIdeal = auto.median / ideal;
    const wants = [
      `${percent(against)} of the best fixed setting (aim 90 %)${against >= 0.9 ? "" : ": missed"}`,
      `${percent(ofIdeal)} of the clairvoyant one (aim 75 %)${ofIdeal >= 0.75 ? "" : ": missed"}`,
      ...(share >= 0.85 ? [`aim 1.6 for copied text${auto.median >= 1.6 ? "" : ": missed"}`] : []),
      ...(auto.median >= 0.97 ? [] : ["below 0.97: missed"]),
    ];
    rows.push({
      method: "draft auto",
      model: modelName,
      claim: `the same tokens in less time (${kind})`,
      figure: `${expected(autos, curve)}${best === undefined ? "" : `; best fixed \`${fixedBest.median >= 1 ? best : "off"}\` ${show(fixedBest)}`}; clairvoyant ${ideal.toFixed(2)}; ${percent(share)} of 4-grams from the context`,
      met: `${auto.median > 1.02 ? "yes" : auto.median >= 0.97 ? "even" : "no"}${hasTarget ? `; ${wants.join("; ")}` : ""}`,
      speed: show(auto),
      passes: perPass(autos),
    });
    say(
      `  ${kind}: auto ${show(auto)}, best fixed ${best ?? "not looked for"} ${show(fixedBest)}, clairvoyant ${ideal.toFixed(2)}, ${percent(share)} from the context`,
    );
  }
  for (const draft of ["ngram", "adaptive"]) {
    const prompts = await promptsOf(setting, "copying");
    const { ratios, results } = await alternate(setting, prompts, [{}, { draft }], pairs, true);
    rows.push({
      method: `draft ${draft}`,
      model: modelName,
      claim: draft === "ngram" ? "2 to 3 times faster where the answer copies" : "up to 2.5 times faster without training",
      figure: `copying: ${expected(results[1]!, curve)}`,
      met: ratios[1]!.median > 1.02 ? "yes" : "no: the passes of several rows cost more than the accepted tokens save",
      speed: show(ratios[1]!),
      passes: perPass(results[1]!),
    });
    say(`  ${draft} on copying: ${show(ratios[1]!)}`);
  }
  return { rows, notes: [`T(n)/T(1) of this run, ${modelName}: ${line}; one row takes ${curve.singleRowMs.toFixed(2)} ms.`] };
}

async function bestFixed(setting: Setting, prompts: readonly Prompt[], rounds: number): Promise<string> {
  const { ratios } = await alternate(setting, prompts, [{}, ...fixed.map((draft) => ({ draft }))], rounds, true);
  const medianOf = (draft: string) => ratios[1 + fixed.indexOf(draft)]!.median;
  return fixed.reduce((a, b) => (medianOf(b) > medianOf(a) ? b : a));
}

/** Tokens gained per pass against its cost: (1 + accepted) / (T(rows) / T(1)), with both numbers. */
function expected(results: readonly GenerateResult[], curve: CostCurve): string {
  const passes = mean(results.map(({ facts }) => facts.passes - 1));
  const accepted = mean(results.map(({ facts }) => facts.drafts!.accepted)) / passes;
  const rows = Math.max(mean(results.map(({ facts, usage }) => facts.rows - usage.promptTokens)) / passes, 1);
  const gain = (1 + accepted) / curve.ratio(rows);
  const drafted = mean(results.map(({ facts }) => facts.drafts!.drafted));
  const share = drafted === 0 ? "" : `, ${percent(mean(results.map(({ facts }) => facts.drafts!.accepted)) / drafted)} of drafts accepted`;
  return `expected gain (1 + ${accepted.toFixed(2)}) / ${curve.ratio(rows).toFixed(2)} = ${gain.toFixed(2)} at ${rows.toFixed(1)} rows${share}`;
}

function perPass(results: readonly GenerateResult[]): string {
  return `${mean(results.map(({ facts }) => facts.passes)).toFixed(0)} passes, ${mean(results.map(({ facts }) => facts.tokensPerPass)).toFixed(2)} tokens each`;
}
