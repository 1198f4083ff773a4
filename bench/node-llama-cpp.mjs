// Runs node-llama-cpp in a process of its own, for bench/peer.ts: one JSON line in, one out.
// argv: package folder, model file, threads, sequences of its context
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, model, threads, count] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: Number(threads),
  logLevel: LlamaLogLevel.error,
  skipDownload: true,
});
const loaded = await llama.loadModel({ modelPath: model });
const context = await loaded.createContext({
  contextSize: 1024,
  batchSize: 512,
  threads: Number(threads),
  flashAttention: true,
  sequences: Number(count),
});
const sequences = Array.from({ length: Number(count) }, () => context.getSequence());
const [sequence] = sequences;

const jobs = {
  async decode({ prompt, count }) {
    await sequence.clearHistory();
    const tokens = [];
    let start = 0;
    for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
      if (tokens.length === 0) start = performance.now();
      tokens.push(token);
      if (tokens.length > count) break;
    }
    return { tokens, ms: performance.now() - start };
  },
  async prefill({ prompt }) {
    await sequence.clearHistory();
    const start = performance.now();
    for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true }))
      return { tokens: [token], ms: performance.now() - start };
  },
  /** Each prompt in a sequence of its own, all at the same time: its own batching decides what shares a pass. */
  async together({ prompts, count }) {
    for (const one of sequences) await one.clearHistory();
    const start = performance.now();
    const answers = await Promise.all(
      prompts.map(async (prompt, index) => {
        const tokens = [];
        for await (const token of sequences[index].evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
          tokens.push(token);
          if (tokens.length === count) break;
        }
        return tokens;
      }),
    );
    return { answers, ms: performance.now() - start };
  },
};

process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await jobs[job.kind](job))}\n`);
}
process.exit(0);
