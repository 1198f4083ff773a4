import fc from "fast-check";
import { expect, test } from "vitest";
import type { Message, Tool } from "./messages.ts";
import { type AnswerDelta, layOutTools, ToolCallReader } from "./tool-calls.ts";

const weather: Tool = { name: "get_weather", description: "the weather", parameters: { type: "object", properties: {} } };
const user: Message = { role: "user", content: "How is Paris?" };

test("a template that writes calls itself is given the tools as they are", () => {
  const messages: Message[] = [user, { role: "assistant", content: "", toolCalls: [{ name: "get_weather", arguments: {} }] }];
  expect(layOutTools("… <tool_call> …", messages, [weather])).toEqual({ messages, tools: [weather] });
});

test("for others the tools are described in the system message, and calls and answers are text", () => {
  const laid = layOutTools(
    "{{ messages }}",
    [
      user,
      {
        role: "assistant",
        content: "Let me see.",
        toolCalls: [
          { id: "a", name: "get_weather", arguments: { city: "Paris" } },
          { id: "b", name: "get_weather", arguments: { city: "Rome" } },
        ],
      },
      { role: "tool", toolCallId: "a", content: "sun" },
      { role: "tool", toolCallId: "b", content: "rain" },
    ],
    [weather],
  );
  expect(laid.tools).toBeUndefined();
  const [system, ...rest] = laid.messages;
  expect(system).toMatchObject({ role: "system", content: expect.stringContaining(JSON.stringify(weather)) });
  expect(rest).toEqual([
    user,
    {
      role: "assistant",
      content:
        'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city":"Paris"}}\n</tool_call>\n' +
        '<tool_call>\n{"name": "get_weather", "arguments": {"city":"Rome"}}\n</tool_call>',
    },
    { role: "user", content: "<tool_response>\nsun\n</tool_response>\n<tool_response>\nrain\n</tool_response>" },
  ]);
});

test("a system message that is there is kept and goes on with the tools", () => {
  const { messages } = layOutTools("{{ messages }}", [{ role: "system", content: "Be brief." }, user], [weather]);
  expect(messages).toHaveLength(2);
  expect(messages[0]!.content).toMatch(/^Be brief\.\n\nYou may call functions/);
});

test("without tools and calls nothing changes", () => {
  expect(layOutTools("{{ messages }}", [user], undefined)).toEqual({ messages: [user] });
});

const call = fc.record({
  name: fc.stringMatching(/^[a-zA-Z0-9_-]{1,12}$/),
  values: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }),
});
const notation = (name: string, values: object) => `<tool_call>\n{"name": "${name}", "arguments": ${JSON.stringify(values)}}\n</tool_call>`;
const plain = fc
  .array(fc.constantFrom("<", "<tool", "_call", ">", "</tool_call>", "{", "é", "👋", " ", "text"), { maxLength: 8 })
  .map((parts) => parts.join(""))
  .filter((text) => !text.includes("<tool_call>"));

test("however an answer comes in pieces, its text and its calls are read back", () => {
  fc.assert(
    fc.property(
      plain,
      fc.array(call, { maxLength: 3 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
      (text, calls, cuts) => {
        const written = calls.map(({ name, values }) => notation(name, values));
        // a text that ends in a part of the tag would run into the tag itself
        const before = calls.length > 0 ? `${text}.` : text;
        const answer = before + written.join("\n");
        const reader = new ToolCallReader();
        const deltas: AnswerDelta[] = [];
        for (let at = 0, turn = 0; at < answer.length; turn += 1) {
          const next = at + cuts[turn % cuts.length]!;
          deltas.push(...reader.push(answer.slice(at, next)));
          at = next;
        }
        deltas.push(...reader.end());
        const read = deltas.filter((delta) => delta.kind === "text").map((delta) => delta.text);
        expect(read.join("")).toBe(before);
        const names = deltas.filter((delta) => delta.kind === "call");
        expect(names.map(({ index, name }) => [index, name])).toEqual(calls.map(({ name }, index) => [index, name]));
        const values = calls.map((_, index) =>
          deltas.flatMap((d) => (d.kind === "arguments" && d.index === index ? [d.text] : [])).join(""),
        );
        expect(values.map((one) => JSON.parse(one))).toEqual(calls.map((one) => JSON.parse(JSON.stringify(one.values))));
        expect(reader.callCount).toBe(calls.length);
      },
    ),
  );
});

test("an answer that was cut gives what there is: text whole, arguments as far as they came", () => {
  const cut = new ToolCallReader();
  expect([...cut.push("a <tool_c"), ...cut.end()].map((delta) => (delta.kind === "text" ? delta.text : ""))).toEqual(["a ", "<tool_c"]);
  const inside = new ToolCallReader();
  expect([...inside.push('<tool_call>\n{"name": "f", "arguments": {"a": "}'), ...inside.end()]).toEqual([
    { kind: "call", index: 0, name: "f" },
    { kind: "arguments", index: 0, text: '{"a": "}' },
  ]);
});
