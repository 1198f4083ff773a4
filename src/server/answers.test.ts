import { expect, test } from "vitest";
import { fieldOf } from "./answers.ts";

test.each([
  [{ chainrule: { draft: "psychic" } }, "draft", "chainrule.draft"],
  [{ logit_bias: { 1: 2 } }, "bias", "logit_bias"],
  [{ logit_bias: { 1: 2 }, chainrule: { bias: 3 } }, "bias", "chainrule.bias"],
  [{ max_completion_tokens: 1, max_tokens: null }, "maxTokens", "max_completion_tokens"],
  [{ max_tokens: 1 }, "maxTokens", "max_tokens"],
  [{ tools: [] }, "guide", "tools"],
  [{ response_format: {}, tools: [], chainrule: { guide: "bias" } }, "guide", "chainrule.guide"],
  [{ temperature: 9 }, "temperature", "temperature"],
  [{}, "topP", "topP"],
])("%j: the option %s came from %s", (request, option, field) => {
  expect(fieldOf(request, option)).toBe(field);
});
