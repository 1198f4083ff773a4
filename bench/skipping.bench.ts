// npm run bench:skipping -- [--model NAME] [--tokens 2048] [--pairs 15] [--threads 2]: what skipping costs in perplexity and gains in
// speed, beside random choices of the same size. Writes the table between the markers of docs/skipping.md. Text: CHAINRULE_DATA.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { warmBlocks } from "../src/decoding/skipping/ffn.ts";
import { blocksOf, layers } from "../src/decoding/skipping/layers.ts";
import type { BlockPlan, SkipRule } from "../src/engine/index.ts";
import { load } from "../src/index.ts";
import type { TokenId } from "../src/token.ts";
import { median, summarize } from "./statistics.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2" },
    tokens: { type: "string", default: "2048" },
    pairs: { type: "string", default: "15" },
    threads: { type: "string", default: "2" },
  },
});
const folder = process.env.CHAINRULE_DATA;
if (folder === undefined) throw new Error("set CHAINRULE_DATA to the folder with text/wikitext-2-test.txt");
await using model = await load(options.model, { threads: Number(options.threads), context: 1024, prefixCacheBytes: 0 });
const numBlocks = model.config.blocks.length;
const window = 256;
const text = readFileSync(join(folder, "text/wikitext-2-test.txt"), "utf8").slice(0, 6 * Number(options.tokens));
const tokens = model.tokenize(text).slice(0, Number(options.tokens));
const prices = await model.skipPrices();

/** Perplexity over windows of which the first half is read in full, as a prompt is; and the share of half-blocks left out. */
async function perplexity(blocksOfRow: (row: number) => BlockPlan | SkipRule | undefined, isRule: boolean) {
  let [sum, count, skipped] = [0, 0, 0];
  for (let from = 0; from + window <= tokens.length; from += window) {
    const part = tokens.slice(from, from + window);
    const half = window / 2;
    using sequence = model.sequence();
    await sequence.forward({ input: part.slice(0, half) });
    const rows = part.slice(half, -1);
    const score = async (input: readonly TokenId[], targets: readonly TokenId[], blocks: BlockPlan | SkipRule | undefined) => {
      const want = { logits: "all", top: 1, scores: targets.map((token) => [token]) } as const;
      const result = await sequence.forward({ input, want, ...(blocks === undefined ? {} : { blocks }) });
      for (const { candidates, scores, skipped: left = isRule ? [] : Object.keys(blocks ?? {}) } of result.rows) {
        sum += scores![0]! - candidates!.logSumExp;
        skipped += left.length;
        count += 1;
      }
    };
    // one request where every row may run the same blocks or a rule decides; else token by token
    if (isRule || blocksOfRow(0) === blocksOfRow(rows.length - 1)) await score(rows, part.slice(half + 1), blocksOfRow(0));
    else for (const [row, token] of rows.entries()) await score([token], [part[half + 1 + row]!], blocksOfRow(row));
  }
  return { perplexity: Math.exp(-sum / count), skipped: skipped / count };
}

/** Decode speed of a skip against none, alternating. */
async function speed(skip: string | undefined) {
  const prompt = tokens.slice(0, 64);
  const rate = async (given: string | undefined) => {
    const { timings } = await model.generate(prompt, {
      maxTokens: 65,
      ignoreEndTokens: true,
      ...(given === undefined ? {} : { skip: given }),
    });
    return timings.completionTokensPerSecond;
  };
  await rate(skip);
  const ratios: number[] = [];
  for (let pair = 0; pair < Number(options.pairs); pair += 1) {
    const order = pair % 2 === 0 ? [skip, undefined] : [undefined, skip];
    const rates = new Map<string | undefined, number>();
    for (const one of order) rates.set(one, await rate(one));
    ratios.push(rates.get(skip)! / rates.get(undefined)!);
  }
  return summarize(ratios);
}

function rule(budget: number, threshold: number): SkipRule {
  const warm = warmBlocks(prices, budget);
  return {
    ...{ name: "ffn", decides: warm.map((block) => `blocks.${block}.ffn`), start: () => ({ left: budget, on: false }) },
    next(state, block, _half, { ffnCosine }) {
      const own = state as { left: number; on: boolean };
      const before = warm[warm.indexOf(block) - 1];
      own.on ||= before !== undefined && (ffnCosine[before] ?? -1) >= threshold;
      if (!own.on || own.left === 0) return "run";
      own.left -= 1;
      return "skip";
    },
  };
}

const planOf = (blocks: readonly number[], halves: readonly string[]): BlockPlan =>
  Object.fromEntries(blocks.flatMap((block) => halves.map((half) => [`blocks.${block}.${half}`, false] as const)));
let state = 7;
function randomBlocks(count: number): number[] {
  const left = Array.from({ length: numBlocks }, (_, block) => block);
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return left.splice(state % left.length, 1)[0]!;
  });
}
const draws = 5;
const first = Number(layers.parameters.first!.default);

const lines: string[] = [];
const plain = (await perplexity(() => undefined, false)).perplexity;
console.log(`plain: perplexity ${plain.toFixed(2)} over ${tokens.length} tokens`);
const percent = (value: number) => `${(100 * (value / plain - 1)).toFixed(1)} %`;
lines.push(
  `Model ${options.model}, ${options.threads} threads, ${tokens.length} tokens of WikiText-2 (test), windows of ${window} of which the first half is read in full. Perplexity without skipping: ${plain.toFixed(2)}.`,
  "",
);
lines.push(
  "| feed-forward halves left out per token | `ffn`: perplexity | random halves (median of 5) | `ffn`: decode against plain |",
  "| --- | --- | --- | --- |",
);
for (const count of [1, 2, 3, 4, 6, 8]) {
  const ours = await perplexity(() => rule(count, 0), true);
  const others: number[] = [];
  for (let draw = 0; draw < draws; draw += 1) {
    const plan = planOf(randomBlocks(count), ["ffn"]);
    others.push((await perplexity(() => plan, false)).perplexity);
  }
  const ratio = await speed(`ffn,budget=${count / numBlocks},threshold=0`);
  lines.push(
    `| ${ours.skipped.toFixed(2)} of ${numBlocks} | +${percent(ours.perplexity)} | +${percent(median(others))} | ${ratio.median.toFixed(3)} [${ratio.low.toFixed(3)}, ${ratio.high.toFixed(3)}] |`,
  );
  console.log(lines.at(-1));
}
lines.push(
  "",
  "| blocks run at the end of the answer | `layers`: perplexity | early exit | random blocks (median of 5) | `layers`: decode against plain |",
  "| --- | --- | --- | --- | --- |",
);
for (const count of [1, 2, 3, 4, 6]) {
  const to = (numBlocks - count) / numBlocks;
  const rows = window / 2 - 1;
  const plans = new Map<number, BlockPlan>();
  const planAt = (make: (left: number) => BlockPlan) => (row: number) => {
    const left = numBlocks - blocksOf({ blocks: numBlocks, from: 1, to, first }, row, rows);
    if (!plans.has(left)) plans.set(left, make(left));
    return plans.get(left)!;
  };
  const both = ["attn", "ffn"];
  const range = (from: number, length: number) => Array.from({ length }, (_, index) => from + index);
  const ours = await perplexity(
    planAt((left) => planOf(range(first, left), both)),
    false,
  );
  plans.clear();
  const exit = await perplexity(
    planAt((left) => planOf(range(numBlocks - left, left), both)),
    false,
  );
  const others: number[] = [];
  for (let draw = 0; draw < draws; draw += 1) {
    plans.clear();
    const order = randomBlocks(count);
    others.push(
      (
        await perplexity(
          planAt((left) => planOf(order.slice(0, left), both)),
          false,
        )
      ).perplexity,
    );
  }
  const ratio = await speed(`layers,to=${to}`);
  lines.push(
    `| ${numBlocks - count} of ${numBlocks} | +${percent(ours.perplexity)} | +${percent(exit.perplexity)} | +${percent(median(others))} | ${ratio.median.toFixed(3)} [${ratio.low.toFixed(3)}, ${ratio.high.toFixed(3)}] |`,
  );
  console.log(lines.at(-1));
}
const page = readFileSync("docs/skipping.md", "utf8");
const [begin, end] = ["<!-- table: npm run bench:skipping -->", "<!-- end of table -->"];
writeFileSync(
  "docs/skipping.md",
  `${page.slice(0, page.indexOf(begin) + begin.length)}\n\n${lines.join("\n")}\n\n${page.slice(page.indexOf(end))}`,
);
