import { describe, expect, test } from "vitest";
import type { ForwardRequest, Sequence } from "../engine/index.ts";
import { ContextOverflowError, DisposedError, OptionError, TemplateError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { type GenerateEvent, generate, generateText } from "./generate.ts";
import type { GenerateOptions } from "./options.ts";
import type { Prompt } from "./prompting/prompt.ts";
import { chiSquare, referenceShapes, softmax } from "./testing/reference.ts";
import { toyModel } from "./testing/toy-model.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const letters = [..."abcdefghijklmnopqrstuvwxyz |"];
const tokenizer = toyTokenizer(letters, { addBos: true });
const { vocabSize } = tokenizer;

/** After a letter the next one of the alphabet, with the others spread below it in a way that depends on all that came before. */
function successor(tokens: readonly TokenId[]): number[] {
  const hash = tokens.reduce((sum: number, token) => (sum * 31 + token) % 9973, 7);
  const next = (tokens.at(-1)! + 1) % vocabSize;
  return Array.from({ length: vocabSize }, (_, id) => (id === next ? 3 : ((hash * (id + 5)) % 97) / 60));
}
const model = (contextLength = 1024) => toyModel(tokenizer, { contextLength, logits: successor });
const tokensOf = (request: ForwardRequest) => request.input as readonly TokenId[];
const collect = async (events: AsyncIterable<GenerateEvent>) => {
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
};

test("greedy is the default, and continues text as it stands", async () => {
  const result = await generateText(model(), "ab", { maxTokens: 4 });
  expect(result.text).toBe("cdef");
  expect(result.tokens).toEqual([2, 3, 4, 5]);
  expect(result.finishReason).toBe("length");
  expect(result.stoppedBy).toBeUndefined();
  expect(result.usage).toEqual({ promptTokens: 3, completionTokens: 4 }); // BOS, a, b
  expect(result.facts.choices).toEqual([{ what: "sample", chosen: "greedy", because: "no sampling option is given" }]);
  expect(await generateText(model(), "ab", { maxTokens: 4, temperature: 0 })).toMatchObject({ text: "cdef" });
});

test("a run's sequence is asked for with its priority and the length it may reach", async () => {
  const toy = model();
  await generateText(toy, "ab", { maxTokens: 3, priority: -7 });
  await generateText(toy, "ab", { maxTokens: 3 });
  expect(toy.asked).toEqual([{ maxLength: 6, priority: -7 }, { maxLength: 6 }]);
  await expect(generateText(toy, "ab", { priority: 101 })).rejects.toThrow("priority: must be an integer in [-100, 100], got 101");
  await expect(generateText(toy, "ab", { priority: 0.5 })).rejects.toThrow(OptionError);
});

test("text, tokens and messages come to the same where they mean the same", async () => {
  const prompts: Prompt[] = [[tokenizer.bos!, ...tokenizer.encode("uab|a", { bos: false })], [{ role: "user", content: "ab" }], "uab|a"];
  for (const prompt of prompts) {
    const toy = model();
    expect((await generateText(toy, prompt, { maxTokens: 3 })).text).toBe("bcd");
    // one BOS: the template writes it, the tokenizer would too
    expect(toy.sequences[0]!.log[0]!.input).toEqual([tokenizer.bos, ...tokenizer.encode("uab|a", { bos: false })]);
  }
});

test("written special tokens count as such only when asked for", async () => {
  const toy = model();
  await generateText(toy, "a<end>", { maxTokens: 1, parseSpecial: true });
  expect(tokensOf(toy.sequences[0]!.log[0]!).at(-1)).toBe(tokenizer.end);
  await expect(generateText(toy, "a<end>", { maxTokens: 1 })).rejects.toThrow(RangeError); // the toy knows no "<"
  await expect(generateText(toy, [{ role: "user", content: "a" }], { parseSpecial: true })).rejects.toThrow(OptionError);
});

test("events come in order, their text in a row is the answer, and the facts are those of the result", async () => {
  const events = await collect(generate(model(), "xy", { maxTokens: 5, stop: "|" }));
  expect(events.map(({ kind }) => kind)).toEqual(["prompt", "token", "token", "token", "finish"]);
  const finish = events.at(-1)!;
  if (finish.kind !== "finish") throw new Error("no finish");
  expect(events.map((event) => ("text" in event ? event.text : "")).join("")).toBe("z ");
  expect(finish.result.text).toBe("z ");
  expect(finish.result.stoppedBy).toEqual({ kind: "stop-text", text: "|" });
  expect(finish.result.facts.tokens).toEqual(events.flatMap((event) => (event.kind === "token" ? [event.fact] : [])));
  expect(finish.result.facts).toMatchObject({ passes: 3, rows: 3 + 2, tokensPerPass: 1 });
});

test("the end token ends the answer and is among its tokens", async () => {
  const result = await generateText(model(), [(tokenizer.bos! - 1) as TokenId], { maxTokens: 9 });
  expect(result.tokens).toEqual([tokenizer.bos, tokenizer.end]);
  expect(result).toMatchObject({ text: "", finishReason: "stop", stoppedBy: { kind: "end-token", token: tokenizer.end } });
  const on = await generateText(model(), [tokenizer.bos!], { maxTokens: 3, ignoreEndTokens: true });
  expect(on).toMatchObject({ tokens: [tokenizer.end, 0, 1], text: "ab", finishReason: "length" });
});

test("without maxTokens an answer has 256 tokens, or what the context leaves", async () => {
  const options = { ignoreEndTokens: true };
  expect((await generateText(model(), "a", options)).usage.completionTokens).toBe(256);
  expect((await generateText(model(20), "a", options)).usage.completionTokens).toBe(18);
});

test("an answer of no tokens still reads the prompt", async () => {
  const result = await generateText(model(), "ab", { maxTokens: 0, promptLogprobs: 0 });
  expect(result).toMatchObject({ text: "", tokens: [], finishReason: "length" });
  expect(result.promptLogprobs!.map(({ text }) => text)).toEqual(["a", "b"]);
});

test("an overflow is refused before anything is computed", async () => {
  const toy = model(8);
  await expect(generateText(toy, "abc", { maxTokens: 5 })).rejects.toThrow(ContextOverflowError);
  await expect(generateText(toy, "abcdefg", {})).rejects.toThrow(/leaves no room/);
  expect(toy.sequences).toEqual([]);
  expect((await generateText(toy, "abc", { maxTokens: 4 })).text).toBe("defg");
});

test("log-probabilities are the model's own, of the token and of the most probable ones, prompt too", async () => {
  const prompt = tokenizer.encode("abz");
  const result = await generateText(model(), "abz", {
    maxTokens: 2,
    logprobs: 2,
    promptLogprobs: 1,
    bias: { 7: 100 },
    temperature: 0.5,
    seed: 1,
  });
  expect(result.text).toBe("hh");
  const path = [...prompt, ...result.tokens];
  const entries = [...result.promptLogprobs!, ...result.logprobs!];
  expect(entries).toHaveLength(path.length - 1);
  for (const [index, entry] of entries.entries()) {
    const law = softmax(successor(path.slice(0, index + 1)));
    expect(entry.id).toBe(path[index + 1]);
    expect(entry.text).toBe(tokenizer.decode([path[index + 1]!]));
    expect(entry.logprob).toBeCloseTo(Math.log(law[entry.id]!), 5);
    const best = [...law.keys()].sort((a, b) => law[b]! - law[a]!);
    expect(entry.top.map(({ id }) => id)).toEqual(best.slice(0, index < prompt.length - 1 ? 1 : 2));
    for (const { id, logprob } of entry.top) expect(logprob).toBeCloseTo(Math.log(law[id]!), 5);
  }
});

describe("a sampled answer", () => {
  const sampled: GenerateOptions = { maxTokens: 30, temperature: 1.2, ignoreEndTokens: true };
  test("is the same for the same seed, and another for another", async () => {
    const [a, b, c] = await Promise.all([7, 7, 8].map((seed) => generateText(model(), "ab", { ...sampled, seed })));
    expect(a!.tokens).toEqual(b!.tokens);
    expect(a!.tokens).not.toEqual(c!.tokens);
  });
  test("without a seed reports the one that gives it again", async () => {
    const first = await generateText(model(), "ab", sampled);
    const seed = Number(first.facts.choices.find(({ what }) => what === "seed")!.chosen);
    expect((await generateText(model(), "ab", { ...sampled, seed })).tokens).toEqual(first.tokens);
  });
  test("follows the law that its options name, guides before truncation before temperature (chi-square, 99.9 %)", async () => {
    const prompt = tokenizer.encode("ab");
    const guided = softmax(successor(prompt).map((logit, id) => logit + (id === 9 ? 2 : 0)));
    const law = referenceShapes.temperature!(referenceShapes["top-p"]!(referenceShapes["top-k"]!(guided, 12), 0.81), 1.7);
    const counts = new Array<number>(vocabSize).fill(0);
    for (let seed = 0; seed < 1_500; seed++) {
      const { tokens } = await generateText(model(), "ab", { maxTokens: 1, temperature: 1.7, topP: 0.81, topK: 12, bias: { 9: 2 }, seed });
      counts[tokens[0]!]!++;
    }
    const { statistic, limit } = chiSquare(counts, law);
    expect(statistic).toBeLessThan(limit);
  });
  test("is what the list of samplers says when it spells the same", async () => {
    const short = await generateText(model(), "ab", { ...sampled, topK: 9, minP: 0.02, seed: 3 });
    const list = await generateText(model(), "ab", {
      ...{ maxTokens: 30, ignoreEndTokens: true, seed: 3 },
      sample: ["top-k,k=9", { name: "min-p", p: 0.02 }, "temperature,value=1.2"],
    });
    expect(list.tokens).toEqual(short.tokens);
  });
  test("off values change nothing: topK 0, topP 1, minP 0, typical 1, penalties", async () => {
    const off = { topK: 0, topP: 1, minP: 0, typical: 1, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 };
    const plain = await generateText(model(), "ab", { ...sampled, seed: 5 });
    expect((await generateText(model(), "ab", { ...sampled, ...off, seed: 5 })).tokens).toEqual(plain.tokens);
    expect((await generateText(model(), "ab", { ...off, temperature: 0, maxTokens: 3 })).text).toBe("cde");
  });
});

test("candidates that do not suffice are asked for again once, and rows then come in full", async () => {
  const wide = toyTokenizer(Array.from({ length: 300 }, (_, id) => String.fromCharCode(0x4e00 + id)));
  const flat = toyModel(wide, {
    logits: (tokens) => Array.from({ length: wide.vocabSize }, (_, id) => ((id * 37 + tokens.length * 11) % 301) / 1000),
  });
  const result = await generateText(flat, "一", { maxTokens: 8, temperature: 1, typical: 0.5, seed: 2, ignoreEndTokens: true });
  const log = flat.sequences[0]!.log;
  expect(log.map(({ want }) => want?.fullLogits)).toEqual(Array.from({ length: 8 }, () => true)); // the prompt's row is full at once
  expect(result.facts.passes).toBe(8);

  const guided = toyModel(wide, {
    logits: (tokens) => Array.from({ length: wide.vocabSize }, (_, id) => (tokens.length > 1 ? -id / 1000 : -id)),
  });
  const steps = await generateText(guided, "一", { maxTokens: 5, minP: 0.01, seed: 2, ignoreEndTokens: true });
  const asked = guided.sequences[0]!.log.map(({ want }) => want?.fullLogits);
  expect(asked).toEqual([true, false, true, true, true, true]); // the second step came again
  expect(steps.facts.passes).toBe(6);
  expect(guided.sequences[0]!.log[2]!.input).toEqual(guided.sequences[0]!.log[1]!.input);
  expect(guided.sequences[0]!.log.map((request) => tokensOf(request).length)).toEqual([1, 1, 1, 1, 1, 1]);
});

test("a greedy step asks for one candidate and nothing else", async () => {
  const toy = model();
  await generateText(toy, "ab", { maxTokens: 3 });
  expect(toy.sequences[0]!.log.map(({ want }) => want)).toEqual(
    Array.from({ length: 3 }, () => ({ logits: "last", top: 1, fullLogits: false })),
  );
});

describe("limits", () => {
  /** A model whose passes wait for the signal, or a while. */
  function slow(passMs: (pass: number) => number) {
    const toy = model();
    const { sequence } = toy;
    toy.sequence = (options) => {
      const made = sequence(options) as Sequence;
      const forward = made.forward.bind(made);
      let pass = 0;
      made.forward = async (request: ForwardRequest) => {
        await new Promise<void>((resolve, reject) => {
          const abort = () => {
            clearTimeout(timer);
            reject(request.signal!.reason);
          };
          const timer = setTimeout(() => {
            request.signal?.removeEventListener("abort", abort);
            resolve();
          }, passMs(pass++));
          request.signal?.addEventListener("abort", abort);
        });
        return forward(request);
      };
      return made;
    };
    return toy;
  }

  test("a deadline ends the answer with what there is, in the prompt or after", async () => {
    const early = await generateText(
      slow(() => 60_000),
      "ab",
      { deadlineMs: 20 },
    );
    expect(early).toMatchObject({ text: "", finishReason: "deadline", usage: { promptTokens: 3, completionTokens: 0 } });
    const later = await generateText(
      slow((pass) => (pass < 4 ? 0 : 60_000)),
      "ab",
      { deadlineMs: 500 },
    );
    expect(later).toMatchObject({ text: "cdef", finishReason: "deadline", usage: { completionTokens: 4 } });
  });
  test("text held back for a stop text comes out at a deadline", async () => {
    const events = await collect(
      generate(
        slow((pass) => (pass < 2 ? 0 : 60_000)),
        "ab",
        { deadlineMs: 200, stop: "cdX" },
      ),
    );
    expect(events.slice(1)).toMatchObject([
      { kind: "token", text: "" },
      { kind: "token", text: "" },
      { kind: "finish", text: "cd", result: { text: "cd", finishReason: "deadline" } },
    ]);
  });
  test("an abort throws the signal's reason, before, in a pass and between passes, and frees the sequence", async () => {
    const reason = new Error("enough");
    await expect(generateText(model(), "ab", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    for (const ms of [0, 60_000]) {
      const toy = slow(() => ms);
      const controller = new AbortController();
      setTimeout(() => controller.abort(reason), 20);
      await expect(generateText(toy, "ab", { signal: controller.signal, ignoreEndTokens: true, maxTokens: 1000 })).rejects.toBe(reason);
      expect(() => toy.sequences[0]!.fork()).toThrow(DisposedError);
    }
  });
  test("leaving the loop early frees the sequence", async () => {
    const toy = model();
    for await (const event of generate(toy, "ab")) if (event.kind === "token") break;
    expect(() => toy.sequences[0]!.fork()).toThrow(DisposedError);
    expect(toy.sequences[0]!.log).toHaveLength(1);
  });
  test("an error of the model passes through, deadline or not, and frees the sequence", async () => {
    for (const options of [{}, { deadlineMs: 1000 }]) {
      const toy = toyModel(tokenizer, { logits: () => new Array<number>(vocabSize).fill(Number.NaN) });
      await expect(generateText(toy, "ab", options)).rejects.toThrow(/not finite/);
      expect(() => toy.sequences[0]!.fork()).toThrow(DisposedError);
    }
  });
});

describe("options are refused by name", () => {
  test.each([
    [{ temprature: 1 }, /^temprature: is no option; the options are adapter, /],
    [{ maxTokens: -1 }, /^maxTokens: must be an integer in \[0, /],
    [{ maxTokens: 1.5 }, /^maxTokens: .*got 1.5$/],
    [{ temperature: Number.NaN }, "temperature: must be a number in (0, 100], or 0 for greedy, got NaN"],
    [{ temperature: Number.POSITIVE_INFINITY }, "temperature: must be a number in (0, 100], or 0 for greedy, got Infinity"],
    [{ temperature: "1" }, 'temperature: must be a number in (0, 100], or 0 for greedy, got "1"'],
    [{ topK: -1 }, "topK: must be an integer in [1, 1000000], or 0 for all, got -1"],
    [{ topP: 0 }, "topP: must be a number in (0, 1], got 0"],
    [{ minP: 2 }, "minP: must be a number in [0, 1], got 2"],
    [{ typical: Number.NaN }, "typical: must be a number in (0, 1], got NaN"],
    [{ seed: 2 ** 53 }, /^seed: must be an integer/],
    [{ temperature: 0, topP: 0.9 }, /^topP: does nothing at temperature 0/],
    [{ temperature: 1, sample: "top-k,k=3" }, /^temperature: and sample contradict each other/],
    [{ sample: [] }, /^sample: is an empty list/],
    [
      { sample: ["greedy", "top-k,k=3"] },
      /^sample: greedy and top-k can't be combined: greedy chooses the token, so nothing may follow it/,
    ],
    [{ sample: ["top-k,k=3", "greedy"] }, /^sample: top-k and greedy can't be combined: greedy leaves nothing to do/],
    [{ sample: "beam" }, /^sample: no method "beam"; there are greedy, temperature/],
    [{ search: "beams" }, /^search: no method "beams"; there are path/],
    [{ repetitionPenalty: 0 }, "repetitionPenalty: must be a number in (0, 10], got 0"],
    [{ presencePenalty: 2.1 }, "presencePenalty: must be a number in [-2, 2], got 2.1"],
    [{ bias: { 1: 101 } }, /^bias: must be a map from token ids to numbers in \[-100, 100\], got /],
    [{ bias: { 9999: 1 } }, /^bias: token id 9999 is outside the vocabulary/],
    [{ guide: "bias,values=9999:1" }, /^guide: token id 9999 is outside the vocabulary/],
    [{ stop: "" }, /^stop: must hold texts that are not empty/],
    [{ stop: [1] }, /^stop: must hold texts that are not empty, got 1/],
    [{ stop: "\ud83d" }, /^stop: holds half a character/],
    [{ stop: Array.from({ length: 17 }, () => "a") }, /^stop: holds 17 texts, at most 16/],
    [{ stopTokens: [-1] }, /^stopTokens: token id -1 is outside/],
    [{ deadlineMs: 0 }, /^deadlineMs: must be a number in \(0, /],
    [{ logprobs: 65 }, "logprobs: must be an integer in [0, 64], got 65"],
    [{ ignoreEndTokens: 1 }, "ignoreEndTokens: must be true or false, got 1"],
    [{ signal: {} }, "signal: must be an AbortSignal"],
  ] as [object, string | RegExp][])("%o", async (options, message) => {
    const toy = model();
    const error = await generateText(toy, "ab", options as GenerateOptions).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OptionError);
    if (typeof message === "string") expect((error as Error).message).toBe(message);
    else expect((error as Error).message).toMatch(message);
    expect(toy.sequences).toEqual([]);
  });
  test.each([[[]], [null], [{ kind: "set" }], [7]] as unknown as [Prompt][])("prompt %o", async (prompt) => {
    await expect(generateText(model(), prompt)).rejects.toThrow(OptionError);
  });
  test("token ids outside the vocabulary, and messages without a template", async () => {
    await expect(generateText(model(), [vocabSize as TokenId])).rejects.toThrow(RangeError);
    const { chat: _, ...bare } = model();
    await expect(generateText(bare, [{ role: "user", content: "a" }])).rejects.toThrow(TemplateError);
  });
});
