// The child: one model, every run on it. Started by `EngineProcess`; speaks `protocol.ts` over Node's channel between processes.

import { describeRegistry, type GenerateEvent, type LaidOut, withLayout } from "../decoding/index.ts";
import type { TokenFact } from "../engine/index.ts";
import { ChainruleError, ContextOverflowError, MemoryError, NotFoundError, OptionError, TimeoutError } from "../errors.ts";
import { load, type Model } from "../load/index.ts";
import type { TokenId } from "../token.ts";
import { pieceText } from "../tokenizer/index.ts";
import { echoOf } from "./echo.ts";
import { Outbox } from "./outbox.ts";
import type { ChildSettings, Task, ToChild, ToParent, WireError, WireEvent, WireLogprob } from "./protocol.ts";

/** One task from its start to its last message. */
interface Running {
  readonly id: number;
  readonly priority: number;
  /** Resolves when it holds nothing any more. */
  readonly ended: Promise<void>;
  readonly controller: AbortController;
  /** Events that the parent will take; a run waits while there are none. */
  credits: number;
  /** Called when there are credits again, or none will come: several answers of one task share them. */
  readonly waiting: Set<() => void>;
  /** Since when it has had no credits. */
  unreadSince: number | undefined;
}

const settings = JSON.parse(process.argv[2]!) as ChildSettings;
const outbox = new Outbox<ToParent>((messages) => process.send?.(messages));
const running = new Map<number, Running>();
let promptTokens = 0;

process.on("disconnect", () => process.exit(0)); // the parent is gone
const isAlive = () => outbox.push({ kind: "loading" });
process.on("message", isAlive); // pings: there are no tasks before "ready"
const model = await load(settings.model, { ...settings.load, opensModels: false }).catch(giveUp); // no client chooses what is read or fetched
process.off("message", isAlive);
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
    loadMs: model.loadMs,
    methods: describeRegistry({ adapters: Object.keys(settings.load.adapters ?? {}), models: Object.keys(settings.load.beside ?? {}) }),
  },
});

/** Says why there is no model, and ends. */
function giveUp(error: unknown): Promise<never> {
  const message = error instanceof Error ? error.message : String(error);
  const isOurs = error instanceof ChainruleError;
  if (!isOurs) process.stderr.write(`${error instanceof Error ? error.stack : message}\n`);
  outbox.flush();
  const last: ToParent = { kind: "unloadable", message, ...(isOurs ? { code: error.code } : {}) };
  return new Promise(() => process.send?.([last], undefined, undefined, () => process.exit(1)));
}

function take(message: ToChild): void {
  if (message.kind === "ping") {
    makeRoom();
    void shed();
    outbox.push({ kind: "pong", number: message.number, status: status() });
  } else if (message.kind === "start") start(message);
  else {
    const one = running.get(message.id);
    if (one === undefined) return; // it has ended meanwhile
    if (message.kind === "cancel") one.controller.abort(new Error("cancelled"));
    else one.credits += message.count;
    for (const resume of one.waiting) resume();
    one.waiting.clear();
  }
}

function start({ id, task, credits, request = "of nobody" }: ToChild & { kind: "start" }): void {
  const priority = (task.kind === "generate" ? task.options.priority : undefined) ?? 0;
  let isOver!: () => void;
  const ended = new Promise<void>((resolve) => {
    isOver = resolve;
  });
  const one: Running = {
    ...{ id, priority, ended, credits },
    ...{ controller: new AbortController(), waiting: new Set(), unreadSince: undefined },
  };
  running.set(id, one);
  run(id, task, one)
    .then(
      (value) => outbox.push({ kind: "done", id, value }),
      (error: unknown) => {
        const { aborted, reason } = one.controller.signal;
        if (!aborted) outbox.push({ kind: "failed", id, error: describe(error) });
        else if (reason instanceof Shed) outbox.push({ kind: "failed", id, error: describe(reason) }); // who cancels it waits for nothing
        const { stack } = aborted && error !== reason ? describe(error) : {};
        if (stack !== undefined)
          process.stderr.write(`request ${request} failed after its client had left: ${stack.replaceAll("\n", " ")}\n`);
      },
    )
    .finally(() => {
      running.delete(id);
      isOver();
    });
}

async function run(id: number, task: Task, one: Running): Promise<unknown> {
  const { signal } = one.controller;
  switch (task.kind) {
    case "generate": {
      if (asideBytes() > settings.maxAsideBytes) throw new Overload("the server holds as many answers that wait as it has memory for");
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
      const held = tokens.length * count; // every answer reads the prompt
      admit(held);
      const send = async (event: WireEvent) => {
        if (one.credits === 0) {
          one.unreadSince ??= performance.now();
          while (one.credits === 0 && !signal.aborted) await new Promise<void>((resolve) => one.waiting.add(resolve));
          one.unreadSince = undefined;
        }
        signal.throwIfAborted();
        one.credits -= 1;
        outbox.push({ kind: "event", id, event });
      };
      try {
        const answers = Array.from({ length: count }, (_, choice) =>
          answer(
            model,
            choice,
            laidOut,
            typeof prompt === "string" ? prompt : undefined,
            model.stream(laidOut, { ...options, ...(seed === undefined ? {} : { seed: seed + choice }), signal }),
            send,
          ),
        );
        const settled = await Promise.allSettled(answers); // none is left running when one fails
        for (const result of settled) if (result.status === "rejected") throw result.reason;
      } finally {
        promptTokens -= held;
      }
      return undefined;
    }
    case "embed": {
      const held = task.texts.reduce((sum, text) => sum + model.tokenize(text).length, 0);
      admit(held);
      try {
        return await model.embed(task.texts, { ...task.options, signal });
      } finally {
        promptTokens -= held;
      }
    }
    case "tokenize":
      return model.tokenize(task.text, { special: task.special, ...(task.bos === undefined ? {} : { bos: task.bos }) });
    case "detokenize":
      return task.lists.map((tokens) => {
        const outside = tokens.find((token) => token >= model.config.vocabSize);
        if (outside !== undefined) throw new OptionError("tokens", `${outside} is outside the vocabulary of ${model.config.vocabSize}`);
        return model.tokenizer.decode(tokens as readonly TokenId[], { special: task.special });
      });
    case "costCurve": {
      const { singleRowMs, points } = await model.costCurve({ signal });
      return { singleRowMs, points };
    }
  }
}

/**
 * Counts prompt tokens, which are given back at the end. One prompt alone is bounded by the context; many of one request could never be
 * admitted where they are more than there may be of all.
 */
function admit(tokens: number): void {
  if (tokens > Math.max(settings.maxTokens, model.contextLength))
    throw new TooManyAtOnce(
      `the request's prompts have ${tokens} tokens, over all its answers or texts; the server admits ${settings.maxTokens}`,
    );
  if (promptTokens > 0 && promptTokens + tokens > settings.maxTokens)
    throw new Overload("the server holds as many prompt tokens as it admits");
  promptTokens += tokens;
}

/** Where a reader has not read for long, its run's cache goes to host memory, from where it comes back when it is read. */
function makeRoom(): void {
  const now = performance.now();
  if ([...running.values()].some(({ unreadSince }) => unreadSince !== undefined && now - unreadSince > settings.unreadMs))
    model.setAside({ idleMs: settings.unreadMs });
}

/** Host memory that holds what had to make room in the cache, of all models. */
function asideBytes(of = model.memory()): number {
  return Object.values(of.beside).reduce((sum, other) => sum + asideBytes(other), of.savedBytes);
}

let isShedding = false;
/**
 * How much runs will put aside is not known when they begin: it depends on the branches that their methods keep and on who reads. Where it
 * is more than there may be, those are ended that would wait the longest, one after the other and never the last, so that somebody finishes.
 */
async function shed(): Promise<void> {
  if (isShedding) return;
  isShedding = true;
  try {
    while (asideBytes() > settings.maxAsideBytes) {
      const alive = [...running.values()].filter(({ controller }) => !controller.signal.aborted);
      const last = alive.sort((a, b) => b.priority - a.priority || a.id - b.id).at(-1);
      if (last === undefined || alive.length === 1) return;
      last.controller.abort(new Shed());
      for (const resume of last.waiting) resume();
      await last.ended;
    }
  } finally {
    isShedding = false;
  }
}

/** Sends one run's events as fast as the parent takes them. */
async function answer(
  of: Model,
  choice: number,
  prompt: LaidOut,
  text: string | undefined,
  events: AsyncGenerator<GenerateEvent>,
  send: (event: WireEvent) => Promise<void>,
): Promise<void> {
  for await (const event of events) {
    void shed();
    if (event.kind === "token") {
      const logprob = event.fact.top === undefined ? undefined : named(of, event.fact);
      await send({ kind: "token", choice, text: event.text, fact: event.fact, ...(logprob === undefined ? {} : { logprob }) });
    } else if (event.kind === "growth" || event.kind === "branch" || event.kind === "effort") {
      await send({ kind: "search", choice, step: toPlain(event) as typeof event });
    } else if (event.kind === "finish") {
      const { text: _, logprobs: __, ...result } = event.result;
      const echo = result.promptLogprobs === undefined ? {} : { echo: echoOf(of.tokenizer, prompt.tokens, text) };
      await send({ kind: "finish", choice, text: event.text, result: { ...(toPlain(result) as typeof result), ...echo } });
    }
  }
}

/** Lists in place of typed arrays, which JSON would write as objects. */
function toPlain(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return [...(value as unknown as Iterable<number>)];
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, toPlain(entry)]));
}

function named({ tokenizer }: Model, { id, logprob, top = [] }: TokenFact): WireLogprob {
  const written = (token: number) => ({
    text: pieceText(tokenizer, token as TokenId),
    bytes: [...tokenizer.piece(token as TokenId, { special: true })],
  });
  return { id, ...written(id), logprob: logprob!, top: top.map((entry) => ({ ...entry, ...written(entry.id) })) };
}

/** More of something than the server admits. */
class Overload extends Error {}
/** More than the server ever admits. */
class TooManyAtOnce extends Error {}
/** A run had to end for the memory that the runs before it need. */
class Shed extends Error {}

/** What a client is told of an error; what it can't help stays general, and the log has it. */
function describe(error: unknown): WireError {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Overload) return { status: 429, code: "too_many_tokens", message, param: null };
  if (error instanceof TooManyAtOnce) return { status: 400, code: "too_many_tokens", message, param: null };
  if (error instanceof Shed)
    return {
      status: 503,
      code: "out_of_memory",
      message: "the answers that wait hold as much memory as the server has for them",
      param: null,
    };
  if (error instanceof ContextOverflowError) return { status: 400, code: "context_length_exceeded", message, param: null };
  if (error instanceof MemoryError) return { status: 503, code: "out_of_memory", message, param: null };
  if (error instanceof OptionError) return { status: 400, code: "invalid_value", message, param: error.option };
  if (error instanceof ChainruleError && ["UNSUPPORTED", "TEMPLATE"].includes(error.code))
    return { status: 400, code: "unsupported", message, param: null };
  if (error instanceof NotFoundError) return { status: 400, code: "not_found", message, param: null };
  if (error instanceof TimeoutError) return { status: 503, code: "timeout", message, param: null };
  if (error instanceof RangeError && !message.startsWith("internal:")) return { status: 400, code: "invalid_value", message, param: null };
  const stack = (error instanceof Error ? error.stack : undefined) ?? message; // becomes a line of the parent's log, with the request's id
  return { status: 500, code: "internal_error", message: "internal error", param: null, stack };
}

function status() {
  const { streams, streamsUsed, preemptions, passes, queued } = model.memory();
  const unread = [...running.values()].filter(({ unreadSince }) => unreadSince !== undefined).length;
  return {
    running: running.size,
    unread,
    queued,
    streams,
    streamsUsed,
    preemptions,
    asideBytes: asideBytes(),
    passes,
    residentBytes: process.memoryUsage.rss(),
  };
}
