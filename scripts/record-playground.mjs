// node scripts/record-playground.mjs: records what a server says of some runs as playground/test/runs.fixture.json, for the playground's
// unit tests. Needs `npm run build` and the default model.
import { writeFileSync } from "node:fs";
import { serve } from "../dist/server/index.js";

const robots = "The three laws of robotics are";
const runs = {
  drawn: { prompt: "A list of colours:", max_tokens: 12, temperature: 0.9, seed: 5 },
  drafted: { prompt: "Once upon a time, once upon a time,", max_tokens: 24, temperature: 0, chainrule: { draft: { name: "ngram" } } },
  emoji: { prompt: "🙂🙃🙂🙃🙂🙃🙂🙃🙂🙃", max_tokens: 12, temperature: 0 },
  beam: { prompt: robots, max_tokens: 12, temperature: 0, chainrule: { search: { name: "beam", width: 4 } } },
  contrastive: { prompt: robots, max_tokens: 8, temperature: 0, chainrule: { search: { name: "contrastive" } } },
  layers: { prompt: robots, max_tokens: 24, temperature: 0, chainrule: { skip: { name: "layers", to: 0.5 } } },
  explained: {
    prompt: "The capital of France is",
    max_tokens: 3,
    temperature: 0,
    chainrule: { explain: { name: "reagent", replaced: 60, tokens: 2 } },
  },
  chat: { messages: [{ role: "user", content: "Name three colours." }], max_tokens: 16, temperature: 0 },
};

const server = await serve({ model: "smollm2", port: 0, load: { threads: 1, context: 512 } });
const post = (path, body) =>
  fetch(`${server.url}${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
const recorded = {};
for (const [name, body] of Object.entries(runs)) {
  const isChat = "messages" in body;
  const logprobs = isChat ? { logprobs: true, top_logprobs: 2 } : { logprobs: 2 };
  const response = await post(isChat ? "/v1/chat/completions" : "/v1/completions", { ...body, stream: true, ...logprobs });
  recorded[name] = await response.text();
}
const get = async (path) => (await fetch(`${server.url}${path}`)).json();
const { blocks } = (await get("/v1/chainrule/status")).model;
const methods = await get("/v1/chainrule/methods");
writeFileSync("playground/test/runs.fixture.json", JSON.stringify({ model: "smollm2", blocks, runs, streams: recorded, methods }, null, 1));
await server.stop();
