import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import fc from "fast-check";
import OpenAI, { APIError, AuthenticationError } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { load, type Model } from "../../src/index.ts";
import { type RunningServer, serve } from "../../src/server/index.ts";

// The official clients against a server on the default model, beside the same model in this process.

const execArgv = ["--import", pathToFileURL(resolve("scripts/register-typescript.mjs")).href];
const key = "a key of ours";
let server: RunningServer;
let model: Model;
let client: OpenAI;
beforeAll(async () => {
  const settings = { threads: 1, context: 512, cacheBytes: 2 ** 28 };
  [server, model] = await Promise.all([
    serve({ model: "smollm2", load: settings, port: 0, execArgv, apiKeys: ["another", key], maxRequests: 16, maxTokens: 2048 }),
    load("smollm2", settings),
  ]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: key, maxRetries: 0 });
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await model?.[Symbol.asyncDispose]();
});

const messages = [{ role: "user" as const, content: "Name three colours." }];
const chat = { model: "smollm2", messages, max_tokens: 12, temperature: 0 } as const;
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${server.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}`, ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
const status = async () =>
  (await (await fetch(`${server.url}/v1/chainrule/status`, { headers: { authorization: `Bearer ${key}` } })).json()) as Status;
interface Status {
  requests: { running: number };
  engine: { running: number; streamsUsed: number };
}
/** Waits until nothing is under way; the engine tells of itself once a second. */
async function idle(): Promise<Status> {
  for (;;) {
    const now = await status();
    if (now.requests.running === 0 && now.engine?.running === 0 && now.engine.streamsUsed === 0) return now;
    await new Promise((done) => setTimeout(done, 100));
  }
}

describe("the openai client", () => {
  test("chat: the answer, its usage and its facts are those of the model in process", async () => {
    const expected = await model.generate(messages, { maxTokens: 12, temperature: 0 });
    const answer = await client.chat.completions.create(chat);
    expect(answer.choices[0]!.message.content).toBe(expected.text);
    expect(answer.choices[0]!.finish_reason).toBe("length");
    expect(answer.usage).toEqual({
      prompt_tokens: expected.usage.promptTokens,
      completion_tokens: 12,
      total_tokens: expected.usage.promptTokens + 12,
      prompt_tokens_details: { cached_tokens: expect.any(Number) },
    });
    const { chainrule } = answer as unknown as { chainrule: { choices: { tokens: number[]; facts: { passes: number } }[] } };
    expect(chainrule.choices[0]!.tokens).toEqual(expected.tokens);
    expect(chainrule.choices[0]!.facts.passes).toBe(expected.facts.passes);
  });

  test("chat, streamed: the pieces are the answer; usage comes last", async () => {
    const whole = (await client.chat.completions.create(chat)).choices[0]!.message.content;
    let text = "";
    let usage: unknown;
    let reason: unknown;
    for await (const { choices, usage: at } of await client.chat.completions.create({
      ...chat,
      stream: true,
      stream_options: { include_usage: true },
    })) {
      text += choices[0]?.delta.content ?? "";
      reason ??= choices[0]?.finish_reason;
      usage = at ?? usage;
    }
    expect([text, reason]).toEqual([whole, "length"]);
    expect(usage).toMatchObject({ completion_tokens: 12 });
  });

  test("several answers, stop, seed, log-probabilities", async () => {
    const drawn = { ...chat, temperature: 1, n: 3, seed: 5, logprobs: true, top_logprobs: 2 };
    const [once, again] = [await client.chat.completions.create(drawn), await client.chat.completions.create(drawn)];
    const texts = (of: typeof once) => of.choices.map(({ message }) => message.content);
    expect(texts(once)).toEqual(texts(again));
    expect(new Set(texts(once)).size).toBeGreaterThan(1);
    const [first] = once.choices[0]!.logprobs!.content!;
    expect(first!.top_logprobs).toHaveLength(2);
    expect(first!.logprob).toBeLessThanOrEqual(0);
    expect(Buffer.from(first!.bytes!).toString()).toBe(first!.token);
    const stopped = await client.chat.completions.create({ ...chat, max_tokens: 40, stop: [","] });
    expect(stopped.choices[0]).toMatchObject({ finish_reason: "stop" });
    expect(stopped.choices[0]!.message.content).not.toContain(",");
  });

  test("a JSON schema holds the answer", async () => {
    const schema = {
      type: "object",
      properties: { name: { type: "string", maxLength: 8 }, age: { type: "integer", minimum: 1, maximum: 99 } },
      required: ["name", "age"],
      additionalProperties: false,
    };
    const { choices } = await client.chat.completions.create({
      ...chat,
      max_tokens: 60,
      response_format: { type: "json_schema", json_schema: { name: "person", schema } },
    });
    expect(choices[0]!.finish_reason).toBe("stop");
    expect(JSON.parse(choices[0]!.message.content!)).toEqual({ name: expect.any(String), age: expect.any(Number) });
  });

  test("completions: echo with log-probabilities is score() in process", async () => {
    const text = "The capital of France is Paris, and that of Italy is Rome.";
    const { choices } = await client.completions.create({ model: "smollm2", prompt: text, max_tokens: 0, echo: true, logprobs: 1 });
    const { tokens, token_logprobs: logprobs, text_offset: offsets } = choices[0]!.logprobs!;
    expect(choices[0]!.text).toBe(text);
    expect(tokens!.join("")).toBe(text);
    expect(offsets!.map((at, index) => text.slice(at, offsets![index + 1] ?? text.length))).toEqual(tokens);
    const scored = await model.score(text);
    expect(logprobs!.slice(1)).toEqual([...scored.logprobs].slice(-(tokens!.length - 1)));
  });

  // requests and reading as in lm_eval/models/openai_completions.py, LocalCompletionsAPI: a batch of token lists, one token more than is scored
  test("log-likelihoods as lm-evaluation-harness asks for them are score() in process, and say what is greedy", async () => {
    const context = model.tokenize("Question: What is the capital of France?\nAnswer:");
    const greedy = (await model.generate(context, { maxTokens: 4, temperature: 0 })).tokens;
    const long = model.tokenize("The river rises in the hills to the north and runs for ninety miles before it meets the sea. ".repeat(4));
    const pairs = [
      [context, model.tokenize(" Paris", { bos: false })],
      [context, model.tokenize(" The city of London, in England", { bos: false })],
      [context, greedy],
      [long.slice(0, 70), long.slice(70, 80)],
    ] as const;
    const prompts = pairs.map(([before, after]) => [...before, ...after]);
    const payload = { model: "smollm2", prompt: prompts, temperature: 0, logprobs: 1, seed: 1234, echo: true };
    for (const [maxTokens, end] of [
      [1, -1],
      [0, undefined],
    ] as const) {
      const answer = (await (await post("/v1/completions", { ...payload, max_tokens: maxTokens })).json()) as Legacy;
      for (const { index, logprobs } of answer.choices) {
        const [before] = pairs[index]!;
        expect(logprobs.tokens).toHaveLength(prompts[index]!.length + maxTokens);
        expect([logprobs.token_logprobs[0], logprobs.top_logprobs[0]]).toEqual([null, null]);
        const own = logprobs.token_logprobs.slice(before.length, end) as number[];
        const top = logprobs.top_logprobs.slice(before.length, end) as Record<string, number>[];
        const scored = await model.score(prompts[index] as never);
        expect(own).toEqual(scored.logprobs.slice(before.length));
        const isGreedy = own.every((logprob, at) => logprob === Math.max(...Object.values(top[at]!)));
        expect(isGreedy).toBe(await isMostProbable(prompts[index]!, before.length));
        if (index === 2) expect(isGreedy).toBe(true);
        if (index === 1) expect(isGreedy).toBe(false);
      }
      expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    }
  });

  /** Whether each token from `from` on is the most probable one. */
  async function isMostProbable(tokens: readonly number[], from: number): Promise<boolean> {
    using sequence = model.sequence();
    const { rows } = await sequence.forward({ input: tokens as never, want: { logits: "all", top: 1 } });
    return tokens.slice(from).every((token, at) => rows[from + at - 1]!.candidates!.ids[0] === token);
  }

  test("an answer that ends at once has its end token among the log-probabilities, which lm-evaluation-harness cuts off", async () => {
    const prompt = model.tokenize("The end.");
    const end = model.tokenizer.endTokens.values().next().value as number;
    const body = { model: "smollm2", prompt: [prompt], max_tokens: 1, echo: true, logprobs: 1, temperature: 0, logit_bias: { [end]: 100 } };
    const { choices } = (await (await post("/v1/completions", body)).json()) as Legacy;
    expect(choices[0]).toMatchObject({ text: "The end.", finish_reason: "stop" });
    expect(choices[0]!.logprobs.token_logprobs).toHaveLength(prompt.length + 1);
  });

  interface Legacy {
    choices: {
      index: number;
      text: string;
      finish_reason: string;
      logprobs: { tokens: string[]; token_logprobs: (number | null)[]; top_logprobs: (Record<string, number> | null)[] };
    }[];
  }

  test("completions: several prompts, as text and as tokens, streamed and not", async () => {
    const prompts = ["One, two,", "A, B,"];
    const alone = await Promise.all(prompts.map((prompt) => model.generate(prompt, { maxTokens: 6, temperature: 0 })));
    const body = { model: "smollm2", max_tokens: 6, temperature: 0 } as const;
    const texts = alone.map(({ text }) => text);
    const answer = await client.completions.create({ ...body, prompt: prompts });
    expect(answer.choices.map(({ text }) => text)).toEqual(texts);
    expect(answer.usage!.prompt_tokens).toBe(alone.reduce((sum, { usage }) => sum + usage.promptTokens, 0));
    const streamed = ["", ""];
    for await (const { choices } of await client.completions.create({
      ...body,
      prompt: prompts.map((prompt) => model.tokenize(prompt)) as never,
      stream: true,
    }))
      for (const { index, text } of choices) streamed[index] += text;
    expect(streamed).toEqual(texts);
  });

  test("embeddings, as numbers and packed", async () => {
    const { vectors } = await model.embed(["a cat", "a dog"]);
    const floats = await client.embeddings.create({ model: "smollm2", input: ["a cat", "a dog"], encoding_format: "float" });
    expect(floats.data.map(({ embedding }) => Float32Array.from(embedding))).toEqual(vectors);
    const packed = await client.embeddings.create({ model: "smollm2", input: "a cat" }); // base64 on the wire, the client unpacks
    expect(Float32Array.from(packed.data[0]!.embedding)).toEqual(vectors[0]);
  });

  test("models, tokens, and the registry", async () => {
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(["smollm2"]);
    expect((await client.models.retrieve("smollm2")).id).toBe("smollm2");
    const { tokens } = (await (await post("/tokenize", { text: "Hello world" })).json()) as { tokens: number[] };
    expect(tokens).toEqual(model.tokenize("Hello world"));
    expect(await (await post("/detokenize", { tokens })).json()).toEqual({ text: "Hello world" });
    const lists = [tokens, [], tokens.slice(1)];
    expect(await (await post("/detokenize", { tokens: lists })).json()).toEqual({ texts: ["Hello world", "", " world"] });
    const headers = { authorization: `Bearer ${key}` };
    const methods = (await (await fetch(`${server.url}/v1/chainrule/methods`, { headers })).json()) as Record<string, { name: string }[]>;
    expect(methods.draft!.map(({ name }) => name)).toContain("ngram");
    expect(await (await fetch(`${server.url}/metrics`, { headers })).text()).toMatch(/^chainrule:num_requests_running \d+$/m);
    expect(((await (await fetch(`${server.url}/openapi.json`, { headers })).json()) as { openapi: string }).openapi).toBe("3.1.0");
  });

  interface Said {
    branch?: { id: number; from: number; tokens: number[]; end: string };
    growth?: { id: number; from: number; at: number; tokens: number[] };
    facts?: { branches: object[] };
  }
  test.each(["/v1/chat/completions", "/v1/completions"])(
    "%s: a search's branches come as they end, before the answer's end",
    async (path) => {
      const prompt = path.includes("chat") ? { messages } : { prompt: "Once upon a time" };
      const body = { ...prompt, max_tokens: 8, temperature: 0, stream: true, chainrule: { search: "beam,width=3" } };
      const events = (await (await post(path, body)).text())
        .split("\n\n")
        .filter((event) => event.startsWith("data: {"))
        .map((event) => (JSON.parse(event.slice(6)) as { chainrule?: Said }).chainrule ?? {});
      const branches = events.flatMap(({ branch }) => branch ?? []);
      expect(events.at(-1)!.facts!.branches).toEqual(branches);
      expect(branches.length).toBeGreaterThanOrEqual(3);
      const won = branches.find(({ end }) => end === "won")!;
      const grown = events.flatMap(({ growth }) => growth ?? []).filter(({ id, at }) => id === won.id && at >= won.from);
      expect(grown.flatMap(({ tokens }) => tokens)).toEqual(won.tokens);
      const without = await (await post(path, { ...body, chainrule: { ...body.chainrule, facts: false } })).text();
      expect(without).not.toContain('chainrule":');
    },
  );

  test("the axes in one extra object, the facts in the answer", async () => {
    const plain = await client.chat.completions.create({ ...chat, max_tokens: 24 });
    const drafted = await client.chat.completions.create({ ...chat, max_tokens: 24, chainrule: { draft: "ngram" } } as never);
    expect(drafted.choices[0]!.message.content).toBe(plain.choices[0]!.message.content);
    expect(
      (drafted as unknown as { chainrule: { choices: { facts: { drafts: { method: string } } }[] } }).chainrule.choices[0]!.facts.drafts
        .method,
    ).toBe("ngram");
  });
});

test("the AI SDK, whole and streamed", async () => {
  const provider = createOpenAICompatible({ name: "chainrule", baseURL: `${server.url}/v1`, apiKey: key });
  const options = { model: provider("smollm2"), prompt: messages[0]!.content, maxOutputTokens: 12, temperature: 0, maxRetries: 0 };
  const { text, usage } = await generateText(options);
  expect(text).toBe((await model.generate(messages, { maxTokens: 12, temperature: 0 })).text);
  expect(usage.outputTokens).toBe(12);
  let streamed = "";
  for await (const piece of streamText(options).textStream) streamed += piece;
  expect(streamed).toBe(text);
});

describe("what is wrong is said in OpenAI's form", () => {
  test.each<[string, string, unknown, number, string, string | null]>([
    ["an unknown parameter", "/v1/chat/completions", { ...chat, tempreature: 1 }, 400, "unknown_parameter", "tempreature"],
    ["a refused parameter", "/v1/chat/completions", { ...chat, functions: [] }, 400, "unsupported_parameter", "functions"],
    ["a value out of range", "/v1/chat/completions", { ...chat, temperature: 9 }, 400, "invalid_value", "temperature"],
    [
      "a message of no role",
      "/v1/chat/completions",
      { messages: [{ role: "robot", content: "x" }] },
      400,
      "invalid_value",
      "messages.0.role",
    ],
    [
      "two names of one thing",
      "/v1/chat/completions",
      { ...chat, chainrule: { sample: "greedy" } },
      400,
      "invalid_value",
      "chainrule.sample",
    ],
    ["an unknown method", "/v1/chat/completions", { ...chat, chainrule: { draft: "psychic" } }, 400, "invalid_value", "chainrule.draft"],
    ["a prompt beyond the context", "/v1/completions", { prompt: "word ".repeat(600) }, 400, "context_length_exceeded", null],
    ["another model", "/v1/completions", { prompt: "x", model: "gpt-4" }, 404, "model_not_found", "model"],
    ["no JSON", "/v1/completions", "{", 400, "invalid_json", null],
    ["a list", "/v1/completions", [], 400, "invalid_body", null],
    ["a token beyond the vocabulary", "/v1/completions", { prompt: [999_999] }, 400, "invalid_value", null],
    ["a body too large", "/v1/completions", { prompt: "x".repeat(5 * 2 ** 20) }, 413, "body_too_large", null],
    ["an unknown path", "/v1/nothing", {}, 404, "not_found", null],
  ])("%s", async (_, path, body, code, name, param) => {
    for (const stream of [false, true]) {
      const response = await post(path, typeof body === "string" || Array.isArray(body) ? body : { ...(body as object), stream });
      const { error } = (await response.json()) as { error: { code: string; param: string | null; message: string; type: string } };
      expect([response.status, error.code, error.param]).toEqual([code, name, param]);
      expect(response.headers.get("x-request-id")).toMatch(/./);
    }
  });

  test("annotations are accepted and change nothing", async () => {
    const body = { ...chat, user: "me", metadata: { a: "b" }, store: false };
    const answer = await client.chat.completions.create(body as never);
    expect(answer).toMatchObject({ choices: (await client.chat.completions.create(chat)).choices });
  });

  test("without a key, or with a wrong one: 401; health and readiness ask for none", async () => {
    for (const authorization of ["", "Bearer wrong", `Basic ${key}`]) {
      const response = await post("/v1/completions", { prompt: "x" }, { authorization });
      expect(response.status).toBe(401);
    }
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    expect((await fetch(`${server.url}/ready`)).status).toBe(200);
    await expect(new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "x", maxRetries: 0 }).models.list()).rejects.toThrow(
      AuthenticationError,
    );
  });

  test("whatever a body holds, the answer is no 5xx but 503, and always has a body", async () => {
    const anything = fc.jsonValue({ maxDepth: 2 });
    const fields = [
      "messages",
      "prompt",
      "max_tokens",
      "temperature",
      "n",
      "stop",
      "logprobs",
      "echo",
      "stream",
      "seed",
      "logit_bias",
      "chainrule",
      "response_format",
      "tools",
      "tool_choice",
      "input",
    ];
    const odd = fc.dictionary(fc.constantFrom(...fields), anything, { maxKeys: 4 });
    const nearly = fc.record(
      {
        prompt: fc.oneof(fc.string(), fc.array(fc.nat(60_000), { minLength: 1, maxLength: 4 })),
        max_tokens: fc.integer({ min: 0, max: 3 }),
        temperature: fc.oneof(fc.double({ min: 0, max: 3, noNaN: true }), anything),
        stop: fc.oneof(fc.string(), anything),
        logit_bias: fc.dictionary(fc.nat(70_000).map(String), fc.integer({ min: -150, max: 150 }), { maxKeys: 3 }),
      },
      { requiredKeys: ["prompt"] },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize", "/detokenize"),
        fc.oneof(odd, nearly, anything),
        async (path, body) => {
          const limited =
            typeof body === "object" && body !== null && !Array.isArray(body) && path.startsWith("/v1/c")
              ? { max_tokens: 2, ...body }
              : body;
          const response = await post(path, limited);
          const text = await response.text();
          expect(response.status < 500 || response.status === 503, `${response.status} ${text}`).toBe(true);
          expect(text.length).toBeGreaterThan(0);
          if (response.status >= 400) expect(JSON.parse(text).error.message).toMatch(/./);
        },
      ),
      { numRuns: process.env.CHAINRULE_SOAK ? 10_000 : 500 },
    );
    expect((await client.chat.completions.create(chat)).choices[0]!.message.content).toBe(
      (await model.generate(messages, { maxTokens: 12, temperature: 0 })).text,
    );
  });
});

describe("under load", () => {
  test("a client that leaves stops its work: streaming or not, in prompt and answer", async () => {
    const long = {
      ...chat,
      messages: [{ role: "user", content: "word ".repeat(300) }],
      max_tokens: 150,
      chainrule: { ignoreEndTokens: true },
    };
    for (const stream of [true, false]) {
      for (const after of [0, 300]) {
        const controller = new AbortController();
        const answer = fetch(`${server.url}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
          body: JSON.stringify({ ...long, stream }),
          signal: controller.signal,
        }).then((response) => response.text());
        answer.catch(() => undefined);
        await new Promise((done) => setTimeout(done, after));
        controller.abort();
        await expect(answer).rejects.toThrow();
      }
    }
    await idle();
  });

  test("many at once: each gets its own answer, and what is too much gets 429", async () => {
    const prompts = Array.from({ length: 12 }, (_, index) => `The number ${index} comes before`);
    const expected = await Promise.all(
      prompts.map(async (prompt) => (await model.generate(prompt, { maxTokens: 8, temperature: 0 })).text),
    );
    const ask = async (prompt: string) =>
      (await client.completions.create({ model: "smollm2", prompt, max_tokens: 8, temperature: 0 })).choices[0]!.text;
    expect(await Promise.all(prompts.map(ask))).toEqual(expected);
    const responses = await Promise.all(
      Array.from({ length: 40 }, () => post("/v1/completions", { prompt: "x", max_tokens: 4, temperature: 0 })),
    );
    const refused = responses.filter((response) => response.status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(responses.every((response) => [200, 429].includes(response.status))).toBe(true);
    for (const response of refused) {
      expect(Number(response.headers.get("retry-after-ms"))).toBeGreaterThan(0);
      expect(response.headers.get("x-should-retry")).toBe("true");
      expect(((await response.json()) as { error: { type: string } }).error.type).toBe("rate_limit_error");
    }
    await idle();
  });

  test("a reader that doesn't read stops its run, and gets the rest when it reads", async () => {
    const body = {
      model: "smollm2",
      prompt: "Count:",
      max_tokens: 160,
      temperature: 0,
      chainrule: { ignoreEndTokens: true, facts: true },
      stream: true,
    };
    const expected = (await model.generate("Count:", { maxTokens: 160, temperature: 0, ignoreEndTokens: true })).text;
    const response = await post("/v1/completions", body);
    const reader = response.body!.getReader();
    const chunks = [(await reader.read()).value!];
    // others are served meanwhile
    expect((await client.chat.completions.create(chat)).choices).toHaveLength(1);
    for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
    const events = Buffer.concat(chunks)
      .toString()
      .split("\n\n")
      .filter((line) => line.startsWith("data: {"));
    expect(events.map((line) => (JSON.parse(line.slice(6)) as { choices: { text: string }[] }).choices[0]?.text ?? "").join("")).toBe(
      expected,
    );
  });

  test("the engine killed: 500 with a code or an error event, not ready, then ready again and right", async () => {
    const long = { prompt: "Once upon a time", max_tokens: 250, temperature: 0, chainrule: { ignoreEndTokens: true } };
    const whole = post("/v1/completions", long);
    const streamed = await post("/v1/completions", { ...long, stream: true });
    const reader = streamed.body!.getReader();
    await reader.read();
    process.kill(server.engine.pid!, "SIGKILL");
    const failed = await whole;
    expect(failed.status).toBe(500);
    expect(((await failed.json()) as { error: { code: string } }).error.code).toBe("engine_crashed");
    let rest = "";
    for (let next = await reader.read(); !next.done; next = await reader.read()) rest += Buffer.from(next.value).toString();
    expect(rest).toMatch(/event: error\ndata: .*"engine_crashed"/);
    expect(rest).not.toContain("[DONE]");
    await server.engine.ready();
    // the official client makes an exception of the event
    const again = await client.completions.create({ model: "smollm2", ...long, stream: true });
    const read = async () => {
      let isKilled = false;
      for await (const { choices } of again) {
        if (!isKilled && choices.length > 0) process.kill(server.engine.pid!, "SIGKILL");
        isKilled = true;
      }
    };
    await expect(read()).rejects.toThrow(APIError);
    await server.engine.ready();
    expect((await fetch(`${server.url}/ready`)).status).toBe(200);
    expect((await client.chat.completions.create(chat)).choices[0]!.message.content).toBe(
      (await model.generate(messages, { maxTokens: 12, temperature: 0 })).text,
    );
  });
});

test("stop: not ready, new requests refused, the one under way finishes", async () => {
  await using other = await serve({ model: "smollm2", load: { threads: 1, context: 256, cacheBytes: 2 ** 27 }, port: 0, execArgv });
  const streamed = await fetch(`${other.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "One, two,", max_tokens: 30, temperature: 0, stream: true, chainrule: { ignoreEndTokens: true } }),
  });
  const stopped = other.stop();
  const text = await streamed.text();
  expect(text.trimEnd().endsWith("data: [DONE]")).toBe(true);
  await stopped;
  await expect(fetch(`${other.url}/health`)).rejects.toThrow();
});
