import { z } from "zod";
import { generateOptionNames, registry } from "../decoding/index.ts";

/**
 * The bodies of requests, one schema each: validation, types and `/openapi.json` come from them. A field is in one of three published
 * lists: those of the schema act; an *annotation* has no effect on any output by OpenAI's own definition and is accepted; a *refused* one
 * would change the answer and is not supported. Anything else is unknown.
 */

const text = z.string();
const maxStops = 16;
const maxStopLength = 1024;
const maxBiases = 4096;
/** Answers that one request may ask for, over all its prompts. */
const maxAnswers = 128;
/** Characters of a method's name with its parameters, or of a schema or grammar: what compiling one may be fed. */
const maxSpecLength = 64 * 1024;

const isSmall = (value: unknown) => JSON.stringify(value).length <= maxSpecLength;
const tooLarge = { error: `holds more than ${maxSpecLength} characters` };
const method = z.union([z.string().max(maxSpecLength), z.looseObject({ name: z.string() }).refine(isSmall, tooLarge)]);
export type MethodSpec = z.infer<typeof method>;

/** Options of `generate()` that hold one value. A new option is accepted as any JSON and checked by the engine until it stands here. */
const described: Readonly<Record<string, z.ZodType>> = {
  topK: z.int().min(0),
  minP: z.number().min(0).max(1),
  typical: z.number().min(0).max(1),
  repetitionPenalty: z.number().min(0).max(10),
  deadlineMs: z.number().positive(),
  ignoreEndTokens: z.boolean(),
  stopTokens: z.array(z.int().min(0)).max(64),
  parseSpecial: z.boolean(),
  priority: z.int().min(-100).max(100),
  promptLogprobs: z.int().min(0).max(20),
};
/** Options that OpenAI's fields name, in each endpoint's own way, and what can't cross the wire. */
const elsewhere: ReadonlySet<string> = new Set([
  ...["maxTokens", "temperature", "topP", "seed", "stop", "presencePenalty", "frequencyPenalty", "bias", "logprobs"],
  "signal",
]);
const axisValue = z.union([method, z.array(method).max(16)]).optional();

/** What `generate()` has beyond OpenAI's fields, method by method and option by option; the engine knows every parameter's range. */
const axes = Object.fromEntries(
  [...new Set([...Object.keys(registry), ...generateOptionNames])]
    .filter((name) => !elsewhere.has(name))
    .map((name) => [name, Object.hasOwn(registry, name) ? axisValue : (described[name] ?? z.json()).optional()]),
) as { readonly guide: typeof axisValue; readonly sample: typeof axisValue }; // the two that the server itself reads

export const extension = z
  .strictObject({
    ...axes,
    /** Send each token's fact with its text, and the run's facts at the end. Default true. */
    facts: z.boolean().optional(),
  })
  .meta({ description: "The axes of generate() and what a run reports; see /v1/chainrule/methods" });
const temperature = z.number().min(0).max(2).nullish();
const topP = z.number().min(0).max(1).nullish();
const topLogprobs = z.int().min(0).max(20).nullish();
const seed = z.int().min(0);
const stop = z.union([text.min(1).max(maxStopLength), z.array(text.min(1).max(maxStopLength)).max(maxStops)]);
const sampling = {
  model: z.string().min(1).optional(),
  temperature,
  top_p: topP,
  n: z.int().min(1).max(16).nullish(),
  seed: seed.nullish(),
  stop: stop.nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d+$/), z.number().min(-100).max(100))
    .refine((bias) => Object.keys(bias).length <= maxBiases, { error: `holds more than ${maxBiases} tokens` })
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.strictObject({ include_usage: z.boolean().optional() }).nullish(),
  chainrule: extension.optional(),
};

const functionName = z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/);
const functionFields = {
  name: functionName,
  description: text.nullish(),
  parameters: z.looseObject({}).refine(isSmall, tooLarge).nullish(),
  strict: z.boolean().nullish(),
};
const maxTools = 128;

const part = z.strictObject({ type: z.literal("text"), text });
const content = z.union([text, z.array(part).min(1)]);
const toolCall = z.strictObject({
  id: text.min(1),
  type: z.literal("function"),
  function: z.strictObject({ name: functionName, arguments: text }),
});
const message = z.discriminatedUnion("role", [
  z.strictObject({ role: z.literal("system"), content, name: text.optional() }),
  z.strictObject({ role: z.literal("developer"), content, name: text.optional() }),
  z.strictObject({ role: z.literal("user"), content, name: text.optional() }),
  z.strictObject({
    role: z.literal("assistant"),
    content: content.nullish(),
    name: text.optional(),
    refusal: z.null().optional(),
    tool_calls: z.array(toolCall).min(1).max(maxTools).optional(),
  }),
  z.strictObject({ role: z.literal("tool"), content, tool_call_id: text.min(1) }),
]);
const jsonSchema = z.looseObject({}).refine(isSmall, tooLarge);

export const chatRequest = z.strictObject({
  messages: z.array(message).min(1).max(2048),
  max_tokens: z.int().min(0).nullish(),
  max_completion_tokens: z.int().min(0).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: topLogprobs,
  tools: z
    .array(z.strictObject({ type: z.literal("function"), function: z.strictObject(functionFields) }))
    .min(1)
    .max(maxTools)
    .nullish(),
  tool_choice: z
    .union([
      z.enum(["none", "auto", "required"]),
      z.strictObject({ type: z.literal("function"), function: z.strictObject({ name: functionName }) }),
    ])
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  response_format: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("text") }),
      z.strictObject({ type: z.literal("json_object") }),
      z.strictObject({
        type: z.literal("json_schema"),
        json_schema: z.strictObject({
          name: text,
          schema: jsonSchema,
          strict: z.boolean().nullish(),
          description: text.optional(),
        }),
      }),
    ])
    .nullish(),
  ...sampling,
});

const tokens = z.array(z.int().min(0)).min(1);
/** Whether it is several prompts: texts, or lists of tokens. */
const isBatch = (prompt: unknown): prompt is unknown[] => Array.isArray(prompt) && typeof prompt[0] !== "number";

export const completionRequest = z
  .strictObject({
    prompt: z.union([text, tokens, z.array(text).min(1).max(64), z.array(tokens).min(1).max(64)]),
    max_tokens: z.int().min(0).nullish(),
    logprobs: topLogprobs,
    echo: z.boolean().nullish(),
    ...sampling,
  })
  .refine(({ prompt, n }) => !isBatch(prompt) || prompt.length * (n ?? 1) <= maxAnswers, {
    path: ["n"],
    error: `times the prompts is more than ${maxAnswers} answers`,
  });

/** A text of the client's, or of an earlier answer given back as it came. */
const responsePart = z.strictObject({
  ...{ type: z.enum(["input_text", "output_text", "text"]), text },
  ...{ annotations: z.array(z.json()).max(0).optional(), logprobs: z.array(z.json()).optional() },
});
const responseText = z.union([text, z.array(responsePart).min(1)]);
const itemStatus = z.enum(["in_progress", "completed", "incomplete"]).optional();
const responseItem = z.union([
  z.strictObject({
    type: z.literal("message").optional(),
    id: text.optional(),
    status: itemStatus,
    role: z.enum(["system", "developer", "user", "assistant"]),
    content: responseText,
  }),
  z.strictObject({
    type: z.literal("function_call"),
    id: text.nullish(),
    status: itemStatus,
    call_id: text.min(1),
    name: functionName,
    arguments: text,
  }),
  z.strictObject({
    type: z.literal("function_call_output"),
    id: text.nullish(),
    status: itemStatus,
    call_id: text.min(1),
    output: text,
  }),
]);

export const responsesRequest = z.strictObject({
  model: z.string().min(1).optional(),
  input: z.union([text.min(1), z.array(responseItem).min(1).max(2048)]),
  instructions: text.nullish(),
  max_output_tokens: z.int().min(1).nullish(),
  temperature,
  top_p: topP,
  top_logprobs: topLogprobs,
  include: z.array(z.enum(["message.output_text.logprobs"])).nullish(),
  tools: z
    .array(z.strictObject({ type: z.literal("function"), ...functionFields }))
    .max(maxTools)
    .nullish()
    .transform((tools) => (tools?.length === 0 ? null : tools)),
  tool_choice: z
    .union([z.enum(["none", "auto", "required"]), z.strictObject({ type: z.literal("function"), name: functionName })])
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  text: z
    .strictObject({
      format: z
        .discriminatedUnion("type", [
          z.strictObject({ type: z.literal("text") }),
          z.strictObject({ type: z.literal("json_object") }),
          z.strictObject({
            type: z.literal("json_schema"),
            name: text,
            schema: jsonSchema,
            strict: z.boolean().nullish(),
            description: text.optional(),
          }),
        ])
        .optional(),
    })
    .nullish(),
  truncation: z.literal("disabled").nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.strictObject({ include_obfuscation: z.literal(false).optional() }).nullish(),
  /** Here also what OpenAI's other endpoints have and this one has not. */
  chainrule: extension.extend({ seed: seed.optional(), stop: stop.optional() }).optional(),
});

export const embeddingRequest = z.strictObject({
  model: z.string().min(1).optional(),
  input: z.union([text.min(1), z.array(text.min(1)).min(1).max(256)]),
  encoding_format: z.enum(["float", "base64"]).optional(),
});

export const tokenizeRequest = z.strictObject({ text, special: z.boolean().optional(), bos: z.boolean().optional() });
const anyTokens = z.array(z.int().min(0));
/** A list of tokens is answered with its text, a list of lists with as many texts. */
export const detokenizeRequest = z.strictObject({
  tokens: z.union([anyTokens, z.array(anyTokens).max(4096)]),
  special: z.boolean().optional(),
});

export type ChatRequest = z.infer<typeof chatRequest>;
export type CompletionRequest = z.infer<typeof completionRequest>;
export type ResponsesRequest = z.infer<typeof responsesRequest>;
/** What requests for text say of sampling. */
export type SamplingFields = Partial<Pick<ChatRequest, Exclude<keyof typeof sampling, "model" | "n" | "stream" | "stream_options">>>;
