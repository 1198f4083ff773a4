import { describe, expect, test } from "vitest";
import type { DescribedMethod } from "../../../src/decoding/index.ts";
import { recorded } from "../../test/recorded.ts";
import type { MethodDescription, ParameterDescription } from "../api/wire.ts";
import { fromField, toField } from "./parameter-text.ts";

const parameter = (type: ParameterDescription["type"], more: Partial<ParameterDescription> = {}): ParameterDescription => ({
  ...{ type, doc: "", range: "" },
  ...more,
});

describe("fields", () => {
  test.each<[string, ParameterDescription, string, ReturnType<typeof fromField>]>([
    ["a number in its range", parameter("number", { min: 0, max: 1 }), "0.25", { isValid: true, value: 0.25 }],
    ["a number beyond its range", parameter("number", { min: 0, max: 1 }), "1.5", { isValid: false }],
    ["nothing", parameter("number"), " ", { isValid: false }],
    ["a word for a number", parameter("number"), "many", { isValid: false }],
    ["an integer", parameter("integer", { min: 1 }), "6", { isValid: true, value: 6 }],
    ["a half for an integer", parameter("integer"), "1.5", { isValid: false }],
    ["a boolean", parameter("boolean"), "false", { isValid: true, value: false }],
    ["a text", parameter("text"), " a,b", { isValid: true, value: " a,b" }],
    ["token values", parameter("token values", { min: -100, max: 100 }), "13:-2; 42:0.5", { isValid: true, value: { 13: -2, 42: 0.5 } }],
    ["a token value beyond its range", parameter("token values", { min: -1, max: 1 }), "13:2", { isValid: false }],
    ["a choice", parameter("choice", { choices: ["a", "b"] }), "b", { isValid: true, value: "b" }],
    ["what is no choice", parameter("choice", { choices: ["a", "b"] }), "c", { isValid: false }],
    ["a model of the server's", parameter("model", { choices: ["small"] }), "small", { isValid: true, value: "small" }],
    ["a model that the server doesn't have", parameter("model", { choices: ["small"] }), "smollm2", { isValid: false }],
    ["an adapter of the server's", parameter("adapter", { choices: ["poet"] }), "poet", { isValid: true, value: "poet" }],
    ["examples", parameter("examples"), '[{"input": "a", "output": "b"}]', { isValid: true, value: [{ input: "a", output: "b" }] }],
    ["examples that are none", parameter("examples"), '[{"input": "a"}]', { isValid: false }],
    ["half of an example", parameter("examples"), '[{"input": "a", ', { isValid: false }],
    ["no token values", parameter("token values"), "", { isValid: false }],
  ])("%s", (_, of, text, expected) => {
    expect(fromField(of, text)).toEqual(expected);
  });

  test("every default of the registry is what its field says", () => {
    for (const method of Object.values(recorded.methods).flat()) {
      for (const one of Object.values(method.parameters)) {
        if (one.default !== undefined) expect(fromField(one, toField(one, one.default))).toEqual({ isValid: true, value: one.default });
      }
    }
  });
});

test("the registry has the shape that the server gives it", () => {
  const described = (method: DescribedMethod): MethodDescription => method; // a change of the server's shape fails the type check
  expect(described.length).toBe(1);
  expect(Object.keys(recorded.methods)).toEqual(expect.arrayContaining(["skip", "draft", "guide", "sample", "search"]));
});
