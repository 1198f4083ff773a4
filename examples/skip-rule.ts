// A rule that decides inside the pass: skip a feed-forward half where the one before it hardly moved the residual stream.
import { load, type SkipRule } from "chainrule";

await using model = await load("smollm2", { threads: 1, context: 512 });
const middle = Array.from({ length: 10 }, (_, i) => i + 10);
const rule: SkipRule = {
  name: "saturated",
  decides: middle.map((block) => `blocks.${block}.ffn`),
  start: () => undefined,
  next: (_, block, _half, { ffnCosine }) => ((ffnCosine[block - 1] ?? 0) > 0.97 ? "skip" : "run"),
};
using sequence = model.sequence();
let [token] = model.tokenize("Once");
const words: string[] = [];
for (let step = 0; step < 12; step += 1) {
  const { rows } = await sequence.forward({ input: [token!], want: { top: 1 }, blocks: rule });
  token = rows[0]!.candidates!.ids[0] as typeof token;
  words.push(`${model.tokenizer.decode([token!])}[${rows[0]!.skipped!.length} skipped]`);
}
console.log(words.join(""));
