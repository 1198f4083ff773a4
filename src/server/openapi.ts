import { z } from "zod";
import {
  annotations,
  chatRequest,
  completionRequest,
  detokenizeRequest,
  embeddingRequest,
  refused,
  responsesRequest,
  tokenizeRequest,
} from "./schemas.ts";

const bodies = {
  "/v1/chat/completions": { schema: chatRequest, summary: "an answer to a conversation" },
  "/v1/completions": { schema: completionRequest, summary: "a prompt continued as it stands" },
  "/v1/responses": { schema: responsesRequest, summary: "an answer as a list of items: text and calls" },
  "/v1/embeddings": { schema: embeddingRequest, summary: "texts as vectors" },
  "/tokenize": { schema: tokenizeRequest, summary: "token ids of a text" },
  "/detokenize": { schema: detokenizeRequest, summary: "the text of token ids" },
} as const;

const reads = {
  "/v1/models": "the model",
  "/v1/chainrule/methods": "every decoding method by axis: parameters, defaults, sources, what it can't be combined with",
  "/v1/chainrule/status": "requests, tokens, cache use",
  "/v1/chainrule/cost-curve": "time of a pass over n rows against one row",
  "/metrics": "for Prometheus",
  "/health": "whether the server is alive",
  "/ready": "whether it takes requests",
} as const;

/** The server's own description, from the schemas that check its requests. */
export function openApi() {
  const error = { description: "an error in OpenAI's form", content: { "application/json": { schema: { type: "object" } } } };
  const ok = { description: "the answer", content: { "application/json": { schema: { type: "object" } } } };
  return {
    openapi: "3.1.0",
    info: { title: "Chainrule", version: "0.1.0" },
    paths: {
      ...Object.fromEntries(
        Object.entries(bodies).map(([path, { schema, summary }]) => [
          path,
          {
            post: {
              summary,
              requestBody: { required: true, content: { "application/json": { schema: z.toJSONSchema(schema, { io: "input" }) } } },
              responses: { 200: ok, 400: error, 401: error, 413: error, 429: error, 500: error, 503: error },
            },
          },
        ]),
      ),
      ...Object.fromEntries(Object.entries(reads).map(([path, summary]) => [path, { get: { summary, responses: { 200: ok } } }])),
    },
    "x-annotations": annotations,
    "x-refused": refused,
  };
}
