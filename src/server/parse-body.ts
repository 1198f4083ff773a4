import type { z } from "zod";

/** Accepted without effect, since OpenAI defines them to have none on the output. */
export const annotations: readonly string[] = ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"];

/** Fields of OpenAI's that would change the answer and that this server has not; each with what to do instead. */
export const refused: Readonly<Record<string, string>> = {
  functions: "use tools",
  function_call: "use tool_choice",
  modalities: "text is the only modality",
  audio: "text is the only modality",
  prediction: "use chainrule.draft",
  reasoning_effort: "the model has no such setting",
  verbosity: "the model has no such setting",
  web_search_options: "the server fetches nothing",
  best_of: "use chainrule.search",
  suffix: "the model can't fill in the middle",
  dimensions: "the model's own size is the only one",
  previous_response_id: "nothing is stored: send the conversation as input",
  conversation: "nothing is stored: send the conversation as input",
  background: "nothing is stored: read the answer as it comes",
  reasoning: "the model has no such setting",
  max_tool_calls: "the server calls nothing by itself",
};

/** A request that is wrong; the server answers 400 with this. */
export class RequestError extends Error {
  readonly param: string | null;
  readonly code: string;
  constructor(param: string | null, code: string, message: string) {
    super(message);
    this.param = param;
    this.code = code;
  }
}

/** Checks a body. @throws RequestError naming the field */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw new RequestError(null, "invalid_body", "the body must be a JSON object");
  const given: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(body)) {
    if (annotations.includes(key)) continue;
    if (Object.hasOwn(refused, key)) throw new RequestError(key, "unsupported_parameter", `${key}: ${refused[key]}`);
    Object.defineProperty(given, key, { value, enumerable: true });
  }
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const issue = firstIssue(result.error.issues);
  if (issue.code === "unrecognized_keys") {
    const name = [...issue.path, issue.keys[0]!].join(".");
    throw new RequestError(name, "unknown_parameter", `${name}: there is no such parameter`);
  }
  const name = issue.path.join(".");
  throw new RequestError(name, "invalid_value", `${name}: ${issue.message}`);
}

type Issue = z.core.$ZodIssue;

/** Of a union's alternatives the one that got furthest says what is wrong. */
function firstIssue(issues: readonly Issue[]): Issue {
  const issue = issues[0]!;
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return issue;
  const deepest = issue.errors.map((list) => firstIssue(list as Issue[])).reduce((a, b) => (b.path.length > a.path.length ? b : a));
  return deepest.path.length === 0 ? issue : { ...deepest, path: [...issue.path, ...deepest.path] };
}
