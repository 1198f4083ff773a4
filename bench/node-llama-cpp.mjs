// Runs node-llama-cpp in a process of its own, for bench/engine.bench.ts: one JSON line in, one out.
// argv: package folder, model file, threads
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, model, threads] = process.argv.slice(2);
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
  sequences: 1,
});
const sequence = context.getSequence();

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
};

process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await jobs[job.kind](job))}\n`);
}
process.exit(0);
