import { expect, test } from "vitest";
import { chatRequest, completionRequest } from "../../../src/server/schemas.ts";
import { recorded } from "../../test/recorded.ts";
import { conflicts, defaultSettings, type RunRequest, requestOf, type Settings, streamed, summarize } from "./settings.ts";

const request = (settings: Partial<Settings>, prompt: RunRequest["prompt"] = { kind: "text", text: "Hi" }): RunRequest => ({
  prompt,
  settings: { ...defaultSettings, ...settings },
  model: "smollm2",
});
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
  const [conflict, ...others] = conflicts({ ...defaultSettings, axes }, recorded.methods);
  expect(others).toEqual([]);
  expect(conflict).toContain("search beam can't be combined with ngram");
  expect(conflict).toContain(recorded.methods.search!.find(({ name }) => name === "beam")!.refuses.draft);
  expect(conflicts({ ...defaultSettings, axes: { ...axes, draft: [{ name: "off", values: {} }] } }, recorded.methods)).toEqual([]);
});

test("a temperature is a sampler to a search that refuses samplers", () => {
  const axes = { search: [{ name: "contrastive", values: {} }] };
  expect(conflicts({ ...defaultSettings, axes }, recorded.methods)).toEqual([]);
  expect(conflicts({ ...defaultSettings, temperature: 0.5, axes }, recorded.methods)).toHaveLength(1);
});
