import { afterAll, describe, expect, test } from "vitest";
import { ChainruleError, DisposedError, OptionError, TemplateError, TimeoutError } from "../errors.ts";
import type { Message } from "./messages.ts";
import { ChatRenderer } from "./renderer.ts";

const renderer = new ChatRenderer();
afterAll(() => renderer[Symbol.dispose]());

const user = (content: string): Message => ({ role: "user", content });
const assistant = (content: string): Message => ({ role: "assistant", content });
const system = (content: string): Message => ({ role: "system", content });
/** Renders a template that reads no messages. */
const renderAlone = (template: string, limits = {}) => renderer.render({ template, messages: [user("hi")] }, limits);

describe("SmolLM2", () => {
  // tokenizer.chat_template of SmolLM2-135M-Instruct (Apache-2.0)
  const template = `{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}`;

  test("a conversation without a system message gets the model's own", async () => {
    expect(await renderer.render({ template, messages: [user("What is 2 + 2?")] })).toBe(
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n" +
        "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n",
    );
  });

  test("a given system message replaces it, and the generation prompt can be left out", async () => {
    const messages = [system("Be brief."), user("Hi"), assistant("Hello!\n"), user("Bye 👋")];
    expect(await renderer.render({ template, messages, addGenerationPrompt: false })).toBe(
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n" +
        "<|im_start|>assistant\nHello!\n<|im_end|>\n<|im_start|>user\nBye 👋<|im_end|>\n",
    );
  });

  test("text parts are one text", async () => {
    const content = ["one", "two"].map((text) => ({ type: "text", text }) as const);
    const messages: Message[] = [system(""), { role: "user", content }];
    expect(await renderer.render({ template, messages })).toContain("<|im_start|>user\none\ntwo<|im_end|>\n");
  });
});

describe("Gemma 3", () => {
  // Written from the format's description: turns between <start_of_turn> and <end_of_turn>, the assistant is called "model", a
  // system message stands before the first user message, contents are trimmed, roles alternate.
  const template = `{{ bos_token }}
{%- if messages[0].role == "system" %}
  {%- set prefix, turns = messages[0].content + "\n\n", messages[1:] %}
{%- else %}
  {%- set prefix, turns = "", messages %}
{%- endif %}
{%- for turn in turns %}
  {%- if (turn.role == "user") != (loop.index0 % 2 == 0) %}
    {{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
  {%- endif %}
  {%- set speaker = "model" if turn.role == "assistant" else turn.role %}
  {{- "<start_of_turn>" ~ speaker ~ "\n" ~ (prefix if loop.first else "") ~ (turn.content | trim) ~ "<end_of_turn>\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<start_of_turn>model\n" }}{% endif %}`;

  test("begins with BOS and puts the system message before the first user message", async () => {
    const messages = [system("Answer in French."), user("  Hello "), assistant("Bonjour\n"), user("How are you?")];
    expect(await renderer.render({ template, messages, bosToken: "<bos>" })).toBe(
      "<bos><start_of_turn>user\nAnswer in French.\n\nHello<end_of_turn>\n<start_of_turn>model\nBonjour<end_of_turn>\n" +
        "<start_of_turn>user\nHow are you?<end_of_turn>\n<start_of_turn>model\n",
    );
  });

  test("a conversation that the template refuses is a TemplateError with its reason", async () => {
    const rendering = renderer.render({ template, messages: [user("a"), user("b")] });
    await expect(rendering).rejects.toThrow(
      new TemplateError("the chat template refuses these messages: Conversation roles must alternate user/assistant/user/assistant/..."),
    );
  });
});

describe("what templates may read", () => {
  test("tools, their calls and answers have the names Transformers gave them", async () => {
    const template =
      "{{ tools | tojson }}|{{ messages[1].tool_calls[0].function.arguments.city }}|{{ messages[1].reasoning_content }}|" +
      "{{ messages[2].tool_call_id }}|{{ messages[2].name }}";
    const messages: Message[] = [
      user("Weather?"),
      { ...assistant(""), reasoning: "look it up", toolCalls: [{ id: "c1", name: "weather", arguments: { city: "Rome" } }] },
      { role: "tool", content: "sunny", name: "weather", toolCallId: "c1" },
    ];
    const tools = [{ name: "weather", description: "Now", parameters: { type: "object" } }];
    expect(await renderer.render({ template, messages, tools })).toBe(
      '[{"type": "function", "function": {"name": "weather", "description": "Now", "parameters": {"type": "object"}}}]' +
        "|Rome|look it up|c1|weather",
    );
  });

  test("variables of the template's own", async () => {
    const template = "{{ 'thinks' if enable_thinking else 'does not' }}";
    expect(await renderer.render({ template, messages: [user("")], variables: { enable_thinking: true } })).toBe("thinks");
    await expect(renderer.render({ template, messages: [user("")], variables: { messages: [] } })).rejects.toThrow(
      new OptionError("variables.messages", "this name is set by the renderer itself"),
    );
  });

  test("the date, in English and in local time", async () => {
    const template = "{{ strftime_now('%d %b %Y, %A %-d %B, %I:%M %p, %j%%') }}";
    const now = new Date(2024, 1, 5, 15, 4); // February 5, a Monday
    expect(await renderer.render({ template, messages: [user("")], now })).toBe("05 Feb 2024, Monday 5 February, 03:04 PM, 036%");
    const later = new Date(2025, 1, 5, 15, 4);
    expect(await renderer.render({ template, messages: [user("")], now: later })).toContain("2025"); // not the remembered text
    await expect(renderAlone("{{ strftime_now('%Q') }}")).rejects.toThrow('strftime_now: "%Q" is not supported');
  });

  test("range counts as Python's", async () => {
    const counted =
      "{{ range(3) | join(',') }} {{ range(5, 0, -2) | join(',') }} {{ range(3, 3) | length }} {{ range(0, 7, 3) | join(',') }}";
    expect(await renderAlone(counted)).toBe("0,1,2 5,3,1 0 0,3,6");
  });
});

describe("prompts that are refused", () => {
  const cases: [name: string, messages: unknown, option: string][] = [
    ["no list", { role: "user" }, "messages"],
    ["no message", [], "messages"],
    ["an unknown role", [{ role: "human", content: "" }], "messages[0].role"],
    ["no content", [user("a"), { role: "user" }], "messages[1].content"],
    ["a content that is a number", [{ role: "user", content: 5 }], "messages[0].content"],
    ["an image", [{ role: "user", content: [{ type: "image_url" }] }], "messages[0].content[0].type"],
    ["a part without text", [{ role: "user", content: [{ type: "text" }] }], "messages[0].content[0].text"],
    ["an unknown field", [{ ...assistant(""), tool_calls: [] }], "messages[0].tool_calls"],
    ["tool calls of a user", [{ ...user(""), toolCalls: [] }], "messages[0].toolCalls"],
    ["a tool's answer from a user", [{ ...user(""), toolCallId: "x" }], "messages[0].toolCallId"],
    ["a call without a name", [{ ...assistant(""), toolCalls: [{ arguments: {} }] }], "messages[0].toolCalls[0].name"],
    ["arguments that are text", [{ ...assistant(""), toolCalls: [{ name: "f", arguments: "{}" }] }], "messages[0].toolCalls[0].arguments"],
    ["a message that is null", [null], "messages[0]"],
  ];
  test.each(cases)("%s", async (_, messages, option) => {
    const refusal = await renderer.render({ template: "x", messages: messages as Message[] }).catch((error) => error);
    expect(refusal).toBeInstanceOf(OptionError);
    expect(refusal.option).toBe(option);
  });

  test("variables that JSON can't carry", async () => {
    const cyclic: { [key: string]: never } = {};
    Object.assign(cyclic, { self: cyclic });
    for (const bad of [Number.NaN, 1n, () => 1, new Date(), cyclic]) {
      const variables = { bad: bad as never };
      await expect(renderer.render({ template: "x", messages: [user("")], variables })).rejects.toThrow(OptionError);
    }
  });

  test("a missing template says what to give", async () => {
    await expect(renderAlone("")).rejects.toThrow("the model has no chat template, so messages can't be laid out: give `template`");
  });

  test("limits that are not whole numbers in range", async () => {
    for (const timeoutMs of [0, -1, 1.5, Number.NaN, 1e9])
      await expect(renderAlone("x", { timeoutMs })).rejects.toThrow(/^timeoutMs: must be/);
    await expect(renderAlone("x", { maxOutputBytes: 1e12 })).rejects.toThrow(/^maxOutputBytes: must be/);
  });
});

describe("hostile templates end in a typed error and the next one works", () => {
  /** Doubles the namespace variable `v` `count` times. */
  const doubled = (initial: string, count: number) =>
    `{% set ns = namespace(v=${initial}) %}{% for i in range(${count}) %}{% set ns.v = ns.v + ns.v %}{% endfor %}`;
  const loops = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
  const cases: [name: string, template: string, error: typeof TemplateError | typeof TimeoutError, message: RegExp][] = [
    ["loops without end", loops, TimeoutError, /took longer than 300 ms/],
    ["a long range", "{{ range(1000000) }}", TemplateError, /range\(\) of 1000000 items is longer than 100000/],
    ["a range without a step", "{{ range(1, 2, 0) }}", TemplateError, /step must not be zero/],
    ["a text doubled", doubled("'x'", 60), TemplateError, /a text is longer than 4194304 characters/],
    ["a list doubled", doubled("[1]", 60), TemplateError, /a list is longer than 1000000 items/],
    ["a replacement of 2^33 characters", `${doubled("'xxxxxxxx'", 16)}{{ ns.v[:16384] | replace('x', ns.v) }}`, TemplateError, /./],
    [
      "a join of 2^33 characters",
      `${doubled("'xxxxxxxx'", 18)}{% set s = ns.v %}${doubled("[s]", 12)}{{ ns.v | join }}`,
      TemplateError,
      /./,
    ],
    ["an indentation of 2^29 characters", "{{ 'x' | indent(536870912, true) }}", TemplateError, /./],
    ["a macro that calls itself", "{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}", TemplateError, /./],
    ["parentheses 100,000 deep", `{{ ${"(".repeat(1e5)}1${")".repeat(1e5)} }}`, TemplateError, /Maximum call stack size exceeded/],
    ["a syntax error", "{% for %}", TemplateError, /fails/],
    ["a break outside of a loop", "{% break %}", TemplateError, /it gives no reason/],
    ["control characters in its message", "{{ raise_exception('a\u001b[31m\nb') }}", TemplateError, /refuses these messages: a \[31m b$/],
    ["a call of a constructor", "{{ ''.constructor.constructor('return process')() }}", TemplateError, /not a function/],
    ["a call of a global", "{{ raise_exception.constructor('return process')() }}", TemplateError, /not a function/],
  ];
  test.each(cases)("%s", async (_, template, error, message) => {
    // only what never ends by itself is given little time, so that a busy machine doesn't end the others first
    const failure = await renderAlone(template, { timeoutMs: error === TimeoutError ? 300 : 10_000 }).catch((reason) => reason);
    expect(failure.message).toMatch(message);
    expect(failure instanceof error || (error === TemplateError && failure instanceof TimeoutError)).toBe(true);
    expect(await renderAlone("{{ messages[0].content }}")).toBe("hi");
  });

  test("values nested 2^60 fold end in a typed error", async () => {
    const nested = "{% set ns = namespace(v=[1]) %}{% for i in range(60) %}{% set ns.v = [ns.v, ns.v] %}{% endfor %}{{ ns.v | tojson }}";
    await expect(renderAlone(nested, { timeoutMs: 300 })).rejects.toThrow(ChainruleError);
    expect(await renderAlone("{{ messages[0].content }}")).toBe("hi");
  });

  test("a template that uses up its memory ends its own process only", async () => {
    const hoard = `${doubled("[1]", 19)}{% set h = namespace(v=[]) %}{% for i in range(100000) %}{% set h.v = h.v + [ns.v + []] %}{% endfor %}`;
    await expect(renderAlone(hoard, { timeoutMs: 60_000 })).rejects.toThrow(/ended the process that rendered it/);
    expect(await renderAlone("{{ messages[0].content }}")).toBe("hi");
  });

  test("nothing of JavaScript's objects shows", async () => {
    const names = ["constructor", "__proto__", "prototype", "toString", "hasOwnProperty"];
    const values = ["''", "[]", "{}", "1", "messages", "messages[0]", "namespace()", "loop", "this", "process", "globalThis"];
    const template = values.flatMap((value) =>
      names.map((name) => `{{ ${value}.${name} is defined }}{{ ${value}['${name}'] is defined }}`),
    );
    const shown = await Promise.all(template.map((one) => renderAlone(one).catch((error) => error)));
    for (const text of shown) expect(text instanceof TemplateError || text === "falsefalse").toBe(true);
  });

  test("the text's limit counts UTF-8 bytes", async () => {
    expect(await renderAlone("ééé", { maxOutputBytes: 6 })).toBe("ééé");
    await expect(renderAlone("ééé", { maxOutputBytes: 5 })).rejects.toThrow("the text is longer than 5 bytes");
  });
});

describe("many at once", () => {
  test("each call gets its own text, also beside one that takes too long", async () => {
    const texts = Array.from({ length: 50 }, (_, index) =>
      renderer.render({ template: "{{ messages[0].content }}!", messages: [user(`${index}`)] }),
    );
    const slow = renderAlone("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", { timeoutMs: 200 });
    const after = renderAlone("after");
    await expect(slow).rejects.toThrow(TimeoutError);
    expect(await Promise.all(texts)).toEqual(Array.from({ length: 50 }, (_, index) => `${index}!`));
    expect(await after).toBe("after");
  });

  test("a cancelled call gives the signal's reason and leaves the others alone", async () => {
    const abort = new AbortController();
    const reason = new Error("left");
    const calls = [renderAlone("one"), renderAlone("two", { signal: abort.signal }), renderAlone("three")];
    abort.abort(reason);
    expect(await Promise.allSettled(calls)).toEqual([
      { status: "fulfilled", value: "one" },
      { status: "rejected", reason },
      { status: "fulfilled", value: "three" },
    ]);
    await expect(renderAlone("four", { signal: abort.signal })).rejects.toBe(reason);
  });

  test("an idle process ends and the next call starts another", async () => {
    using short = new ChatRenderer({ idleMs: 1 });
    for (const content of ["a", "b"]) {
      expect(await short.render({ template: "{{ messages[0].content }}", messages: [user(content)] })).toBe(content);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  test("dispose fails the calls under way and all later ones", async () => {
    const closing = new ChatRenderer();
    const calls = ["a", "b"].map((content) => closing.render({ template: "x", messages: [user(content)] }));
    closing[Symbol.dispose]();
    closing[Symbol.dispose]();
    for (const call of calls) await expect(call).rejects.toThrow(DisposedError);
    await expect(closing.render({ template: "x", messages: [user("")] })).rejects.toThrow(DisposedError);
  });
});
