// The child: one model, every run on it. Started by `EngineProcess`; speaks `protocol.ts` over Node's channel between processes.

import { describeRegistry, type GenerateEvent, type LaidOut, type TokenLogprob, withLayout } from "../decoding/index.ts";
import type { TokenFact } from "../engine/index.ts";
import { ChainruleError, ContextOverflowError, MemoryError, OptionError } from "../errors.ts";
import { load, type Model } from "../load.ts";
import type { TokenId } from "../token.ts";
import { Outbox } from "./outbox.ts";
import type { ChildSettings, Task, ToChild, ToParent, WireError, WireEvent } from "./protocol.ts";

/** One task from its start to its last message. */
interface Running {
  readonly controller: AbortController;
  /** Events that the parent will take; a run waits while there are none. */
  credits: number;
  resume: (() => void) | undefined;
}

const settings = JSON.parse(process.argv[2]!) as ChildSettings;
const outbox = new Outbox<ToParent>((messages) => process.send?.(messages));
const running = new Map<number, Running>();
let promptTokens = 0;

process.on("disconnect", () => process.exit(0)); // the parent is gone
outbox.push({ kind: "loading", what: settings.model });
const model = await load(settings.model, settings.load);
process.on("message", (messages: readonly ToChild[]) => {
  for (const message of messages) take(message);
});
outbox.push({
  kind: "ready",
  info: {
    name: model.name,
    hash: model.hash,
    contextLength: model.contextLength,
    vocabSize: model.config.vocabSize,
    blocks: model.config.blocks.length,
    methods: describeRegistry(),
  },
});

function take(message: ToChild): void {
  if (message.kind === "ping") outbox.push({ kind: "pong", status: status() });
  else if (message.kind === "start") start(message.id, message.task, message.credits);
  else {
    const one = running.get(message.id);
    if (one === undefined) return; // it has ended meanwhile
    if (message.kind === "cancel") one.controller.abort(new Error("cancelled"));
    else one.credits += message.count;
    one.resume?.();
  }
}

function start(id: number, task: Task, credits: number): void {
  const one: Running = { controller: new AbortController(), credits, resume: undefined };
  running.set(id, one);
  run(id, task, one)
    .then(
      (value) => outbox.push({ kind: "done", id, value }),
      (error: unknown) => outbox.push({ kind: "failed", id, error: describe(error) }),
    )
    .finally(() => running.delete(id));
}

async function run(id: number, task: Task, one: Running): Promise<unknown> {
  const { signal } = one.controller;
  switch (task.kind) {
    case "generate": {
      const { prompt, tools, count } = task;
      const { parseSpecial, layout, ...options } = task.options;
      const { seed } = options;
      const laidOut = await model.layOut(layout === undefined ? prompt : withLayout(layout, prompt), {
        ...{ maxPromptTokens: model.contextLength - (options.maxTokens ?? 1) },
        ...(parseSpecial === undefined ? {} : { parseSpecial }),
        ...(tools === undefined ? {} : { tools }),
        signal,
      });
      const { tokens } = laidOut;
      if (promptTokens > 0 && promptTokens + tokens.length > settings.maxTokens) throw new Overload();
      const send = async (event: WireEvent) => {
        while (one.credits === 0 && !signal.aborted) await new Promise<void>((resolve) => (one.resume = resolve));
        signal.throwIfAborted();
        one.credits -= 1;
        outbox.push({ kind: "event", id, event });
      };
      promptTokens += tokens.length;
      try {
        const answers = Array.from({ length: count }, (_, choice) =>
          answer(
            model,
            choice,
            laidOut,
            model.stream(laidOut, { ...options, ...(seed === undefined ? {} : { seed: seed + choice }), signal }),
            send,
          ),
        );
        const settled = await Promise.allSettled(answers); // none is left running when one fails
        for (const result of settled) if (result.status === "rejected") throw result.reason;
      } finally {
        promptTokens -= tokens.length;
      }
      return undefined;
    }
    case "embed":
      return model.embed(task.texts, { ...task.options, signal });
    case "tokenize":
      return model.tokenize(task.text, { special: task.special, ...(task.bos === undefined ? {} : { bos: task.bos }) });
    case "detokenize":
      for (const token of task.tokens)
        if (token >= model.config.vocabSize)
          throw new OptionError("tokens", `${token} is outside the vocabulary of ${model.config.vocabSize}`);
      return model.tokenizer.decode(task.tokens as readonly TokenId[], { special: task.special });
    case "costCurve": {
      const { singleRowMs, points } = await model.costCurve({ signal });
      return { singleRowMs, points };
    }
  }
}

/** Sends one run's events as fast as the parent takes them. */
async function answer(
  of: Model,
  choice: number,
  prompt: LaidOut,
  events: AsyncGenerator<GenerateEvent>,
  send: (event: WireEvent) => Promise<void>,
): Promise<void> {
  for await (const event of events) {
    if (event.kind === "token") {
      const logprob = event.fact.top === undefined ? undefined : named(of, event.fact);
      await send({ kind: "token", choice, text: event.text, fact: event.fact, ...(logprob === undefined ? {} : { logprob }) });
    } else if (event.kind === "branch") await send({ kind: "branch", choice, fact: event.fact });
    else if (event.kind === "finish") {
      const { tokens, finishReason, usage, timings, facts, promptLogprobs } = event.result;
      const firstPromptText = of.tokenizer.decode([prompt.tokens[0]!], { special: true });
      const prompts = promptLogprobs === undefined ? {} : { promptLogprobs, firstPromptText };
      await send({ kind: "finish", choice, text: event.text, result: { tokens, finishReason, usage, timings, facts, ...prompts } });
    }
  }
}

function named(of: Model, { id, logprob, top = [] }: TokenFact): TokenLogprob {
  const text = (token: number) => of.tokenizer.decode([token as TokenId], { special: true });
  return { id, text: text(id), logprob: logprob!, top: top.map((entry) => ({ ...entry, text: text(entry.id) })) };
}

/** More prompt tokens than the server admits. */
class Overload extends Error {}

/** What a client is told of an error; what it can't help stays general. */
function describe(error: unknown): WireError {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Overload)
    return { status: 429, code: "too_many_tokens", message: "the server holds as many prompt tokens as it admits", param: null };
  if (error instanceof ContextOverflowError) return { status: 400, code: "context_length_exceeded", message, param: null };
  if (error instanceof MemoryError) return { status: 503, code: "out_of_memory", message, param: null };
  if (error instanceof OptionError) return { status: 400, code: "invalid_value", message, param: error.option };
  if (error instanceof ChainruleError && ["UNSUPPORTED", "TEMPLATE"].includes(error.code))
    return { status: 400, code: "unsupported", message, param: null };
  if (error instanceof RangeError) return { status: 400, code: "invalid_value", message, param: null };
  return { status: 500, code: "internal_error", message, param: null };
}

function status() {
  const { streams, streamsUsed, preemptions, passes, queued } = model.memory();
  return { running: running.size, queued, streams, streamsUsed, preemptions, passes, residentBytes: process.memoryUsage.rss() };
}
