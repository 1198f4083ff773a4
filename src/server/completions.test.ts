import { expect, test } from "vitest";
import { completionAnswer } from "./completions.ts";
import type { WireResult } from "./protocol.ts";

test("two tokens of one text in legacy top_logprobs: the more probable one stands, in its place", () => {
  const top = [
    { id: 1, text: "�", logprob: -0.5, bytes: [0xc3] },
    { id: 2, text: "a", logprob: -1, bytes: [0x61] },
    { id: 3, text: "�", logprob: -4, bytes: [0xe2] },
  ];
  const result = { usage: { promptTokens: 1, completionTokens: 1 }, finishReason: "length" } as WireResult;
  const logprobs = [{ id: 1, text: "�", logprob: -0.5, bytes: [0xc3], top }];
  const head = { id: "", created: 0, model: "" };
  const { choices } = completionAnswer({ prompt: "x", logprobs: 3 }, [""], head, [{ text: "�", pieces: ["�"], logprobs, result }]);
  expect(Object.entries(choices[0]!.logprobs!.top_logprobs[0]!)).toEqual([
    ["�", -0.5],
    ["a", -1],
  ]);
});
