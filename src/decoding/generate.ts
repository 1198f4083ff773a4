import type { ChoiceFact, Facts, ForwardRequest, Sequence, TokenFact } from "../engine/index.ts";
import { OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { pieceText } from "../tokenizer/index.ts";
import { nameOf, openModels } from "./companions.ts";
import type { DecodingModel, ModelSource } from "./model.ts";
import { adaptersOf, type GenerateOptions, ownershipOf, type Plan, resolveMaxTokens, resolveOptions, sequencesOf } from "./options.ts";
import { type LaidOut, layoutOfRows } from "./prompting/layout.ts";
import { layOutPrompt, type Prompt } from "./prompting/prompt.ts";
import { RunRecord, type Timings } from "./record.ts";
import type { Alternative, Run, SearchEvent, SearchResult } from "./search/search.ts";
import type { SkipPart, SkipPlan } from "./skipping/skip.ts";
import type { FinishReason, StoppedBy } from "./stop.ts";
import { TimeLimit } from "./time-limit.ts";

export interface TokenLogprob {
  readonly id: number;
  /** The token as text, special tokens written out; half a character is U+FFFD. */
  readonly text: string;
  /** Natural logarithm of the model's own probability, before guides, temperature and truncation. */
  readonly logprob: number;
  /** The most probable tokens, as many as asked for. */
  readonly top: readonly { readonly id: number; readonly text: string; readonly logprob: number }[];
}

export interface GenerateResult {
  /** The answer, without the stop text or end token that ended it. */
  readonly text: string;
  /** Every generated token: also the end token, and those that hold the stop text. */
  readonly tokens: readonly TokenId[];
  readonly finishReason: FinishReason;
  /** With finishReason "stop". */
  readonly stoppedBy?: StoppedBy;
  /** Cached: tokens of the prompt that the prefix cache had; absent where it had none. */
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number; readonly cachedTokens?: number };
  readonly timings: Timings;
  /** With the option `logprobs`: one entry per generated token. */
  readonly logprobs?: readonly TokenLogprob[];
  /** With `promptLogprobs`: one entry per prompt token from the second on. */
  readonly promptLogprobs?: readonly TokenLogprob[];
  /** Other answers, best first, where the search was asked for several. */
  readonly alternatives?: readonly Alternative[];
  readonly facts: Facts;
}

/** What a run says as it goes. All events' `text` in a row is the result's text. */
export type GenerateEvent =
  | SearchEvent
  | {
      readonly kind: "finish";
      /** Text that was held back until the end. */
      readonly text: string;
      readonly result: GenerateResult;
    };

/**
 * Continues a prompt, event by event: `prompt` once it has been evaluated, `token` for each token, `finish` with the result.
 * Leaving the loop early ends the run and frees its sequence.
 *
 *     for await (const event of generate(model, "Once upon a time", { maxTokens: 64 })) {
 *       if (event.kind === "token") process.stdout.write(event.text);
 *     }
 *
 * @throws OptionError (before anything is computed) for options that are unknown, out of range or contradict each other;
 *         ContextOverflowError (before, too) when prompt and `maxTokens` exceed the context; NativeError for logits that are
 *         not finite; the signal's reason when aborted
 */
export async function* generate(model: DecodingModel, prompt: Prompt, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent, void> {
  const startMs = performance.now();
  const plan = resolveOptions(options, model);
  plan.signal?.throwIfAborted();
  const { parseSpecial, signal } = plan;
  const layout = await layOutPrompt(model, prompt, {
    ...{ maxPromptTokens: model.contextLength - (plan.maxTokens ?? 1) },
    ...(parseSpecial === undefined ? {} : { parseSpecial }),
    ...(signal === undefined ? {} : { signal }),
  });
  if (layout.positions !== undefined && plan.promptLogprobs !== undefined)
    throw new OptionError("promptLogprobs", "and layout set can't be combined: a member's first token does not follow the token before it");
  const { tokens } = layout;
  const maxTokens = resolveMaxTokens(plan.maxTokens, tokens.length, model.contextLength);
  yield* decode(model, {
    ...{ plan, startMs, layout, maxTokens, numCached: 0 },
    open: (abort) =>
      model.sequence({
        ...{ maxLength: tokens.length + maxTokens, ...ownershipOf(plan), ...adaptersOf(plan) },
        ...(abort === undefined ? {} : { signal: abort }),
      }),
    close: (sequence) => sequence[Symbol.dispose](),
  });
}

/** {@link generate} to its end: the result of its last event. */
export async function generateText(model: DecodingModel, prompt: Prompt, options: GenerateOptions = {}): Promise<GenerateResult> {
  for await (const event of generate(model, prompt, options)) if (event.kind === "finish") return event.result;
  throw new Error("internal: a run ended without a finish event");
}

/** One run: a checked plan on a sequence that may hold a part of the prompt already. */
export interface Job {
  readonly plan: Plan;
  readonly startMs: number;
  readonly layout: LaidOut;
  readonly maxTokens: number;
  /** How many tokens of the prompt the sequence holds; fewer than all. */
  readonly numCached: number;
  open(signal: AbortSignal | undefined): Sequence | Promise<Sequence>;
  /** Takes back the sequence that holds what was decoded: the one that `open` gave, or a fork of it, when that one is disposed. */
  close(sequence: Sequence): void;
}

/** What {@link generate} does once options and prompt are settled; a chat calls it with the sequence it keeps. */
export async function* decode(model: DecodingModel, job: Job): AsyncGenerator<GenerateEvent, void> {
  const { plan } = job;
  const record = new RunRecord(job.startMs);
  const limit = new TimeLimit(plan.signal, plan.deadlineMs, job.startMs);
  let text = "";
  let promptFacts: readonly TokenFact[] | undefined;
  let skip: SkipPlan | undefined;
  let explained: readonly ChoiceFact[] = [];
  let end: SearchResult = { ending: { reason: "deadline" }, text: "" };
  try {
    skip = await startSkip(model, job, limit);
    const maxLength = job.layout.tokens.length + job.maxTokens;
    const models = await limit.within(() => openModels(model, plan.models, { maxLength, signal: limit.signal }));
    const sequence = await limit.within(async () => job.open(limit.signal));
    if (sequence !== undefined) {
      const events = plan.search(startRun(model, job, sequence, record, limit, { skip, models: models ?? new Map() }));
      try {
        for (;;) {
          record.resume();
          const next = await events.next();
          if (next.done === true) {
            end = next.value;
            break;
          }
          const event = next.value;
          if (event.kind === "prompt") {
            record.promptDone();
            promptFacts = event.facts;
          } else if (event.kind === "branch") record.branchDone(event.fact);
          else if (event.kind === "effort") record.effortDone(event.fact);
          else if (event.kind === "token") {
            record.tokenDone(event.fact);
            text += event.text;
          }
          record.pause();
          yield event;
        }
      } finally {
        await events.return(end);
        if (end.sequence !== undefined && end.sequence !== sequence) sequence[Symbol.dispose]();
        job.close(end.sequence ?? sequence);
      }
    }
    explained = yield* explainAnswer(model, job, record, limit);
  } finally {
    limit.clear();
  }
  const result = {
    text: text + end.text,
    tokens: record.tokens.map(({ id }) => id as TokenId),
    finishReason: end.ending.reason,
    ...(end.ending.reason === "stop" ? { stoppedBy: end.ending.by } : {}),
    usage: {
      ...{ promptTokens: job.layout.tokens.length, completionTokens: record.tokens.length },
      ...(record.cachedTokens === 0 ? {} : { cachedTokens: record.cachedTokens }),
    },
    timings: record.timings(),
    ...(plan.logprobs === undefined ? {} : { logprobs: withTexts(model, record.tokens) }),
    ...(end.alternatives === undefined ? {} : { alternatives: end.alternatives }),
    ...(promptFacts === undefined ? {} : { promptLogprobs: withTexts(model, promptFacts) }),
    facts: {
      ...record.facts([...plan.choices, ...(job.layout.choices ?? []), ...explained, ...(skip?.choices ?? [])]),
      ...(plan.adapters.length === 0 ? {} : { adapters: plan.adapters }),
    },
  };
  yield { kind: "finish", text: end.text, result };
}

/** What the answer owes to the prompt, into the record; a choice says where the deadline came before it. */
async function* explainAnswer(
  model: DecodingModel,
  { plan, layout }: Job,
  record: RunRecord,
  limit: TimeLimit,
): AsyncGenerator<GenerateEvent, readonly ChoiceFact[]> {
  if (plan.explain === undefined) return [];
  const answer = record.tokens.map(({ id }) => id as TokenId);
  if (answer.length === 0) return [{ what: "explain", chosen: "off", because: "the answer has no token" }];
  const abort = limit.signal === undefined ? {} : { signal: limit.signal };
  const open = sequencesOf(model, plan, abort);
  const efforts = plan.explain.explain({ model, open, layout, answer, ...abort });
  for (;;) {
    const next = await limit.within(() => efforts.next());
    if (next === undefined) return [{ what: "explain", chosen: "off", because: "the deadline was reached" }];
    if (next.done === true) {
      record.reportAttribution(next.value);
      return leftOut(plan);
    }
    yield { kind: "effort", fact: next.value };
  }
}

/** An explanation reads whole prompts and answers in one pass each: it asks the model, not what was done to its rows on the way. */
function leftOut({ skip, rules }: Plan): readonly ChoiceFact[] {
  const others = [...(skip === undefined ? [] : [`skip ${skip.name}`]), ...rules.guides.map(({ name }) => `guide ${name}`)];
  if (others.length === 0) return [];
  const because = `it explains the model's own probabilities: those before guides, with every block`;
  return [{ what: "explain", chosen: `without ${others.join(", ")}`, because }];
}

/** The skip of a run, or undefined for none; undefined too where the deadline passed while it was measured. */
function startSkip(model: DecodingModel, { plan, layout, maxTokens }: Job, limit: TimeLimit): Promise<SkipPlan | undefined> {
  if (plan.skip === undefined) return Promise.resolve(undefined);
  const abort = limit.signal === undefined ? {} : { signal: limit.signal };
  const promptLength = layout.tokens.length;
  const context = {
    ...{ blocks: model.blocks!, promptLength, maxLength: promptLength + maxTokens },
    order: async (part: SkipPart) => (await model.skipOrder!(part, abort)).blocks,
  };
  return limit.within(async () => plan.skip!.start(context));
}

function startRun(
  model: DecodingModel,
  job: Job,
  sequence: Sequence,
  record: RunRecord,
  limit: TimeLimit,
  { skip, models }: { readonly skip: SkipPlan | undefined; readonly models: ReadonlyMap<ModelSource, DecodingModel> },
): Run {
  const { plan, layout, numCached, maxTokens } = job;
  const { tokens: prompt, isChat = false } = layout;
  const abort = limit.signal === undefined ? {} : { signal: limit.signal };
  const { rules, draft, logprobs, promptLogprobs } = plan;
  return {
    ...{ tokenizer: model.tokenizer, sequence, prompt, numCached, rules, draft, logprobs, promptLogprobs, isChat },
    ...(model.chat === undefined ? {} : { chat: model.chat }),
    stop: { ...plan.stop, maxTokens },
    forward: (target, request) =>
      limit.within(() => {
        // whoever reads the prompt reads it as it is laid out, and with every block
        const isPrompt = target.length < prompt.length;
        const laidOut = isPrompt ? layoutOfRows(layout, target.length, numRows(request.input)) : {};
        const blocks = isPrompt ? undefined : skip?.blocksAt(target.length);
        const whole = { ...request, ...laidOut, ...(blocks === undefined ? {} : { blocks }), ...abort };
        return record.forward(
          target,
          whole,
          skip === undefined ? undefined : { from: target.length - prompt.length, blocks: model.blocks! },
        );
      }),
    consult: (target, request) => limit.within(() => record.forward(target, { ...request, ...abort })),
    within: (work) => limit.within(() => work(limit.signal)),
    spent: () => record.spent(),
    ...(model.costCurve === undefined
      ? {}
      : { costCurve: (entries) => model.costCurve!({ ...abort, ...(entries === undefined ? {} : { entries }) }) }),
    ...(model.transferMaps === undefined ? {} : { transferMaps: () => model.transferMaps!(abort) }),
    ...(model.attributeHead === undefined ? {} : { attributeHead: (name) => model.attributeHead!(name) }),
    ...(model.judgeQuality === undefined ? {} : { judgeQuality: (judge) => limit.within(() => model.judgeQuality!(judge, abort)) }),
    reportChoices: (choices) => record.reportChoices(choices),
    companion(source) {
      const other = source === undefined ? model : models.get(source);
      if (other === undefined) throw new Error("internal: a method asks for a model that none of its parameters names");
      const name = source === undefined ? (model.name ?? "the model itself") : nameOf(source);
      const adapters = source === undefined ? adaptersOf(plan) : {};
      return {
        ...{ name, model: other },
        sequence: () => other.sequence({ maxLength: prompt.length + maxTokens, ...ownershipOf(plan), ...adapters, ...abort }),
        forward: (target, request) =>
          limit.within(() => {
            const isPrompt = target.length < prompt.length;
            const laidOut = isPrompt ? layoutOfRows(layout, target.length, numRows(request.input)) : {};
            return record.forwardBeside(name, target, { ...request, ...laidOut, ...abort });
          }),
      };
    },
    reportDrafts: (drafts, choices) => record.reportDrafts(drafts, choices),
    reportGuides: (guides) => record.reportGuides(guides),
  };
}

function withTexts(model: DecodingModel, facts: readonly TokenFact[]): TokenLogprob[] {
  const named = (id: number, logprob: number) => ({ id, text: pieceText(model.tokenizer, id as TokenId), logprob });
  return facts.map(({ id, logprob, top = [] }) => ({ ...named(id, logprob!), top: top.map((entry) => named(entry.id, entry.logprob)) }));
}

function numRows(input: ForwardRequest["input"]): number {
  return "hiddenSize" in input ? input.values.length / input.hiddenSize : input.length;
}
