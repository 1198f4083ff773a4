import { expect, test } from "vitest";
import { describeRegistry } from "../../../src/decoding/index.ts";
import { chatRequest, completionRequest } from "../../../src/server/schemas.ts";
import type { Registry } from "../api/wire.ts";
import { conflicts, defaultSettings, type RunRequest, requestOf, type Settings, streamed, summarize } from "./settings.ts";

const request = (settings: Partial<Settings>, prompt: RunRequest["prompt"] = { kind: "text", text: "Hi" }): RunRequest => ({
  prompt,
  settings: { ...defaultSettings, ...settings },
  model: "smollm2",
});
const methods = describeRegistry({ adapters: ["poet"], models: ["small"] }) as unknown as Registry;
const chat = { kind: "chat", messages: [{ role: "user", content: "Hi" }] } as const;

test.each<[string, RunRequest]>([
  ["plain", request({})],
  ["drawn", request({ temperature: 0.7, topP: 0.9, seed: 3, stop: ["\n"] })],
  ["tokens", request({}, { kind: "tokens", tokens: [1, 2], text: "Hi" })],
  ["axes", request({ axes: { draft: [{ name: "ngram", values: { nodes: 6 } }], guide: [{ name: "repetition", values: {} }] } })],
  ["chat", request({ temperature: 1 }, chat)],
])("a request (%s) is one that the server's schema takes as it stands", (_, one) => {
  const { path, body } = requestOf(one);
  const schema = path === "/v1/chat/completions" ? chatRequest : completionRequest;
  for (const given of [body, streamed(body)]) expect(schema.parse(given)).toEqual(given);
});

test("own samplers replace temperature and top-p, and lists stay lists", () => {
  const { body } = requestOf(
    request({
      temperature: 0.5,
      topP: 0.9,
      axes: { sample: [{ name: "momentum", values: { alpha: 0.1 } }], draft: [{ name: "auto", values: {} }] },
    }),
  );
  expect(body).not.toHaveProperty("temperature");
  expect(body).not.toHaveProperty("top_p");
  expect(body.chainrule).toEqual({ sample: [{ name: "momentum", alpha: 0.1 }], draft: { name: "auto" } });
});

test("with greedy decoding no truncation is sent, which the server would refuse", () => {
  expect(requestOf(request({ temperature: 0, topP: 0.9 })).body).not.toHaveProperty("top_p");
});

test("a summary names what differs from greedy", () => {
  expect(summarize(defaultSettings)).toBe("greedy");
  expect(
    summarize({ ...defaultSettings, temperature: 0.7, topP: 0.9, seed: 1, axes: { draft: [{ name: "ngram", values: { nodes: 6 } }] } }),
  ).toBe("temperature 0.7 · top-p 0.9 · seed 1 · ngram (nodes 6)");
});

test("what methods refuse is told in the registry's words", () => {
  const axes = { search: [{ name: "beam", values: {} }], draft: [{ name: "ngram", values: {} }] };
  const [conflict, ...others] = conflicts({ ...defaultSettings, axes }, methods);
  expect(others).toEqual([]);
  expect(conflict!.text).toContain("search beam can't be combined with ngram");
  expect(conflict!.text).toContain(methods.search!.find(({ name }) => name === "beam")!.cannotCompose["draft ngram"]);
  expect(conflicts({ ...defaultSettings, axes: { ...axes, draft: [{ name: "off", values: {} }] } }, methods)).toEqual([]);
});

test("loaded adapters are an axis that takes several", () => {
  expect(methods.adapter!.map(({ name, parameters }) => [name, Object.keys(parameters)])).toEqual([["poet", ["scale"]]]);
  const { body } = requestOf(request({ axes: { adapter: [{ name: "poet", values: { scale: 0.5 } }] } }));
  expect(body.chainrule).toEqual({ adapter: [{ name: "poet", scale: 0.5 }] });
});

test("temperature and top-p are samplers to what refuses samplers, and temperature 0 is greedy", () => {
  const texts = (more: Partial<Settings>) => conflicts({ ...defaultSettings, ...more }, methods).map(({ text }) => text);
  const contrastive = { axes: { search: [{ name: "contrastive", values: {} }] } };
  expect(texts(contrastive)).toEqual([]);
  const left = "it takes the token with the best score of its own, so nothing is left for a sampler to choose";
  expect(texts({ ...contrastive, temperature: 0.5, topP: 0.9 })).toEqual([
    `search contrastive can't be combined with temperature 0.5: ${left}`,
    `search contrastive can't be combined with top-p 0.9: ${left}`,
  ]);
  const best = { axes: { search: [{ name: "best-of", values: {} }] } };
  expect(texts(best)).toEqual(["search best-of can't be combined with temperature 0: every answer that it draws would be the same"]);
  expect(texts({ ...best, temperature: 0.5 })).toEqual([]);
  expect(texts({ axes: { sample: ["top-k", "greedy"].map((name) => ({ name, values: {} })) } })).toEqual([
    "sample top-k can't be combined with greedy: greedy leaves nothing to do for the samplers before it",
  ]);
});
