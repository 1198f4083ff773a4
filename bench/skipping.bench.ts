// npm run bench:skipping -- [--models smollm2:q4_0,smollm2] [--tokens 2048] [--pairs 15] [--threads 2]: what skipping costs in perplexity and gains in
// speed, beside random choices of the same size. Writes the tables of the two models into docs/skipping.md, each as soon as it is measured, and prints those of others. Text: CHAINRULE_DATA.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ffn } from "../src/decoding/skipping/ffn.ts";
import { planWithout } from "../src/decoding/skipping/skip.ts";
import { load } from "../src/index.ts";
import { writeBetween } from "./page.ts";
import { BlockDraw, SkipMeasures } from "./skip-measures.ts";
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

async function tablesOf(modelName: string): Promise<string[]> {
  await using model = await load(modelName, { threads: Number(options.threads), context: 1024, prefixCacheBytes: 0 });
  const numBlocks = model.config.blocks.length;
  const text = readFileSync(join(data, "text/wikitext-2-test.txt"), "utf8").slice(0, 6 * Number(options.tokens));
  const tokens = model.tokenize(text).slice(0, Number(options.tokens));
  const measures = new SkipMeasures(model, tokens, Number(options.pairs));
  const random = new BlockDraw(numBlocks);
  const [plain] = await measures.perplexities([() => undefined]);
  console.log(`${modelName}: perplexity ${plain!.perplexity.toFixed(2)} over ${tokens.length} tokens`);
  const cost = ({ perplexity }: { perplexity: number }) => `+${(100 * (perplexity / plain!.perplexity - 1)).toFixed(1)} %`;
  const typical = (variants: readonly { perplexity: number }[]) =>
    cost({ perplexity: median(variants.map(({ perplexity }) => perplexity)) });
  const times = ({ median, low, high }: Awaited<ReturnType<SkipMeasures["speed"]>>) =>
    `${median.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
  const lines = [
    `Model ${modelName}, ${options.threads} threads, ${tokens.length} tokens of WikiText-2 (test), windows of 256 of which the first half is read in full. Perplexity without skipping: ${plain!.perplexity.toFixed(2)}.`,
  ];
  const table = (...heads: string[]) => lines.push("", `| ${heads.join(" | ")} |`, `| ${heads.map(() => "---").join(" | ")} |`);
  const add = (...cells: string[]) => {
    lines.push(`| ${cells.join(" | ")} |`);
    console.log(lines.at(-1));
  };

  table("feed-forward halves left out per token", "`ffn`: perplexity", "random halves (median of 5)", "`ffn`: decode against plain");
  for (const count of [1, 2, 3, 4, 6, 8, 11, 15].filter((most) => most <= numBlocks / 2)) {
    const skip = `ffn,budget=${count / numBlocks},threshold=0`;
    const others = Array.from({ length: draws }, () => planWithout(random.draw(count), "ffn")).map((plan) => () => plan);
    const [ours, ...drawn] = await measures.perplexities([await measures.rowsOf(skip), ...others]);
    add(`${ours!.skipped.toFixed(2)} of ${numBlocks}`, cost(ours!), typical(drawn), times(await measures.speed(skip)));
  }

  const quarter = Math.round(numBlocks / 4);
  table(`threshold, at most ${quarter} halves`, "halves left out per token", "`ffn`: perplexity", "`ffn`: decode against plain");
  for (const threshold of [0.99, 0.98, Number(ffn.parameters.threshold!.default), 0.9, 0.8, 0]) {
    const skip = `ffn,budget=${quarter / numBlocks},threshold=${threshold}`;
    const [ours] = await measures.perplexities([await measures.rowsOf(skip)]);
    add(`${threshold}`, `${ours!.skipped.toFixed(2)} of ${numBlocks}`, cost(ours!), times(await measures.speed(skip)));
  }

  const columns = ["`layers`: perplexity", "early exit", "random blocks (median of 5)", "`layers`: decode against plain"];
  table("blocks run at the end of the answer", ...columns);
  const lastFirst = Array.from({ length: numBlocks }, (_, index) => numBlocks - 1 - index);
  for (const count of [1, 2, 3, 4, 6, 10, 15].filter((most) => most <= numBlocks / 2)) {
    const to = (numBlocks - count) / numBlocks;
    const orders = [lastFirst, ...Array.from({ length: draws }, () => random.draw(count))];
    const variants = [await measures.rowsOf(`layers,to=${to}`), ...orders.map((order) => measures.falling(to, order))];
    const [ours, exit, ...drawn] = await measures.perplexities(variants);
    add(`${numBlocks - count} of ${numBlocks}`, cost(ours!), cost(exit!), typical(drawn), times(await measures.speed(`layers,to=${to}`)));
  }
  return lines;
}

const page = "docs/skipping.md";
for (const modelName of options.models.split(",")) {
  const lines = await tablesOf(modelName);
  const marker = `<!-- table of ${modelName}: npm run bench:skipping -->`;
  if (readFileSync(page, "utf8").includes(marker)) writeBetween(page, marker, lines.join("\n"));
}
