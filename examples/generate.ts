// Text, token by token, and what the run reports.
import { load } from "chainrule";

await using model = await load("smollm2", { threads: 1, context: 512 });
for await (const event of model.stream("The three laws of robotics are", { maxTokens: 24 })) {
  if (event.kind === "token") process.stdout.write(event.text);
  if (event.kind === "finish") {
    const { usage, facts } = event.result;
    console.log(`\n${usage.completionTokens} tokens in ${facts.passes} passes`);
  }
}
