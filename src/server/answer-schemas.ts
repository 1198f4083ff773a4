import { z } from "zod";

/**
 * The bodies of answers, as `/openapi.json` publishes them; a test holds real answers to them. What `chainrule` reports grows with the
 * methods, so it is open.
 */

const text = z.string();
const count = z.int().min(0);
const extension = z.looseObject({}).optional();
const usage = z.strictObject({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.strictObject({ cached_tokens: count }),
});
const choices = z.looseObject({ choices: z.array(z.looseObject({ facts: z.looseObject({}), tokens: z.array(count) })) }).optional();
const head = { id: text, created: count, model: text };
const ending = z.enum(["stop", "length"]);

export const errorAnswer = z.strictObject({
  error: z.strictObject({ message: text, type: text, param: text.nullable(), code: text }),
});

const topLogprob = z.strictObject({ token: text, logprob: z.number(), bytes: z.array(count) });
const chatLogprobs = z.strictObject({
  content: z.array(topLogprob.extend({ top_logprobs: z.array(topLogprob) })),
  refusal: z.null(),
});
const toolCall = z.strictObject({ id: text, type: z.literal("function"), function: z.strictObject({ name: text, arguments: text }) });
export const chatAnswerSchema = z.strictObject({
  ...head,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.strictObject({
      index: count,
      message: z.strictObject({
        role: z.literal("assistant"),
        refusal: z.null(),
        content: text.nullable(),
        tool_calls: z.array(toolCall).optional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: z.enum(["stop", "length", "tool_calls"]),
    }),
  ),
  usage,
  chainrule: choices,
});

export const chatChunk = z.strictObject({
  ...head,
  object: z.literal("chat.completion.chunk"),
  choices: z.array(
    z.strictObject({
      index: count,
      delta: z.strictObject({
        role: z.literal("assistant").optional(),
        content: text.optional(),
        tool_calls: z
          .array(
            z.strictObject({
              index: count,
              id: text.optional(),
              type: z.literal("function").optional(),
              function: z.strictObject({ name: text.optional(), arguments: text }),
            }),
          )
          .optional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: z.enum(["stop", "length", "tool_calls"]).nullable(),
    }),
  ),
  usage: usage.optional(),
  chainrule: extension,
});

const legacyLogprobs = z.strictObject({
  tokens: z.array(text),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(text, z.number()).nullable()),
  text_offset: z.array(count),
});
const completionChoice = z.strictObject({
  index: count,
  text,
  logprobs: legacyLogprobs.nullable(),
  finish_reason: ending.nullable(),
});
export const completionAnswerSchema = z.strictObject({
  ...head,
  object: z.literal("text_completion"),
  choices: z.array(completionChoice),
  usage: usage.optional(),
  chainrule: extension,
});

export const responseAnswerSchema = z.looseObject({
  id: text,
  object: z.literal("response"),
  created_at: count,
  model: text,
  status: z.enum(["completed", "incomplete", "in_progress"]),
  output: z.array(z.looseObject({ id: text, type: z.enum(["message", "function_call"]), status: text })),
  usage: z.looseObject({ input_tokens: count, output_tokens: count, total_tokens: count }).nullable(),
  chainrule: extension,
});

export const embeddingAnswer = z.strictObject({
  object: z.literal("list"),
  data: z.array(z.strictObject({ object: z.literal("embedding"), index: count, embedding: z.union([z.array(z.number()), text]) })),
  model: text,
  usage: z.strictObject({ prompt_tokens: count, total_tokens: count }),
});

const model = z.strictObject({
  id: text,
  object: z.literal("model"),
  created: count,
  owned_by: text,
  context_length: count,
});
export const modelAnswer = model;
export const modelsAnswer = z.strictObject({ object: z.literal("list"), data: z.array(model) });
export const tokenizeAnswer = z.strictObject({ tokens: z.array(count), count });
export const detokenizeAnswer = z.union([z.strictObject({ text }), z.strictObject({ texts: z.array(text) })]);
export const healthAnswer = z.strictObject({ status: text });
export const fieldsAnswer = z.strictObject({ annotations: z.array(text), refused: z.record(text, text) });
export const costCurveAnswer = z.strictObject({
  singleRowMs: z.number(),
  points: z.array(z.strictObject({ rows: count, ratio: z.number() })),
});
export const methodsAnswer = z.record(
  text,
  z.array(z.looseObject({ name: text, summary: text, parameters: z.record(text, z.looseObject({ type: text, doc: text, range: text })) })),
);
export const statusAnswer = z.strictObject({
  ready: z.boolean(),
  requests: z.strictObject({ running: count, waiting: count, accepted: count, refused: count }),
  tokens: z.strictObject({ prompt: count, completion: count }),
  restarts: count,
  lastCrash: z.strictObject({ at: text, reason: text }).nullable(),
  training: text.nullable(),
  engine: z.looseObject({ running: count, queued: count, streams: count, streamsUsed: count, passes: count }).nullable(),
  model: z.strictObject({ name: text, contextLength: count, blocks: count }).nullable(),
});
