import { z } from "zod";
import * as answers from "./answer-schemas.ts";
import { forecastAnswer, forecastEvent, forecastModelsAnswer, forecastRequest, tableAnswer, tableRequest } from "./forecast-schemas.ts";
import { annotations, refused } from "./parse-body.ts";
import { chatRequest, completionRequest, detokenizeRequest, embeddingRequest, responsesRequest, tokenizeRequest } from "./schemas.ts";

interface Endpoint {
  readonly summary: string;
  readonly body?: z.ZodType;
  /** Absent: text. */
  readonly answer?: z.ZodType;
  /** The data of one server-sent event, with `stream`. */
  readonly event?: z.ZodType;
  /** Whether it needs no key. */
  readonly isOpen?: true;
}

/** Every endpoint, with the schemas that check its requests and that tests hold its answers to. */
export const endpoints: Readonly<Record<string, Endpoint>> = {
  "POST /v1/chat/completions": {
    summary: "an answer to a conversation",
    ...{ body: chatRequest, answer: answers.chatAnswerSchema, event: answers.chatChunk },
  },
  "POST /v1/completions": {
    summary: "a prompt continued as it stands",
    ...{ body: completionRequest, answer: answers.completionAnswerSchema, event: answers.completionAnswerSchema },
  },
  "POST /v1/responses": {
    summary: "an answer as a list of items: text and calls",
    ...{
      body: responsesRequest,
      answer: answers.responseAnswerSchema,
      event: z.looseObject({ type: z.string(), sequence_number: z.int() }),
    },
  },
  "POST /v1/embeddings": { summary: "texts as vectors", body: embeddingRequest, answer: answers.embeddingAnswer },
  "POST /tokenize": { summary: "token ids of a text", body: tokenizeRequest, answer: answers.tokenizeAnswer },
  "POST /detokenize": { summary: "the text of token ids", body: detokenizeRequest, answer: answers.detokenizeAnswer },
  "POST /v1/forecasts": {
    summary: "forecasts of a table's series, with intervals, and how the model was chosen",
    ...{ body: forecastRequest, answer: forecastAnswer, event: forecastEvent },
  },
  "POST /v1/forecasts/table": { summary: "a table as it is understood", body: tableRequest, answer: tableAnswer },
  "GET /v1/forecasts/models": { summary: "models that forecast: parameters, sources", answer: forecastModelsAnswer },
  "GET /v1/models": { summary: "the model, as a list of one", answer: answers.modelsAnswer },
  "GET /v1/models/{id}": { summary: "the model", answer: answers.modelAnswer },
  "GET /v1/chainrule/methods": {
    summary: "every decoding method by axis: parameters, defaults, sources, what it can't be combined with",
    answer: answers.methodsAnswer,
  },
  "GET /v1/chainrule/fields": { summary: "fields without effect, and fields that are refused", answer: answers.fieldsAnswer },
  "GET /v1/chainrule/status": { summary: "requests, tokens, cache use", answer: answers.statusAnswer },
  "GET /v1/chainrule/cost-curve": { summary: "time of a pass over n rows against one row", answer: answers.costCurveAnswer },
  "GET /metrics": { summary: "for Prometheus" },
  "GET /openapi.json": { summary: "this description", answer: z.looseObject({ openapi: z.string() }) },
  "GET /health": { summary: "whether the server is alive", answer: answers.healthAnswer, isOpen: true },
  "GET /ready": { summary: "whether it takes requests", answer: answers.healthAnswer, isOpen: true },
};

const errors: Readonly<Record<number, string>> = {
  400: "something is wrong with the request; `param` names it",
  401: "no valid key",
  404: "no such model or path",
  405: "the path takes another method; `allow` names it",
  408: "the body took too long",
  413: "the body is too large",
  429: "the server is full; x-should-retry is true",
  500: "the server's own fault",
  503: "not ready, or the request's turn did not come; x-should-retry is true",
  504: "the answer took too long",
};

/** The server's own description. */
export function openApi() {
  const paths: Record<string, Record<string, object>> = {};
  for (const [name, endpoint] of Object.entries(endpoints)) {
    const [method, path] = name.split(" ") as [string, string];
    paths[path] ??= {};
    paths[path][method.toLowerCase()] = operation(path, endpoint);
  }
  return {
    openapi: "3.1.0",
    info: { title: "Chainrule", version: "0.1.0", description: "OpenAI's endpoints, and the axes of generate() in the object chainrule" },
    security: [{ key: [] }],
    paths,
    components: {
      schemas: { Error: z.toJSONSchema(answers.errorAnswer) },
      securitySchemes: { key: { type: "http", scheme: "bearer", description: "where the server was started with keys" } },
    },
    "x-annotations": annotations,
    "x-refused": refused,
  };
}

function operation(path: string, { summary, body, answer, event, isOpen }: Endpoint) {
  const error = { "application/json": { schema: { $ref: "#/components/schemas/Error" } } };
  const expected = body === undefined ? [401, 404, 405, 500, 503] : Object.keys(errors);
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  return {
    summary,
    ...(isOpen === true ? { security: [] } : {}),
    ...(names.length === 0 ? {} : { parameters: names.map((name) => ({ name, in: "path", required: true, schema: { type: "string" } })) }),
    ...(body === undefined ? {} : { requestBody: { required: true, content: { "application/json": { schema: withAnnotations(body) } } } }),
    responses: {
      200: {
        description: "the answer",
        content: {
          ...(answer === undefined
            ? { "text/plain": { schema: { type: "string" } } }
            : { "application/json": { schema: z.toJSONSchema(answer) } }),
          ...(event === undefined ? {} : { "text/event-stream": { schema: z.toJSONSchema(event) } }),
        },
      },
      ...Object.fromEntries(expected.map((status) => [status, { description: errors[Number(status)], content: error }])),
    },
  };
}

/** A request's schema with the fields that are accepted and mean nothing. */
function withAnnotations(body: z.ZodType) {
  const schema = z.toJSONSchema(body, { io: "input" }) as { properties?: Record<string, object> };
  const idle = Object.fromEntries(annotations.map((name) => [name, { description: "accepted, without effect" }]));
  return { ...schema, properties: { ...schema.properties, ...idle } };
}
