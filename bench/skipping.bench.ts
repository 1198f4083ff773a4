// npm run bench:skipping -- [--models smollm2:q4_0,smollm2] [--tokens 2048] [--pairs 15] [--threads 2]: what skipping costs in perplexity and gains in
// speed, beside random choices of the same size. Writes the tables of the two models into docs/skipping.md, each as soon as it is measured, and prints those of others. Text: CHAINRULE_DATA.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ffn } from "../src/decoding/skipping/ffn.ts";
import { blocksOf, layers } from "../src/decoding/skipping/layers.ts";
import type { BlockPlan } from "../src/engine/index.ts";
import { load } from "../src/index.ts";
import { writeBetween } from "./page.ts";
import { BlockDraw, ffnRule, planOf, SkipMeasures, scoredRows } from "./skip-measures.ts";
import { median } from "./statistics.ts";

const { values: options } = parseArgs({
  options: {
    models: { type: "string", default: "smollm2:q4_0,smollm2" },
    tokens: { type: "string", default: "2048" },
    pairs: { type: "string", default: "15" },
    threads: { type: "string", default: "2" },
  },
});
const data = process.env.CHAINRULE_DATA ?? "";
if (data === "") throw new Error("set CHAINRULE_DATA to the folder with text/wikitext-2-test.txt");
const draws = 5;
const first = Number(layers.parameters.first!.default);

async function tablesOf(modelName: string): Promise<string[]> {
  await using model = await load(modelName, { threads: Number(options.threads), context: 1024, prefixCacheBytes: 0 });
  const numBlocks = model.config.blocks.length;
  const text = readFileSync(join(data, "text/wikitext-2-test.txt"), "utf8").slice(0, 6 * Number(options.tokens));
  const tokens = model.tokenize(text).slice(0, Number(options.tokens));
  const prices = await model.skipPrices();

  const measures = new SkipMeasures(model, tokens, Number(options.pairs));
  const random = new BlockDraw(numBlocks);

  const lines: string[] = [];
  const plain = (await measures.perplexity(() => undefined, false)).perplexity;
  console.log(`${modelName}: perplexity ${plain.toFixed(2)} over ${tokens.length} tokens`);
  const percent = (value: number) => `${(100 * (value / plain - 1)).toFixed(1)} %`;
  lines.push(
    `Model ${modelName}, ${options.threads} threads, ${tokens.length} tokens of WikiText-2 (test), windows of 256 of which the first half is read in full. Perplexity without skipping: ${plain.toFixed(2)}.`,
    "",
  );
  lines.push(
    "| feed-forward halves left out per token | `ffn`: perplexity | random halves (median of 5) | `ffn`: decode against plain |",
    "| --- | --- | --- | --- |",
  );
  for (const count of [1, 2, 3, 4, 6, 8, 11, 15].filter((most) => most <= numBlocks / 2)) {
    const ours = await measures.perplexity(() => ffnRule(prices, count, 0), true);
    const others: number[] = [];
    for (let draw = 0; draw < draws; draw += 1) {
      const plan = planOf(random.draw(count), ["ffn"]);
      others.push((await measures.perplexity(() => plan, false)).perplexity);
    }
    const ratio = await measures.speed(`ffn,budget=${count / numBlocks},threshold=0`);
    lines.push(
      `| ${ours.skipped.toFixed(2)} of ${numBlocks} | +${percent(ours.perplexity)} | +${percent(median(others))} | ${ratio.median.toFixed(3)} [${ratio.low.toFixed(3)}, ${ratio.high.toFixed(3)}] |`,
    );
    console.log(lines.at(-1));
  }
  const quarter = Math.round(numBlocks / 4);
  lines.push(
    "",
    `| threshold, at most ${quarter} halves | halves left out per token | \`ffn\`: perplexity | \`ffn\`: decode against plain |`,
    "| --- | --- | --- | --- |",
  );
  for (const threshold of [Number(ffn.parameters.threshold!.default), 0.9, 0.8, 0.6, 0]) {
    const ours = await measures.perplexity(() => ffnRule(prices, quarter, threshold), true);
    const ratio = await measures.speed(`ffn,budget=${quarter / numBlocks},threshold=${threshold}`);
    lines.push(
      `| ${threshold} | ${ours.skipped.toFixed(2)} of ${numBlocks} | +${percent(ours.perplexity)} | ${ratio.median.toFixed(3)} [${ratio.low.toFixed(3)}, ${ratio.high.toFixed(3)}] |`,
    );
    console.log(lines.at(-1));
  }
  lines.push(
    "",
    "| blocks run at the end of the answer | `layers`: perplexity | early exit | random blocks (median of 5) | `layers`: decode against plain |",
    "| --- | --- | --- | --- | --- |",
  );
  for (const count of [1, 2, 3, 4, 6, 10, 15].filter((most) => most <= numBlocks / 2)) {
    const to = (numBlocks - count) / numBlocks;
    const rows = scoredRows;
    const plans = new Map<number, BlockPlan>();
    const planAt = (make: (left: number) => BlockPlan) => (row: number) => {
      const left = numBlocks - blocksOf({ blocks: numBlocks, from: 1, to, first }, row, rows);
      if (!plans.has(left)) plans.set(left, make(left));
      return plans.get(left)!;
    };
    const both = ["attn", "ffn"];
    const range = (from: number, length: number) => Array.from({ length }, (_, index) => from + index);
    const ours = await measures.perplexity(
      planAt((left) => planOf(range(first, left), both)),
      false,
    );
    plans.clear();
    const exit = await measures.perplexity(
      planAt((left) => planOf(range(numBlocks - left, left), both)),
      false,
    );
    const others: number[] = [];
    for (let draw = 0; draw < draws; draw += 1) {
      plans.clear();
      const order = random.draw(count);
      others.push(
        (
          await measures.perplexity(
            planAt((left) => planOf(order.slice(0, left), both)),
            false,
          )
        ).perplexity,
      );
    }
    const ratio = await measures.speed(`layers,to=${to}`);
    lines.push(
      `| ${numBlocks - count} of ${numBlocks} | +${percent(ours.perplexity)} | +${percent(exit.perplexity)} | +${percent(median(others))} | ${ratio.median.toFixed(3)} [${ratio.low.toFixed(3)}, ${ratio.high.toFixed(3)}] |`,
    );
    console.log(lines.at(-1));
  }
  return lines;
}

const page = "docs/skipping.md";
for (const modelName of options.models.split(",")) {
  const lines = await tablesOf(modelName);
  const marker = `<!-- table of ${modelName}: npm run bench:skipping -->`;
  if (readFileSync(page, "utf8").includes(marker)) writeBetween(page, marker, lines.join("\n"));
}
