// CHAINRULE_DATA=... npm run build:skip-orders [-- MODEL ...]
// Measures in which order our models do without their parts, on three stretches of WikiText-2 (validation), and writes it into src/load/skip-orders.ts.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodingModel, measureSkipOrder, type SkipPart } from "../src/decoding/index.ts";
import { load } from "../src/index.ts";
import { type ShippedSkipOrders, shippedSkipOrders } from "../src/load/skip-orders.ts";

const data = process.env.CHAINRULE_DATA;
if (data === undefined) throw new Error("set CHAINRULE_DATA to the folder with text/wikitext-2-valid.txt");
const [numStretches, stretchTokens] = [3, 256]; // a window of the measuring each, of articles far apart
const text = readFileSync(join(data, "text/wikitext-2-valid.txt"), "utf8");
const stretches = Array.from({ length: numStretches }, (_, index) => {
  const from = Math.floor(((index + 0.5) / numStretches) * text.length);
  return text.slice(from, from + 8 * stretchTokens);
});
const names = process.argv.length > 2 ? process.argv.slice(2) : ["smollm2", "smollm2:q4_0"];

const orders: Record<string, ShippedSkipOrders> = { ...shippedSkipOrders };
for (const name of names) {
  await using model = await load(name, { threads: 2, context: 1024, prefixCacheBytes: 0 });
  const tokens = stretches.flatMap((stretch) => model.tokenize(stretch).slice(0, stretchTokens));
  const measure = async (part: SkipPart) => {
    const { blocks, costs } = await measureSkipOrder(model[decodingModel], tokens, part);
    console.log(`${name}, ${part}: ${blocks.join(" ")}; nats ${costs.map((cost) => cost.toFixed(2)).join(" ")}`);
    return { blocks, costs: costs.map((cost) => Number(cost.toFixed(4))) };
  };
  orders[model.hash.slice(0, 16)] = { name, ffn: await measure("ffn"), block: await measure("block") };
}
const path = "src/load/skip-orders.ts";
const source = readFileSync(path, "utf8");
const marker = "export const shippedSkipOrders: Readonly<Record<string, ShippedSkipOrders>> = ";
const before = source.slice(0, source.indexOf(marker) + marker.length);
writeFileSync(path, `${before}${JSON.stringify(orders)};\n`);
execFileSync("npx", ["biome", "format", "--write", path], { stdio: "ignore" });
