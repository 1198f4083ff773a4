import { readFileSync } from "node:fs";
import { join } from "node:path";
import { blocksOf, layers } from "../../src/decoding/skipping/layers.ts";
import type { BlockPlan } from "../../src/engine/index.ts";
import { BlockDraw, ffnRule, planOf, SkipMeasures, scoredRows } from "../skip-measures.ts";
import { type Findings, median, type Row, type Setting, show } from "./harness.ts";

/** One point of each method; the curves are in docs/skipping.md. */
export async function skipRows(setting: Setting): Promise<Findings> {
  const { model, modelName, pairs, say, isQuick, textFolder } = setting;
  if (textFolder === undefined) return { rows: [], notes: [`Skips on ${modelName}: not measured, CHAINRULE_DATA is not set.`] };
  const count = isQuick ? 256 : 1024;
  const text = readFileSync(join(textFolder, "text/wikitext-2-test.txt"), "utf8").slice(0, 8 * count);
  const measures = new SkipMeasures(model, model.tokenize(text).slice(0, count), pairs);
  const numBlocks = model.config.blocks.length;
  const prices = await model.skipPrices();
  const plain = (await measures.perplexity(() => undefined, false)).perplexity;
  const percent = (value: number) => `+${(100 * (value / plain - 1)).toFixed(1)} %`;
  const random = new BlockDraw(numBlocks);
  const quarter = Math.round(numBlocks / 4);
  const ours = await measures.perplexity(() => ffnRule(prices, quarter, 0), true);
  const others: number[] = [];
  for (let draw = 0; draw < (isQuick ? 1 : 5); draw += 1) {
    const plan = planOf(random.draw(quarter), ["ffn"]);
    others.push((await measures.perplexity(() => plan, false)).perplexity);
  }
  const speed = await measures.speed("ffn,budget=0.25,threshold=0");
  const ffn: Row = {
    ...{ method: "skip ffn", model: modelName, claim: "25 to 30 % of the feed-forward halves left out at little loss (7 B parameters)" },
    figure: `at 25 %: perplexity ${percent(ours.perplexity)} (${plain.toFixed(1)} without), random halves ${percent(median(others))}`,
    met: `${speed.median >= 1.12 && ours.perplexity <= 1.05 * plain ? "yes" : "no: a small model has no such saturation"}; better than random: ${ours.perplexity < median(others) ? "yes" : "no"}`,
    speed: show(speed),
  };
  say(`  ffn: ${ffn.figure}, ${ffn.speed}`);
  // two blocks fewer at the end: what a model that was not trained for it stands
  const first = Number(layers.parameters.first!.default);
  const to = (numBlocks - 2) / numBlocks;
  const plans = new Map<number, BlockPlan>();
  const planAt = (row: number) => {
    const left = numBlocks - blocksOf({ blocks: numBlocks, from: 1, to, first }, row, scoredRows);
    if (!plans.has(left))
      plans.set(
        left,
        planOf(
          Array.from({ length: left }, (_, index) => first + index),
          ["attn", "ffn"],
        ),
      );
    return plans.get(left)!;
  };
  const skipped = await measures.perplexity(planAt, false);
  const layerSpeed = await measures.speed(`layers,to=${to}`);
  const layer: Row = {
    ...{ method: "skip layers", model: modelName, claim: "2 to 5 times faster at little loss, after fine-tuning with the schedule" },
    figure: `to ${numBlocks - 2} of ${numBlocks} blocks: perplexity ${percent(skipped.perplexity)}`,
    met: "no: the model is not fine-tuned for it",
    speed: show(layerSpeed),
  };
  say(`  layers: ${layer.figure}, ${layer.speed}`);
  return { rows: [ffn, layer], notes: ["The whole curves of both skips are in [skipping.md](skipping.md)."] };
}
