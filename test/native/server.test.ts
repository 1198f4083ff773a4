import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, embedMany, generateText, jsonSchema, streamText, tool } from "ai";
import OpenAI, { BadRequestError, NotFoundError } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writePeft } from "../../src/adapters/index.ts";
import { load, type Model } from "../../src/index.ts";
import { type RunningServer, serve } from "../../src/server/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { baseOf, randomAdapter } from "../support/adapters.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// Contracts of the official clients on a tiny random checkpoint: what it answers is noise, so only form and grammar can make it right.

const execArgv = ["--import", pathToFileURL(resolve("scripts/register-typescript.mjs")).href];
const folder = temporaryFolder();
const path = `${folder.path}/tiny.gguf`;
const small = `${folder.path}/small.gguf`;
let server: RunningServer;
let model: Model;
let client: OpenAI;
beforeAll(async () => {
  await writeTinyChatModel(path);
  await writeTinyChatModel(small, { blocks: 1, seed: 2 });
  using file = openGguf(path);
  const adapters = { first: `${folder.path}/first`, second: `${folder.path}/second` };
  for (const [seed, at] of Object.values(adapters).entries()) {
    mkdirSync(at);
    writePeft(at, baseOf(file), randomAdapter(path, { form: "lora", rank: 4, targets: ["all"] }, seed + 1));
  }
  const settings = { threads: 1, context: 1024, cacheBytes: 2 ** 26, beside: { small }, adapters };
  [server, model] = await Promise.all([serve({ model: path, load: settings, port: 0, execArgv }), load(path, settings)]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await model?.[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});
const post = async (path: string, body: object) => {
  const response = await fetch(`${server.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as { error: { code: string; param: string | null } } };
};

const parameters = {
  type: "object" as const,
  properties: { city: { type: "string" as const, maxLength: 4 }, days: { type: "integer" as const, minimum: 1, maximum: 7 } },
  required: ["city", "days"],
  additionalProperties: false as const,
};
const weather = { type: "function" as const, function: { name: "get_weather", description: "the weather", parameters } };
const clock = { type: "function" as const, function: { name: "now" } };
const validArguments = { city: expect.stringMatching(/^.{0,4}$/su), days: expect.toSatisfy((days) => days >= 1 && days <= 7) };
const messages = [{ role: "user" as const, content: "How is Paris?" }];

describe("tool calls, chat", () => {
  const chat = { model: "", messages, tools: [weather, clock], max_tokens: 200, seed: 4 };
  const named = { type: "function" as const, function: { name: "get_weather" } };
  beforeAll(() => {
    chat.model = model.name;
  });

  test("a tool that is named is called, with arguments that are valid under its schema", async () => {
    const { choices } = await client.chat.completions.create({ ...chat, tool_choice: named, n: 2, parallel_tool_calls: false });
    for (const { message, finish_reason: reason } of choices) {
      expect(reason).toBe("tool_calls");
      expect(message.content).toBeNull();
      const [call, ...others] = message.tool_calls!;
      expect(others).toEqual([]);
      expect(call).toMatchObject({ type: "function", id: expect.stringMatching(/^call_\w+$/), function: { name: "get_weather" } });
      if (call!.type === "function") expect(JSON.parse(call!.function.arguments)).toEqual(validArguments);
    }
  });

  test("required: some tool is called; the client's stream puts the pieces together to the same", async () => {
    const body = { ...chat, tool_choice: "required" as const, parallel_tool_calls: false };
    const whole = (await client.chat.completions.create(body)).choices[0]!.message;
    const streamed = (await client.chat.completions.stream(body).finalChatCompletion()).choices[0]!;
    expect(streamed.finish_reason).toBe("tool_calls");
    const calls = (of: typeof whole) => of.tool_calls!.map((call) => (call.type === "function" ? call.function : undefined));
    expect(calls(streamed.message as typeof whole).map((call) => [call!.name, call!.arguments])).toEqual(
      calls(whole).map((call) => [call!.name, call!.arguments]),
    );
  });

  test("auto: text is text, and without maxTokens to spare it ends where it must", async () => {
    const { choices } = await client.chat.completions.create({ ...chat, max_tokens: 12 });
    expect(typeof choices[0]!.message.content).toBe("string");
    expect(choices[0]!.finish_reason).not.toBe("tool_calls");
  });

  test("none: the tools are in the prompt, nothing is held to anything", async () => {
    const tools = [{ name: "now", parameters: { type: "object", properties: {}, additionalProperties: false } }];
    const tokens = await model.encode(messages, { tools });
    const expected = await model.generate(tokens, { maxTokens: 8, temperature: 0 });
    const { choices, usage } = await client.chat.completions.create({
      ...{ model: model.name, messages, tools: [clock], tool_choice: "none", max_tokens: 8, temperature: 0 },
    });
    expect([choices[0]!.message.content, usage!.prompt_tokens]).toEqual([expected.text, tokens.length]);
  });

  test("a conversation with a call and its answer goes on", async () => {
    const history = [
      ...messages,
      {
        role: "assistant" as const,
        content: null,
        tool_calls: [
          { id: "call_1", type: "function" as const, function: { name: "get_weather", arguments: '{"city": "Oslo", "days": 1}' } },
        ],
      },
      { role: "tool" as const, tool_call_id: "call_1", content: "rain" },
    ];
    const { usage } = await client.chat.completions.create({ ...chat, messages: history, max_tokens: 4, tool_choice: "none" });
    const first = await client.chat.completions.create({ ...chat, max_tokens: 4, tool_choice: "none" });
    expect(usage!.prompt_tokens).toBeGreaterThan(first.usage!.prompt_tokens);
  });

  test.each<[string, object, string]>([
    ["a choice without tools", { tools: undefined, tool_choice: "required" }, "tool_choice"],
    ["a choice of another tool", { tool_choice: { type: "function", function: { name: "later" } } }, "tool_choice"],
    ["two tools of one name", { tools: [clock, clock] }, "tools"],
    [
      "arguments that are no JSON",
      { messages: [{ role: "assistant", tool_calls: [{ id: "a", type: "function", function: { name: "f", arguments: "{" } }] }] },
      "messages.0.tool_calls.0.function.arguments",
    ],
    ["a schema that no grammar has", { tools: [{ type: "function", function: { name: "f", parameters: { type: "nothing" } } }] }, "#/type"],
    ["an assistant who says nothing", { messages: [{ role: "assistant", content: null }] }, "messages.0.content"],
    ["the older name", { functions: [] }, "functions"],
  ])("%s is refused by name", async (_, more, param) => {
    const { status, body } = await post("/v1/chat/completions", { ...chat, ...more });
    expect([status, body.error.param]).toEqual([400, expect.stringContaining(param.split(".")[0]!)]);
  });
});

test("the AI SDK calls a tool and reads its answer, whole and streamed", async () => {
  const provider = createOpenAICompatible({ name: "chainrule", baseURL: `${server.url}/v1` });
  const asked: unknown[] = [];
  const options = {
    model: provider(model.name),
    prompt: messages[0]!.content,
    maxOutputTokens: 200,
    seed: 4,
    maxRetries: 0,
    toolChoice: { type: "tool" as const, toolName: "get_weather" as const },
    tools: {
      get_weather: tool({
        inputSchema: jsonSchema<{ city: string; days: number }>(parameters),
        execute: async (input) => {
          asked.push(input);
          return "rain";
        },
      }),
    },
  };
  const { toolCalls, toolResults, finishReason } = await generateText(options);
  expect(finishReason).toBe("tool-calls");
  expect(toolCalls[0]).toMatchObject({ toolName: "get_weather", input: validArguments });
  expect(toolResults[0]).toMatchObject({ output: "rain" });
  const streamed = streamText(options);
  for await (const part of streamed.fullStream) if (part.type === "error") throw part.error;
  const inputs = toolCalls.map(({ input }) => input);
  expect((await streamed.toolCalls).map(({ input }) => input)).toEqual(inputs);
  expect(asked).toEqual([...inputs, ...inputs]);
});

describe("chainrule.adapter", () => {
  const prompt = "the quick brown fox asks";
  const greedy = { maxTokens: 12, temperature: 0, ignoreEndTokens: true };
  const body = (adapter: unknown) => ({
    ...{ model: model.name, prompt, max_tokens: 12, temperature: 0 },
    chainrule: { ignoreEndTokens: true, ...(adapter === undefined ? {} : { adapter }) },
  });
  const values = [undefined, "first", "second,scale=0.5", ["first", { name: "second", scale: 2 }], { name: "first", scale: 0 }] as const;

  test("every request has its own: many at once, whole and streamed, are each as alone in process", async () => {
    const expected = [];
    for (const adapter of values) expected.push(await model.generate(prompt, { ...greedy, ...(adapter === undefined ? {} : { adapter }) }));
    const texts = expected.map(({ text }) => text);
    expect(new Set(texts.slice(0, 4)).size).toBe(4); // otherwise a mix would not show
    expect(texts[4]).toBe(texts[0]);
    const whole = Promise.all([...values, ...values].map((adapter) => post("/v1/completions", body(adapter))));
    const streamed = Promise.all(
      values.map(async (adapter) => {
        let text = "";
        for await (const { choices } of await client.completions.create({ ...body(adapter), stream: true })) text += choices[0]?.text ?? "";
        return text;
      }),
    );
    for (const [index, { status, body: answer }] of (await whole).entries()) {
      const { tokens, text, facts } = expected[index % values.length]!;
      expect(status).toBe(200);
      expect(answer).toMatchObject({ choices: [{ text }], chainrule: { choices: [{ tokens }] } });
      const told = (answer as unknown as { chainrule: { choices: { facts: object }[] } }).chainrule.choices[0]!.facts;
      expect((told as typeof facts).adapters).toEqual(facts.adapters);
    }
    expect(await streamed).toEqual(texts);
  });

  test.each([["third"], ["first,scale=x"], [["first", "first"]], [{ name: "first", scale: "1" }], [7], [null], [{}], [[[]]]])(
    "%j is refused by name",
    async (adapter) => {
      const { status, body: answer } = await post("/v1/completions", body(adapter));
      expect([status, answer.error.param]).toEqual([400, expect.stringContaining("adapter")]);
    },
  );
});

describe("the openai client", () => {
  const prompt = "the quick brown fox";
  const completion = () => ({ model: model.name, prompt, max_tokens: 8, temperature: 0, logprobs: 2 });

  test("completions: the pieces of a stream are the whole answer, log-probabilities and usage too", async () => {
    const whole = await client.completions.create(completion());
    const expected = await model.generate(prompt, { maxTokens: 8, temperature: 0, logprobs: 2 });
    const [{ text, finish_reason: reason, logprobs }] = whole.choices as [OpenAI.CompletionChoice];
    expect([text, reason]).toEqual([expected.text, expected.finishReason === "stop" ? "stop" : "length"]);
    expect(logprobs!.token_logprobs).toEqual(expected.logprobs!.map((entry) => entry.logprob));
    const pieces = {
      text: "",
      tokens: [] as string[],
      token_logprobs: [] as number[],
      top_logprobs: [] as object[],
      text_offset: [] as number[],
    };
    let usage: unknown;
    for await (const chunk of await client.completions.create({ ...completion(), stream: true, stream_options: { include_usage: true } })) {
      usage = chunk.usage ?? usage;
      for (const choice of chunk.choices) {
        pieces.text += choice.text;
        for (const name of ["tokens", "token_logprobs", "top_logprobs", "text_offset"] as const)
          pieces[name].push(...((choice.logprobs?.[name] ?? []) as never[]));
      }
    }
    expect(pieces).toEqual({ text, ...logprobs });
    expect(usage).toEqual(whole.usage);
  });

  test("echo: text_offset says where a token's text begins, also where characters span tokens", async () => {
    const text = "a fox 🦊 and naïve 狐狸 again";
    const { choices } = await client.completions.create({
      model: model.name,
      prompt: text,
      max_tokens: 2,
      temperature: 0,
      echo: true,
      logprobs: 1,
    });
    const { tokens, text_offset: offsets } = choices[0]!.logprobs!;
    const ids = model.tokenize(text);
    expect(tokens).toHaveLength(ids.length + 2);
    expect(tokens!.some((token) => token.includes("\ufffd"))).toBe(true);
    for (const index of ids.keys()) {
      // what the tokens before it are without a character that they only begin
      const before = model.tokenizer.decode(ids.slice(0, index)).replace(/\ufffd+$/, "");
      expect(offsets![index]).toBe(before.length);
    }
    expect(offsets![ids.length]).toBe(text.length);
  });

  test("chat: the bytes of log-probabilities are the tokens' own, also where a character spans several", async () => {
    const { choices } = await client.chat.completions.create({
      ...{ model: model.name, messages, max_tokens: 60, seed: 5, logprobs: true, top_logprobs: 3 },
      ...({ chainrule: { ignoreEndTokens: true } } as object),
    });
    const entries = choices[0]!.logprobs!.content!;
    expect(entries.some(({ token, bytes }) => token === "\ufffd" && bytes!.length === 1 && bytes![0]! >= 0x80)).toBe(true);
    for (const { token, bytes } of entries.flatMap((entry) => [entry, ...entry.top_logprobs]))
      expect(Buffer.from(bytes!).toString()).toBe(token);
    const written = entries.filter(({ token }) => !token.startsWith("<|")); // special tokens are no text of the answer
    expect(Buffer.from(written.flatMap(({ bytes }) => bytes!)).toString()).toBe(choices[0]!.message.content);
  });

  test("a text that no context could hold is too long for this one", async () => {
    const { status, body } = await post("/v1/completions", { prompt: "a fox ".repeat(50_000) });
    expect([status, body.error.code]).toEqual([400, "context_length_exceeded"]);
  });

  test("chat: several drawn answers, whole and streamed, with log-probabilities", async () => {
    const chat = { model: model.name, messages, max_tokens: 10, seed: 3, n: 2, logprobs: true, top_logprobs: 1 };
    const { choices, usage } = await client.chat.completions.create(chat);
    const streamed = choices.map(() => ({ content: "", logprobs: [] as object[] }));
    let told: unknown;
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } })) {
      told = chunk.usage ?? told;
      for (const { index, delta, logprobs } of chunk.choices) {
        streamed[index]!.content += delta.content ?? "";
        streamed[index]!.logprobs.push(...(logprobs?.content ?? []));
      }
    }
    expect(streamed).toEqual(choices.map(({ message, logprobs }) => ({ content: message.content, logprobs: logprobs!.content })));
    expect(told).toEqual(usage);
    for (const [index, { message }] of choices.entries())
      expect(message.content).toBe((await model.generate(messages, { maxTokens: 10, temperature: 1, seed: 3 + index })).text);
  });

  test("embeddings, as numbers and packed; the model, by name", async () => {
    const { vectors } = await model.embed(["a cat", "a dog"]);
    for (const format of ["float", "base64", undefined] as const) {
      const { data } = await client.embeddings.create({
        ...{ model: model.name, input: ["a cat", "a dog"] },
        ...(format === undefined ? {} : { encoding_format: format }),
      });
      const numbers = (embedding: unknown) =>
        typeof embedding === "string"
          ? new Float32Array(Uint8Array.from(Buffer.from(embedding, "base64")).buffer)
          : Float32Array.from(embedding as number[]);
      expect(data.map(({ embedding }) => numbers(embedding))).toEqual(vectors);
    }
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual([model.name]);
    expect((await client.models.retrieve(model.name)).id).toBe(model.name);
  });

  test("a stream that is left ends its work; refusals are the client's own errors", async () => {
    const stream = await client.completions.create({
      ...{ model: model.name, prompt, max_tokens: 900, stream: true as const },
      chainrule: { ignoreEndTokens: true },
    } as OpenAI.CompletionCreateParamsStreaming);
    for await (const _ of stream) break;
    const working = async () => (await server.engine.ping()).running;
    while ((await working()) > 0) await new Promise((done) => setTimeout(done, 20));
    await expect(client.completions.create({ ...completion(), temperature: 5 })).rejects.toThrow(BadRequestError);
    await expect(client.completions.create({ ...completion(), model: "gpt-4" })).rejects.toThrow(NotFoundError);
    await expect(client.models.retrieve("gpt-4")).rejects.toThrow(NotFoundError);
  });
});

describe("the AI SDK", () => {
  const provider = () => createOpenAICompatible({ name: "chainrule", baseURL: `${server.url}/v1`, includeUsage: true });

  test("completion models, whole and streamed", async () => {
    const options = {
      ...{ model: provider().completionModel(model.name), prompt: "How is Paris?", maxOutputTokens: 10, temperature: 0, maxRetries: 0 },
      providerOptions: { chainrule: { user: "me", logit_bias: { 5: -3 }, chainrule: { draft: "ngram" } } }, // the SDK sends them on as they are
    };
    const { text, usage, finishReason } = await generateText(options);
    // what the SDK makes of a prompt for such models
    const expected = await model.generate("user:\nHow is Paris?\n\nassistant:\n", {
      ...{ maxTokens: 10, temperature: 0, bias: { 5: -3 }, stop: ["\nuser:"] },
    });
    expect(text).toBe(expected.text);
    expect(finishReason).toBe(expected.finishReason === "stop" ? "stop" : "length");
    expect([usage.inputTokens, usage.outputTokens]).toEqual([expected.usage.promptTokens, expected.usage.completionTokens]);
    const streamed = streamText(options);
    let pieces = "";
    for await (const part of streamed.fullStream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") pieces += part.text;
    }
    expect(pieces).toBe(text);
    expect((await streamed.usage).outputTokens).toBe(usage.outputTokens);
  });

  test("chat models, streamed with usage", async () => {
    const options = { model: provider()(model.name), prompt: messages[0]!.content, maxOutputTokens: 10, temperature: 0, maxRetries: 0 };
    const expected = await model.generate(messages, { maxTokens: 10, temperature: 0 });
    const streamed = streamText(options);
    let text = "";
    for await (const piece of streamed.textStream) text += piece;
    expect(text).toBe(expected.text);
    expect(await streamed.usage).toMatchObject({ inputTokens: expected.usage.promptTokens, outputTokens: expected.usage.completionTokens });
  });

  test("embedding models, one text and many", async () => {
    const { vectors } = await model.embed(["a cat", "a dog"]);
    const embedder = provider().embeddingModel(model.name);
    const many = await embedMany({ model: embedder, values: ["a cat", "a dog"], maxRetries: 0 });
    expect(many.embeddings.map((numbers) => Float32Array.from(numbers))).toEqual(vectors);
    const one = await embed({ model: embedder, value: "a cat", maxRetries: 0 });
    expect(Float32Array.from(one.embedding)).toEqual(vectors[0]);
    expect(one.usage.tokens).toBe(model.tokenize("a cat").length);
  });
});

test("methods name the models that the server was started with, and no others", async () => {
  const request = { model: model.name, prompt: "the lazy dog", max_tokens: 12, temperature: 0 };
  const methods = { draft: "model,model=small,confidence=0", guide: [{ name: "reward", model: "small", weight: 0.5 }] };
  const { status, body } = await post("/v1/completions", { ...request, chainrule: methods });
  expect(status).toBe(200);
  const expected = await model.generate("the lazy dog", { maxTokens: 12, ...methods });
  expect(body).toMatchObject({
    choices: [{ text: expected.text }],
    chainrule: { choices: [{ facts: { drafts: { method: "model" }, guides: [{ name: "reward", weight: 0.5 }] } }] },
  });
  for (const other of ["/etc/passwd", "pypi:some-model", path, { path }]) {
    const refused = await post("/v1/completions", { ...request, chainrule: { draft: { name: "model", model: other } } });
    expect(refused.status).toBe(400);
    expect(refused.body.error.code).toBe("invalid_value");
  }
});

test("a layout: a set in a prompt and in a message, the same answer in every order", async () => {
  const chat = async (content: string) => {
    const body = { model: model.name, messages: [{ role: "user" as const, content }], temperature: 0, max_tokens: 8 };
    const { choices } = await client.chat.completions.create({ ...body, chainrule: { layout: "set" } } as typeof body);
    return choices[0]!.message.content;
  };
  const prompt = (content: string) => ({ kind: "set" as const, prompt: [{ role: "user" as const, content }] });
  const expected = await model.generate(prompt("a[[quick|| lazy]] fox"), { maxTokens: 8 });
  expect([await chat("a[[quick|| lazy]] fox"), await chat("a[[ lazy||quick]] fox")]).toEqual([expected.text, expected.text]);
  const { status, body } = await post("/v1/completions", { prompt: "a[[b", chainrule: { layout: "set" } });
  expect([status, body.error.param]).toEqual([400, "prompt"]);
});

describe("/v1/responses", () => {
  const body = { input: "How is Paris?", max_output_tokens: 16, temperature: 0 };

  test("the answer, its usage and its facts are those of the model in process", async () => {
    const prompt = [{ role: "system" as const, content: "Be brief." }, ...messages];
    const expected = await model.generate(prompt, { maxTokens: 16, temperature: 0 });
    const response = await client.responses.create({ ...body, model: model.name, instructions: "Be brief." });
    expect(response.output_text).toBe(expected.text);
    expect(response.status).toBe(expected.finishReason === "stop" ? "completed" : "incomplete");
    expect(response.incomplete_details).toEqual(expected.finishReason === "stop" ? null : { reason: "max_output_tokens" });
    expect(response.usage).toMatchObject({
      input_tokens: expected.usage.promptTokens,
      output_tokens: expected.usage.completionTokens,
      total_tokens: expected.usage.promptTokens + expected.usage.completionTokens,
    });
    expect((response as unknown as { chainrule: { tokens: number[] } }).chainrule.tokens).toEqual(expected.tokens);
  });

  test("streamed: events are numbered, open and close what they name, and add up to the whole response", async () => {
    const whole = await client.responses.create({ ...body, model: model.name });
    const stream = client.responses.stream({ ...body, model: model.name });
    const events: { type: string; sequence_number: number }[] = [];
    let text = "";
    for await (const event of stream) {
      events.push(event);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, index) => index));
    const types = events.map(({ type }) => type).filter((type) => type !== "response.output_text.delta");
    expect(types).toEqual([
      ...["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"],
      ...["response.output_text.done", "response.content_part.done", "response.output_item.done", `response.${whole.status}`],
    ]);
    const final = await stream.finalResponse();
    expect([text, final.output_text]).toEqual([whole.output_text, whole.output_text]);
    expect(final.usage).toEqual(whole.usage);
  });

  test("a function is called, whole and streamed, and its output goes on", async () => {
    const tools = [{ type: "function" as const, name: "get_weather", parameters, strict: true }];
    const asking = { model: model.name, input: "How is Paris?", max_output_tokens: 200, tools, tool_choice: "required" as const };
    const seeded = { ...asking, parallel_tool_calls: false, chainrule: { seed: 3 } } as typeof asking;
    const response = await client.responses.create(seeded);
    const [call] = response.output;
    if (call?.type !== "function_call") throw new Error("no call");
    expect(JSON.parse(call.arguments)).toEqual(validArguments);
    let pieces = "";
    const stream = client.responses.stream(seeded);
    for await (const event of stream) if (event.type === "response.function_call_arguments.delta") pieces += event.delta;
    expect(pieces).toBe(call.arguments);
    expect((await stream.finalResponse()).output[0]).toMatchObject({ type: "function_call", arguments: call.arguments });
    const next = await client.responses.create({
      ...asking,
      tool_choice: "none",
      max_output_tokens: 4,
      input: [
        { role: "user", content: "How is Paris?" },
        ...(response.output as OpenAI.Responses.ResponseInputItem[]),
        { type: "function_call_output", call_id: call.call_id, output: "rain" },
      ],
    });
    expect(next.usage!.input_tokens).toBeGreaterThan(response.usage!.input_tokens);
  });

  test("a form for the answer, and log-probabilities where they are asked for", async () => {
    const response = await client.responses.create({
      model: model.name,
      input: "A person:",
      max_output_tokens: 60,
      temperature: 0,
      include: ["message.output_text.logprobs"],
      top_logprobs: 2,
      text: { format: { type: "json_schema", name: "answer", schema: { enum: ["yes", "no"] } } },
    });
    expect(["yes", "no"]).toContain(JSON.parse(response.output_text));
    const [item] = response.output;
    const part = item?.type === "message" && item.content[0]?.type === "output_text" ? item.content[0] : undefined;
    expect(part!.logprobs!.map(({ token }) => token).join("")).toContain(response.output_text);
    expect(part!.logprobs![0]!.top_logprobs).toHaveLength(2);
  });

  test.each<[object, string, string]>([
    [{ previous_response_id: "resp_1" }, "unsupported_parameter", "previous_response_id"],
    [{ background: true }, "unsupported_parameter", "background"],
    [{ truncation: "auto" }, "invalid_value", "truncation"],
    [{ top_logprobs: 2 }, "invalid_value", "top_logprobs"],
    [{ messages }, "unknown_parameter", "messages"],
    [{ input: [{ type: "reasoning", id: "a", summary: [] }] }, "invalid_value", "input"],
  ])("%j is refused by name", async (more, code, param) => {
    const { status, body: answer } = await post("/v1/responses", { ...body, ...more });
    expect([status, answer.error.code, answer.error.param?.split(".")[0]]).toEqual([400, code, param]);
  });
});
