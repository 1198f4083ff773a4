import type { Message } from "../chat/index.ts";
import type { Sequence } from "../engine/index.ts";
import { DisposedError, OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import type { AdapterScale } from "./adapters.ts";
import { decode, type GenerateEvent, type GenerateResult } from "./generate.ts";
import type { DecodingModel } from "./model.ts";
import { type GenerateOptions, type Plan, resolveMaxTokens, resolveOptions } from "./options.ts";
import { encodePrompt } from "./prompting/prompt.ts";
import { readSavedChat, writeSavedChat } from "./saved-chat.ts";

export interface ChatOptions {
  /** What the conversation begins with. */
  readonly system?: string;
  /** Options of every turn; a turn's own go before them. */
  readonly generate?: GenerateOptions;
}

export type ChatEvent =
  | {
      /** The conversation outgrew the context: these messages, whole turns from the oldest, are no longer part of it. */
      readonly kind: "dropped";
      readonly messages: readonly Message[];
      readonly numTurns: number;
    }
  | GenerateEvent;

/**
 * A conversation. It keeps its sequence between turns: each turn is laid out by the model's template as a whole, and what the
 * sequence holds of it already is not evaluated again. When it outgrows the context, whole turns are dropped from the oldest,
 * never a system message, and an event and the facts say so.
 *
 *     using chat = new Chat(model, { system: "Be brief." });
 *     for await (const event of chat.send("Why is the sky blue?")) if (event.kind === "token") process.stdout.write(event.text);
 *
 * A turn that fails, is aborted, or whose loop is left early is not part of the conversation.
 */
export class Chat {
  readonly #model: DecodingModel;
  readonly #options: GenerateOptions;
  #messages: readonly Message[];
  #sequence: Sequence | undefined;
  /** The adapters with which it was computed. */
  #adapters = "";
  /** What the sequence holds. */
  #cached: readonly TokenId[] = [];
  #isAnswering = false;
  #isDisposed = false;

  constructor(model: DecodingModel, options: ChatOptions = {}) {
    for (const key of Object.keys(options)) {
      if (key !== "system" && key !== "generate") throw new OptionError(key, "is no option of a chat; the options are system, generate");
    }
    this.#model = model;
    this.#options = options.generate ?? {};
    resolveTurn(this.#options, model);
    this.#messages = options.system === undefined ? [] : [{ role: "system", content: options.system }];
  }

  /**
   * A conversation that {@link save} wrote. Its tokens are evaluated again (keys and values are not stored), in one go where
   * they came one by one before: the answers go on alike, to the bit only with the engine's strict mode.
   *
   * @throws FormatError if `saved` is damaged, of another version, or of another model; the signal's reason when aborted
   */
  static async restore(
    model: DecodingModel,
    saved: string,
    options: { generate?: GenerateOptions; signal?: AbortSignal } = {},
  ): Promise<Chat> {
    const { messages, tokens } = readSavedChat(saved, model);
    const { signal, ...rest } = options;
    const chat = new Chat(model, rest);
    chat.#messages = messages;
    if (tokens.length > 0) {
      try {
        const sequence = await chat.#open(resolveTurn(chat.#options, model).adapters, signal);
        await sequence.forward({ input: tokens, ...(signal === undefined ? {} : { signal }) });
        chat.#cached = tokens;
      } catch (error) {
        chat[Symbol.dispose]();
        throw error;
      }
    }
    return chat;
  }

  /** The conversation so far, without what was dropped. */
  get messages(): readonly Message[] {
    return this.#messages;
  }

  /** The conversation as text that {@link Chat.restore} reads. */
  save(): string {
    this.#assertIdle();
    return writeSavedChat(this.#model, { messages: this.#messages, tokens: this.#cached });
  }

  /** Forgets every turn; system messages stay. */
  clear(): void {
    this.#assertIdle();
    this.#messages = this.#messages.filter(isSystem);
  }

  /**
   * One turn: a message and the model's answer, event by event. Options are {@link GenerateOptions}.
   *
   * @throws what `generate` throws; ContextOverflowError when the message alone exceeds the context
   */
  async *send(message: string | Message, options: GenerateOptions = {}): AsyncGenerator<ChatEvent, void> {
    this.#assertIdle();
    this.#isAnswering = true;
    try {
      yield* this.#answer(typeof message === "string" ? { role: "user", content: message } : message, options);
    } finally {
      this.#isAnswering = false;
      if (this.#isDisposed) this.#release();
    }
  }

  /** {@link send} to its end. */
  async ask(message: string | Message, options: GenerateOptions = {}): Promise<GenerateResult> {
    for await (const event of this.send(message, options)) if (event.kind === "finish") return event.result;
    throw new Error("internal: a turn ended without a finish event");
  }

  /** Gives the sequence back, at the end of the turn under way if there is one. Idempotent. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    if (!this.#isAnswering) this.#release();
  }

  async *#answer(message: Message, options: GenerateOptions): AsyncGenerator<ChatEvent, void> {
    const model = this.#model;
    const startMs = performance.now();
    if (options.priority !== undefined)
      throw new OptionError("priority", "belongs to the whole chat, whose sequence stays: give it when the chat begins");
    if (options.prefixKey !== undefined)
      throw new OptionError("prefixKey", "belongs to the whole chat, whose sequence stays: give it when the chat begins");
    const plan = resolveTurn({ ...this.#options, ...options }, model);
    plan.signal?.throwIfAborted();
    const { messages, prompt, dropped, numTurns } = await this.#fit([...this.#messages, message], plan);
    const maxTokens = resolveMaxTokens(plan.maxTokens, prompt.length, model.contextLength);
    const choices = numTurns === 0 ? plan.choices : [...plan.choices, droppedFact(numTurns, model)];
    if (numTurns > 0) yield { kind: "dropped", messages: dropped, numTurns };

    if (adapterKey(plan.adapters) !== this.#adapters) this.#release(); // what it holds was computed with other weights

    // at least one row gives the answer's start; log-probabilities of the prompt need them all
    const numCached = plan.promptLogprobs === undefined ? Math.min(commonLength(this.#cached, prompt), prompt.length - 1) : 0;
    const known = [...prompt];
    const events = decode(model, {
      ...{ plan: { ...plan, choices }, startMs, layout: { kind: "laid-out", tokens: prompt, isChat: true }, maxTokens, numCached },
      open: async (signal) => {
        const sequence = await this.#open(plan.adapters, signal);
        sequence.rewind(numCached);
        return sequence;
      },
      // whatever ended the turn: the sequence holds the first of the tokens that were to be put there
      close: (sequence) => {
        this.#sequence = sequence;
        this.#cached = known.slice(0, sequence.length);
      },
    });
    for await (const event of events) {
      if (event.kind === "token") known.push(event.fact.id as TokenId);
      if (event.kind === "finish") this.#messages = [...messages, { role: "assistant", content: event.result.text }];
      yield event;
    }
  }

  /** The messages that fit with room for an answer, and their tokens. The new message's turn always stays. */
  async #fit(messages: readonly Message[], plan: Plan) {
    const { contextLength } = this.#model;
    const room = plan.maxTokens ?? Math.min(minAnswerTokens, Math.floor(contextLength / 4));
    const dropped: Message[] = [];
    for (let numTurns = 0, rest = messages; ; numTurns++) {
      const prompt = await encodePrompt(this.#model, rest, plan.signal === undefined ? {} : { signal: plan.signal });
      const turn = oldestTurn(rest);
      if (prompt.length + room <= contextLength || turn.length === 0) return { messages: rest, prompt, dropped, numTurns };
      dropped.push(...turn);
      rest = rest.filter((message) => !turn.includes(message));
    }
  }

  async #open(adapters: readonly AdapterScale[], signal: AbortSignal | undefined): Promise<Sequence> {
    const { priority, prefixKey } = this.#options;
    this.#adapters = adapterKey(adapters);
    this.#sequence ??= await this.#model.sequence({
      maxLength: this.#model.contextLength,
      ...(priority === undefined ? {} : { priority }),
      ...(adapters.length === 0 ? {} : { adapters }),
      ...(prefixKey === undefined ? {} : { prefixKey }),
      ...(signal === undefined ? {} : { signal }),
    });
    return this.#sequence;
  }

  #release(): void {
    this.#sequence?.[Symbol.dispose]();
    this.#sequence = undefined;
    this.#cached = [];
  }

  #assertIdle(): void {
    if (this.#isDisposed) throw new DisposedError("the chat");
    if (this.#isAnswering) throw new OptionError("message", "came while an answer is under way; a chat has one turn at a time");
  }
}

const adapterKey = (adapters: readonly AdapterScale[]): string => adapters.map(({ name, scale }) => `${name}=${scale}`).join();

/** Room that an answer without `maxTokens` has at least, where the context is large enough. */
const minAnswerTokens = 256;

/** @throws OptionError */
function resolveTurn(options: GenerateOptions, model: DecodingModel): Plan {
  if (options.parseSpecial !== undefined)
    throw new OptionError("parseSpecial", "is about text prompts; a chat's template writes special tokens");
  return resolveOptions(options, model);
}

function isSystem({ role }: Message): boolean {
  return role === "system" || role === "developer";
}

/** The messages of the oldest turn that may go: all up to the second user message, system messages excepted; none if there is one turn. */
function oldestTurn(messages: readonly Message[]): Message[] {
  const starts = [...messages.keys()].filter((index) => messages[index]!.role === "user");
  return starts.length < 2 ? [] : messages.slice(0, starts[1]).filter((message) => !isSystem(message));
}

function commonLength(a: readonly TokenId[], b: readonly TokenId[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

function droppedFact(numTurns: number, { contextLength }: DecodingModel) {
  const because = `the conversation with room for an answer exceeds the context of ${contextLength} tokens`;
  return { what: "history", chosen: `dropped the oldest ${numTurns === 1 ? "turn" : `${numTurns} turns`}`, because };
}
