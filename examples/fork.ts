// Two continuations of one prompt, scored in one pass: the prompt is read once, and what waits together is fused.
import { load } from "chainrule";

await using model = await load("smollm2", { threads: 1, context: 512 });
using root = model.sequence();
await root.forward({ input: model.tokenize("The capital of France is") });
const answers = [" Paris", " Rome"];
const scores = await Promise.all(
  answers.map(async (answer) => {
    using branch = root.fork();
    const { rows } = await branch.forward({ input: model.tokenize(answer, { bos: false }), want: { top: 1 } });
    const { ids, logits, logSumExp } = rows[0]!.candidates!;
    return `${answer} → ${model.tokenizer.decode([ids[0] as never])} (${Math.exp(logits[0]! - logSumExp).toFixed(3)})`;
  }),
);
console.log(scores.join("\n"));
