import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ffn } from "../../src/decoding/skipping/ffn.ts";
import { planWithout } from "../../src/decoding/skipping/skip.ts";
import { BlockDraw, SkipMeasures } from "../skip-measures.ts";
import { type Findings, median, perPass, type Row, type Setting, type Steps, show } from "./harness.ts";

const notes = ["The whole curves of both skips on SmolLM2 are in [skipping.md](skipping.md)."];
const signed = (share: number) => `${share < 0 ? "" : "+"}${(100 * share).toFixed(1)} %`;
/** Of the answer whose speed stands beside it. */
function passesOf({ result }: Awaited<ReturnType<SkipMeasures["speed"]>>): string {
  const { total, run } = result.facts.skips!;
  return `${perPass([result])}, ${(100 * (1 - run / total)).toFixed(0)} % of the half-blocks left out`;
}
const verdict = (isMet: boolean) => (isMet ? "met" : "missed");

function measuresOf({ model, pairs, isQuick, textFolder }: Setting, count: number): SkipMeasures | undefined {
  if (textFolder === undefined) return undefined;
  const tokens = isQuick ? 256 : count;
  const text = readFileSync(join(textFolder, "text/wikitext-2-test.txt"), "utf8").slice(0, 8 * tokens);
  return new SkipMeasures(model, model.tokenize(text).slice(0, tokens), pairs);
}
const unmeasured = ({ modelName }: Setting): Findings => ({
  rows: [],
  notes: [`Skips on ${modelName}: not measured, CHAINRULE_DATA is not set.`],
});

/** A quarter of the feed-forward halves, and the fewest that are worth it, beside random halves. */
async function ffnRows(setting: Setting): Promise<Findings> {
  const { model, modelName, say, isQuick } = setting;
  const measures = measuresOf(setting, 1024);
  if (measures === undefined) return unmeasured(setting);
  const numBlocks = model.config.blocks.length;
  const plain = (await measures.perplexities([() => undefined]))[0]!.perplexity;
  const random = new BlockDraw(numBlocks);
  const points: { share: number; loss: number; randomLoss: number; speed: Awaited<ReturnType<SkipMeasures["speed"]>> }[] = [];
  for (const share of isQuick ? [0.25] : [0.05, 0.1, 0.25]) {
    const count = Math.max(Math.round(share * numBlocks), 1);
    const skip = `ffn,budget=${count / numBlocks},threshold=0`;
    const draws = Array.from({ length: isQuick ? 1 : 5 }, () => planWithout(random.draw(count), "ffn"));
    const [ours, ...others] = await measures.perplexities([await measures.rowsOf(skip), ...draws.map((plan) => () => plan)]);
    const randomLoss = median(others.map(({ perplexity }) => perplexity)) / plain - 1;
    points.push({ share: count / numBlocks, loss: ours!.perplexity / plain - 1, randomLoss, speed: await measures.speed(skip) });
  }
  const quarter = points.at(-1)!;
  const most = Math.max(Math.round(0.25 * numBlocks), 1);
  const usual = Number(ffn.parameters.threshold!.default);
  const sweep: string[] = [];
  for (const threshold of isQuick ? [usual] : [0.99, 0.98, usual]) {
    const [ours] = await measures.perplexities([await measures.rowsOf(`ffn,budget=${most / numBlocks},threshold=${threshold}`)]);
    sweep.push(`${threshold}: ${ours!.skipped.toFixed(2)} halves, perplexity ${signed(ours!.perplexity / plain - 1)}`);
  }
  const describe = ({ share, loss, randomLoss, speed }: (typeof points)[number]) =>
    `${(100 * share).toFixed(0)} %: perplexity ${signed(loss)} (random ${signed(randomLoss)}), ${speed.median.toFixed(2)}x`;
  const isAim = quarter.speed.median >= 1.12 && quarter.loss <= 0.05;
  const isBetter = points.every(({ loss, randomLoss }) => loss < randomLoss);
  const best = points.filter(({ loss }) => loss <= 0.05).sort((a, b) => b.speed.median - a.speed.median)[0];
  const row: Row = {
    ...{ method: "skip ffn", model: modelName, claim: "25 to 30 % of the feed-forward halves left out at little loss (7 B parameters)" },
    figure: `${points.map(describe).join("; ")}; ${plain.toFixed(1)} without; by threshold, at most ${most} of ${numBlocks}: ${sweep.join("; ")}`,
    met: `${isAim ? "yes" : "no: a small model has no such saturation"}; 1.12x at +5 %: ${verdict(isAim)}, best within +5 %: ${best === undefined ? "none" : describe(best)}; better than random at each share: ${verdict(isBetter)}`,
    speed: show(quarter.speed),
    passes: passesOf(quarter.speed),
  };
  say(`  ffn: ${row.figure}, ${row.speed}`);
  return { rows: [row], notes };
}

/** Whole blocks fewer and fewer along the answer, beside early exit and random blocks; the headline is the largest speed within +10 %. */
async function layersRows(setting: Setting): Promise<Findings> {
  const { model, modelName, say, isQuick } = setting;
  const measures = measuresOf(setting, 512);
  if (measures === undefined) return unmeasured(setting);
  const numBlocks = model.config.blocks.length;
  const plain = (await measures.perplexities([() => undefined]))[0]!.perplexity;
  const random = new BlockDraw(numBlocks);
  const lastFirst = Array.from({ length: numBlocks }, (_, index) => numBlocks - 1 - index);
  const points: { count: number; loss: number; exit: number; randomLoss: number; speed: Awaited<ReturnType<SkipMeasures["speed"]>> }[] = [];
  for (const count of isQuick ? [2] : [1, 2, 3, 4]) {
    const to = (numBlocks - count) / numBlocks;
    const orders = [lastFirst, ...Array.from({ length: isQuick ? 1 : 5 }, () => random.draw(count))];
    const variants = [await measures.rowsOf(`layers,to=${to}`), ...orders.map((order) => measures.falling(to, order))];
    const [ours, exit, ...others] = (await measures.perplexities(variants)).map(({ perplexity }) => perplexity / plain - 1);
    points.push({ count, loss: ours!, exit: exit!, randomLoss: median(others), speed: await measures.speed(`layers,to=${to}`) });
  }
  const describe = ({ count, loss, exit, randomLoss, speed }: (typeof points)[number]) =>
    `to ${numBlocks - count}: perplexity ${signed(loss)} (early exit ${signed(exit)}, random blocks ${signed(randomLoss)}), ${speed.median.toFixed(3)}x`;
  const headline = points.filter(({ loss }) => loss <= 0.1).sort((a, b) => b.speed.median - a.speed.median)[0];
  const row: Row = {
    ...{ method: "skip layers", model: modelName, claim: "2 to 5 times faster at little loss, after fine-tuning with the schedule" },
    figure: `of ${numBlocks} blocks, ${points.map(describe).join("; ")}`,
    met: `no: the model is not fine-tuned for it; within +10 %: ${headline === undefined ? "no point" : `${headline.speed.median.toFixed(3)}x, to ${numBlocks - headline.count} blocks`}; better than random blocks at each: ${verdict(points.every(({ loss, randomLoss }) => loss < randomLoss))}, than early exit: ${verdict(points.every(({ loss, exit }) => loss < exit))}`,
    speed: show((headline ?? points[0]!).speed),
    passes: passesOf((headline ?? points[0]!).speed),
  };
  say(`  layers: ${row.figure}`);
  return { rows: [row], notes };
}

export const skipSteps: Steps = { ffn: ffnRows, layers: layersRows };
