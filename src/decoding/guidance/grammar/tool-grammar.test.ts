import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Tool, toolGrammar } from "../../../chat/index.ts";
import { OptionError } from "../../../errors.ts";
import { acceptsText, grammarOf } from "./testing.ts";

const tools: Tool[] = [
  {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, days: { type: "integer", minimum: 1, maximum: 7 } },
      required: ["city"],
      additionalProperties: false,
    },
  },
  { name: "now", parameters: { type: "object", properties: {}, additionalProperties: false } },
];
const call = (name: string, values: string) => `<tool_call>\n{"name": "${name}", "arguments": ${values}}\n</tool_call>`;
const paris = call("get_weather", '{"city": "Paris", "days": 3}');
const grammar = (...options: Parameters<typeof toolGrammar>) => grammarOf({ kind: "gbnf", text: toolGrammar(...options) });

describe("toolGrammar", () => {
  test("required: a call of one of the tools, valid under its schema, and nothing else", () => {
    const required = grammar(tools, "required", { isParallel: false });
    for (const text of [paris, call("now", "{}")]) expect(acceptsText(required, text)).toBe(true);
    const wrong = [
      ...["", "Paris", `Well: ${paris}`, `${paris}\n${paris}`, call("later", "{}"), call("now", '{"a": 1}')],
      ...[call("get_weather", "{}"), call("get_weather", '{"city": "Paris", "days": 8}'), paris.replace("</tool_call>", "")],
    ];
    for (const text of wrong) expect(acceptsText(required, text)).toBe(false);
  });

  test("a named tool is the only one; several calls only where they are allowed", () => {
    const named = grammar(tools, { name: "now" }, { isParallel: true });
    expect(acceptsText(named, call("now", "{}"))).toBe(true);
    expect(acceptsText(named, `${call("now", "{}")}\n${call("now", "{}")}`)).toBe(true);
    expect(acceptsText(named, paris)).toBe(false);
  });

  test("auto: a text, calls, or a text and then calls", () => {
    const auto = grammar(tools, "auto", { isParallel: true });
    for (const text of ["", "It is sunny.", paris, `I'll look.\n${paris}\n${call("now", "{}")}`])
      expect(acceptsText(auto, text)).toBe(true);
    for (const text of [`${paris} and more`, "<tool_call>", "<tool_call>\n{}"]) expect(acceptsText(auto, text)).toBe(false);
  });

  test("auto: every text is allowed that does not hold the opening tag", () => {
    const auto = grammar(tools, "auto", { isParallel: true });
    const pieces = fc.array(fc.constantFrom("<", "<t", "<tool_cal", "tool_call>", "l>", "<tool_call>", "é", "\n", "a"), { maxLength: 7 });
    fc.assert(
      fc.property(pieces, (parts) => {
        const text = parts.join("");
        expect(acceptsText(auto, text)).toBe(!text.includes("<tool_call>"));
      }),
    );
  });

  test("auto with a form for the answer: that form, or calls", () => {
    const either = grammar(tools, "auto", { isParallel: true, answer: { type: "boolean" } });
    for (const text of ["true", "false", paris]) expect(acceptsText(either, text)).toBe(true);
    for (const text of ["", "perhaps", `true${paris}`]) expect(acceptsText(either, text)).toBe(false);
  });
});

describe("%json in GBNF", () => {
  const accepts = (text: string, answer: string) => acceptsText(grammarOf({ kind: "gbnf", text }), answer);

  test("stands for the values of a schema, also twice and with the same definitions", () => {
    const list = '%json {"$defs": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "type": "array", "items": {"$ref": "#/$defs/n"}}';
    const text = `root ::= "a" ${list} ("b" ${list})?`;
    for (const answer of ["a[1, 2]", "a[]b[9]"]) expect(accepts(text, answer)).toBe(true);
    for (const answer of ["a", "a[10]", "a[1]b", "a[1]b[-1]"]) expect(accepts(text, answer)).toBe(false);
  });

  test("may hold braces and quotes in its strings, and line ends", () => {
    const text = 'root ::= %json {"enum":\n ["}", "\\"{"]}+';
    expect(accepts(text, '"}""\\"{"')).toBe(true);
    expect(accepts(text, '"{"')).toBe(false);
  });

  test.each([
    "root ::= %xml {}",
    "root ::= %json",
    'root ::= %json {"type": ',
    "root ::= %json {type: 1}",
    'root ::= %json {"type": "nothing"}',
  ])("%s is refused", (text) => {
    expect(() => grammarOf({ kind: "gbnf", text })).toThrow(OptionError);
  });
});
