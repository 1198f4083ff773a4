import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeRegistry } from "../../src/decoding/index.ts";
import { load, type Model } from "../../src/index.ts";
import { type RunningServer, serve } from "../../src/server/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// Bodies that are nearly right, wrong in any of their fields at any depth: messages and their parts, tools and their schemas, forms, axes with
// their parameters, biases. Bodies that are wrong altogether are in test/models/server.test.ts.

const execArgv = ["--import", pathToFileURL(resolve("scripts/register-typescript.mjs")).href];
const folder = temporaryFolder();
const path = `${folder.path}/tiny.gguf`;
let server: RunningServer;
let model: Model;
beforeAll(async () => {
  await writeTinyChatModel(path);
  const settings = { threads: 1, context: 512, cacheBytes: 2 ** 26 };
  [server, model] = await Promise.all([serve({ model: path, load: settings, port: 0, execArgv }), load(path, settings)]);
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await model?.[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const junk = fc.jsonValue({ maxDepth: 2 });
/** Now and then anything in its place. */
const mostly = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 12, arbitrary }, { weight: 1, arbitrary: junk });
/** Any of these fields, each mostly as it should be. */
const fields = (of: Record<string, fc.Arbitrary<unknown>>, required: readonly string[] = []) =>
  fc.record(Object.fromEntries(Object.entries(of).map(([name, value]) => [name, mostly(value)])), { requiredKeys: [...required] });

const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.constantFrom("", "\0", "\ud800", "<|im_end|>", "<tool_call>", "🦊", "{{ messages }}", "{% for %}", "[[a||b]]", "__proto__"),
);
const name = fc.constantFrom("now", "get_weather", "", "a b", "__proto__", "x".repeat(65));
const number = fc.oneof(
  fc.integer({ min: -3, max: 70 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(2 ** 31, 2 ** 53, -1),
);

const { schema } = fc.letrec((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(true, false, {}),
    fields({
      type: fc.oneof(
        fc.constantFrom("object", "array", "string", "integer", "number", "boolean", "null", "nothing"),
        fc.constantFrom(["string", "null"], ["integer"]),
      ),
      properties: fc.dictionary(text, tie("schema"), { maxKeys: 3 }),
      required: fc.array(text, { maxLength: 2 }),
      additionalProperties: tie("schema"),
      items: tie("schema"),
      prefixItems: fc.array(tie("schema"), { maxLength: 2 }),
      anyOf: fc.array(tie("schema"), { maxLength: 2 }),
      allOf: fc.array(tie("schema"), { maxLength: 2 }),
      not: tie("schema"),
      enum: fc.array(junk, { maxLength: 3 }),
      const: junk,
      $ref: fc.constantFrom("#", "#/properties/a", "#/$defs/x", "https://example.com", "nowhere"),
      $defs: fc.dictionary(fc.constantFrom("x", "__proto__"), tie("schema"), { maxKeys: 2 }),
      pattern: fc.constantFrom("^a+$", "(a+)+$", "[", "\\p{L}", "(?<=x)y", "a{1,100000}"),
      format: fc.constantFrom("date", "uuid", "email", "nothing"),
      minimum: number,
      maximum: number,
      multipleOf: number,
      minLength: number,
      maxLength: number,
      minItems: number,
      maxItems: number,
      uniqueItems: fc.boolean(),
    }),
  ),
}));

const content = fc.oneof(
  text,
  fc.array(fields({ type: fc.constantFrom("text", "image_url", "input_text", "refusal"), text }, ["type", "text"]), { maxLength: 3 }),
);
const call = fields(
  {
    id: text,
    type: fc.constantFrom("function", "custom"),
    function: fields({ name, arguments: fc.oneof(text, fc.json({ maxDepth: 1 })) }, ["name", "arguments"]),
  },
  ["id", "type", "function"],
);
const message = fc.oneof(
  fields({ role: fc.constantFrom("system", "developer", "user", "robot"), content, name: text }, ["role", "content"]),
  fields({ role: fc.constant("assistant"), content: fc.option(content), tool_calls: fc.array(call, { maxLength: 2 }), refusal: text }, [
    "role",
  ]),
  fields({ role: fc.constant("tool"), content, tool_call_id: text }, ["role", "content", "tool_call_id"]),
);
const functionOf = fields({ name, description: text, parameters: schema, strict: fc.boolean() }, ["name"]);

/** A method with parameters as its own list describes them, in range or not, as an object or as text. */
const methodOf = (axis: string): fc.Arbitrary<unknown> =>
  fc.oneof(
    ...describeRegistry()[axis]!.map(({ name: method, parameters }) => {
      const values = Object.entries(parameters).map(([key, { type, choices = [] }]) => {
        const choice = choices.length > 0 ? fc.constantFrom(...choices) : text;
        const tokenValues = fc.dictionary(fc.nat(400).map(String), number, { maxKeys: 2 });
        const kinds: Partial<Record<typeof type, fc.Arbitrary<unknown>>> = {
          ...{ boolean: fc.boolean(), choice, text: fc.oneof(text, fc.constantFrom("[a-z]+", 'root ::= "a" | root')) },
          ...{ "token values": tokenValues, model: fc.constantFrom("small", "/etc/passwd", "smollm2"), function: text },
          examples: fc.array(fields({ input: text, output: text }, ["input", "output"]), { maxLength: 2 }),
        };
        return [key, kinds[type] ?? fc.oneof(fc.integer({ min: 0, max: 4 }), fc.double({ min: 0, max: 1, noNaN: true }), number)] as const;
      });
      const object = fields({ name: fc.constantFrom(method, method, method, "psychic"), ...Object.fromEntries(values) }, ["name"]);
      const compact = object.map((of) =>
        Object.entries(of)
          .map(([key, value]) =>
            key === "name" ? String(value) : `${key}=${typeof value === "object" ? JSON.stringify(value) : String(value)}`,
          )
          .join(","),
      );
      return fc.oneof(object, compact);
    }),
  );
const axis = (of: string) =>
  fc.oneof({ weight: 3, arbitrary: methodOf(of) }, { weight: 1, arbitrary: fc.array(mostly(methodOf(of)), { maxLength: 2 }) });
const axes = ["layout", "skip", "draft", "guide", "sample", "search", "explain"] as const;
const extension = fc
  .tuple(
    fields({
      ...{ topK: number, minP: number, typical: number, repetitionPenalty: number, stopTokens: fc.array(number, { maxLength: 2 }) },
      ...{ ignoreEndTokens: fc.boolean(), parseSpecial: fc.boolean(), priority: number, promptLogprobs: fc.integer({ min: -1, max: 22 }) },
      ...{ facts: fc.boolean(), adapter: axis("skip"), prefixKey: text, nothing: junk },
    }).map((all) => Object.fromEntries(Object.entries(all).filter((_, index) => index % 3 === 0))),
    fc
      .uniqueArray(fc.constantFrom(...axes), { maxLength: 2 })
      .chain((names) => fc.record(Object.fromEntries(names.map((of) => [of, mostly(axis(of))])))),
  )
  .map(([options, methods]) => ({ ...options, ...methods, deadlineMs: 2000 })); // what is merely dear ends

const sampling = {
  temperature: fc.double({ min: -0.2, max: 2.2, noNaN: true }),
  top_p: fc.double({ min: 0, max: 1.1, noNaN: true }),
  stop: fc.oneof(text, fc.array(text, { maxLength: 3 })),
  stream: fc.boolean(),
  user: junk,
};
const counted = {
  ...sampling,
  n: fc.integer({ min: 0, max: 3 }),
  seed: number,
  presence_penalty: number,
  frequency_penalty: number,
  logit_bias: fc.dictionary(fc.oneof(fc.nat(400).map(String), text), fc.integer({ min: -101, max: 101 }), { maxKeys: 3 }),
  stream_options: fields({ include_usage: fc.boolean(), other: junk }),
};
const limit = fc.integer({ min: 0, max: 6 });
const some = <T extends object>(arbitrary: fc.Arbitrary<T>) =>
  // of the many optional fields a few, so that most bodies get past the schema
  fc
    .tuple(arbitrary, fc.infiniteStream(fc.integer({ min: 0, max: 3 })))
    .map(([body, dice]) =>
      Object.fromEntries(
        Object.entries(body).filter(
          ([key]) =>
            dice.next().value === 0 ||
            ["messages", "prompt", "input", "max_tokens", "max_output_tokens", "chainrule", "stream"].includes(key),
        ),
      ),
    );

const bodies: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  "/v1/chat/completions": some(
    fields(
      {
        ...counted,
        messages: fc.array(message, { minLength: 1, maxLength: 3 }),
        max_tokens: limit,
        logprobs: fc.boolean(),
        top_logprobs: limit,
        tools: fc.array(fields({ type: fc.constant("function"), function: functionOf }, ["type", "function"]), { maxLength: 2 }),
        tool_choice: fc.oneof(
          fc.constantFrom("none", "auto", "required"),
          fields({ type: fc.constant("function"), function: fields({ name }, ["name"]) }),
        ),
        parallel_tool_calls: fc.boolean(),
        response_format: fc.oneof(
          fc.constantFrom({ type: "text" }, { type: "json_object" }),
          fields(
            { type: fc.constant("json_schema"), json_schema: fields({ name: text, schema, strict: fc.boolean() }, ["name", "schema"]) },
            ["type", "json_schema"],
          ),
        ),
        chainrule: extension,
      },
      ["messages", "max_tokens"],
    ),
  ),
  "/v1/completions": some(
    fields(
      {
        ...counted,
        prompt: fc.oneof(
          text,
          fc.array(fc.nat(330), { maxLength: 5 }),
          fc.array(text, { maxLength: 3 }),
          fc.array(fc.array(fc.nat(330), { maxLength: 3 }), { maxLength: 3 }),
        ),
        max_tokens: limit,
        logprobs: limit,
        echo: fc.boolean(),
        chainrule: extension,
      },
      ["prompt", "max_tokens"],
    ),
  ),
  "/v1/responses": some(
    fields(
      {
        ...sampling,
        input: fc.oneof(
          text,
          fc.array(
            fc.oneof(
              fields({ role: fc.constantFrom("user", "assistant", "system"), content }, ["role", "content"]),
              fields({ type: fc.constant("function_call"), call_id: text, name, arguments: text }, [
                "type",
                "call_id",
                "name",
                "arguments",
              ]),
              fields({ type: fc.constant("function_call_output"), call_id: text, output: text }, ["type", "call_id", "output"]),
            ),
            { maxLength: 3 },
          ),
        ),
        instructions: text,
        max_output_tokens: limit,
        include: fc.constant(["message.output_text.logprobs"]),
        top_logprobs: limit,
        tools: fc.array(fields({ type: fc.constant("function"), name, parameters: schema }, ["type", "name"]), { maxLength: 2 }),
        tool_choice: fc.oneof(
          fc.constantFrom("none", "auto", "required"),
          fields({ type: fc.constant("function"), name }, ["type", "name"]),
        ),
        text: fields({ format: fields({ type: fc.constantFrom("text", "json_object", "json_schema"), name: text, schema }, ["type"]) }),
        stream_options: fields({ include_obfuscation: fc.boolean() }),
        chainrule: extension,
      },
      ["input", "max_output_tokens"],
    ),
  ),
  "/v1/embeddings": fields(
    {
      input: fc.oneof(text, fc.array(text, { maxLength: 3 })),
      encoding_format: fc.constantFrom("float", "base64", "int8"),
      dimensions: number,
    },
    ["input"],
  ),
  "/tokenize": fields({ text, special: fc.boolean(), bos: fc.boolean() }, ["text"]),
  "/detokenize": fields(
    {
      tokens: fc.oneof(fc.array(fc.nat(330), { maxLength: 4 }), fc.array(fc.array(fc.nat(330), { maxLength: 2 }), { maxLength: 2 })),
      special: fc.boolean(),
    },
    ["tokens"],
  ),
};
const request = fc.oneof(
  ...[
    "/v1/chat/completions",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
  ].map((endpoint) => bodies[endpoint]!.map((body) => ({ endpoint, body }))),
);

test(
  "whatever stands in a body's fields, at any depth, the answer is no 5xx but 503 and has a body; then the server is alive and right",
  async () => {
    const statuses = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(request, async ({ endpoint, body }) => {
        const response = await fetch(`${server.url}${endpoint}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        });
        const answer = await response.text();
        const { status } = response;
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        expect(status < 500 || status === 503, `${status} ${answer}`).toBe(true);
        expect(server.engine.restarts).toBe(0);
        if (status >= 400)
          expect((JSON.parse(answer) as { error: { message: string; code: string } }).error).toMatchObject({
            message: expect.stringMatching(/./),
            code: expect.stringMatching(/./),
          });
        else if (response.headers.get("content-type")?.startsWith("text/event-stream") !== true)
          expect(JSON.parse(answer)).toBeTypeOf("object");
        else
          for (const [, data] of answer.matchAll(/^event: error\ndata: (.*)$/gm))
            expect(answerError(data!), answer).not.toMatch(/internal|crashed/);
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 10_000 : 500 },
    );
    // otherwise the fields are never reached
    expect(statuses.get(200)!).toBeGreaterThan(25);
    const messages = [{ role: "user" as const, content: "How is Paris?" }];
    const expected = await model.generate(messages, { maxTokens: 8, temperature: 0 });
    const response = await fetch(`${server.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages, max_tokens: 8, temperature: 0 }),
    });
    expect(await response.json()).toMatchObject({ choices: [{ message: { content: expected.text } }] });
    expect(await server.engine.ping()).toMatchObject({ running: 0, queued: 0, streamsUsed: 0 });
  },
  process.env.CHAINRULE_SOAK ? 3_600_000 : 300_000,
);

/** The code of an error event. */
const answerError = (data: string) =>
  (JSON.parse(data) as { error?: { code?: string }; code?: string }).error?.code ?? (JSON.parse(data) as { code?: string }).code ?? "";
