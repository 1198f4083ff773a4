import { uniform } from "./arrivals.ts";

/** What a load test needs of a server. */
export interface Target {
  readonly url: string;
  readonly model: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Token ids that prompts are made of. */
  readonly vocabulary: readonly number[];
}

const words =
  "The river rises in the hills to the north and runs for ninety miles before it meets the sea; a clerk opened the letter slowly.";

/** @throws Error where the server doesn't answer as a Chainrule server does */
export async function connectTo(url: string, apiKey: string | undefined, signal: AbortSignal): Promise<Target> {
  const base = url.replace(/\/+$/, "");
  const headers = { "content-type": "application/json", ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) };
  const json = async (path: string, body?: object) => {
    const response = await fetch(`${base}${path}`, {
      headers,
      signal,
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    }).catch((cause: unknown) => {
      signal.throwIfAborted();
      throw new Error(`${base} does not answer; chainrule serve starts a server and prints its URL`, { cause });
    });
    if (!response.ok) throw new Error(`${base}${path}: ${response.status} ${(await response.text()).slice(0, 200)}`);
    return response.json();
  };
  const { data } = (await json("/v1/models")) as { data: { id: string }[] };
  const { tokens } = (await json("/tokenize", { text: words, bos: false })) as { tokens: number[] };
  if (data[0] === undefined) throw new Error(`${base} has no model yet`);
  return { url: base, model: data[0].id, headers, vocabulary: tokens };
}

/** A prompt of so many tokens, another for every seed from its first tokens on, so that no cache of prefixes helps. */
export function promptOf(vocabulary: readonly number[], length: number, seed: number): number[] {
  const next = uniform(seed);
  return Array.from({ length }, () => vocabulary[Math.floor(next() * vocabulary.length)]!);
}

/**
 * One streamed completion of exactly `maxTokens` tokens.
 *
 * @param onToken  called with each token's id as it comes
 * @throws Error with what the server said
 */
export async function complete(
  target: Target,
  prompt: readonly number[],
  maxTokens: number,
  onToken: (id: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const response = await fetch(`${target.url}/v1/completions`, {
    method: "POST",
    headers: target.headers,
    signal,
    body: JSON.stringify({
      ...{ model: target.model, prompt, max_tokens: maxTokens, temperature: 0, stream: true },
      chainrule: { ignoreEndTokens: true },
    }),
  });
  if (!response.ok) throw new Error(`${response.status} ${(await response.text()).slice(0, 200)}`);
  let rest = "";
  let isWhole = false;
  const decoder = new TextDecoder();
  for await (const bytes of response.body!) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (line === "data: [DONE]") isWhole = true;
      else if (line.startsWith("data: ")) {
        const data = JSON.parse(line.slice(6)) as { error?: { message: string }; chainrule?: { token?: { id: number } } };
        if (data.error !== undefined) throw new Error(data.error.message);
        if (data.chainrule?.token !== undefined) onToken(data.chainrule.token.id);
      }
    }
  }
  if (!isWhole) throw new Error("the stream ended before its answer did");
}
