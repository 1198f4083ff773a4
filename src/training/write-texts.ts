import { setMaxListeners } from "node:events";
import { appendFileSync, existsSync, readFileSync, truncateSync } from "node:fs";
import type { GenerateOptions, GenerateResult, Prompt } from "../decoding/index.ts";

/** A loaded model, of which only this is asked. */
export interface Writer {
  generate(prompt: Prompt, options: GenerateOptions): Promise<GenerateResult>;
  encode(prompt: Prompt): Promise<readonly number[]>;
}

/** One line of the file that {@link writeTexts} makes. */
export interface WrittenText {
  /** What the model was asked, or the opening that it continued. */
  readonly prompt: string;
  readonly isChat: boolean;
  /** The opening included. */
  readonly text: string;
  /** Token ids of what it was asked, as the model reads it. */
  readonly promptTokens: readonly number[];
  /** Token ids of the answer. */
  readonly tokens: readonly number[];
  /** For each token the most probable candidates: ids and log-probabilities, in pairs. */
  readonly top?: readonly (readonly [id: number, logprob: number])[][];
}

export interface WritingProgress {
  /** Those of earlier calls included. */
  readonly texts: number;
  readonly tokens: number;
  /** At the rate of this call. */
  readonly secondsLeft: number;
}

export interface WriteTextsOptions {
  readonly count: number;
  /** Most tokens of a text. */
  readonly maxTokens: number;
  /** The same seed gives the same texts on one machine. */
  readonly seed: number;
  /** Candidates kept per token; default none. */
  readonly top?: number;
  /** Whether it is asked through its chat template too; default true. False: it only continues openings, as models without a template do. */
  readonly chat?: boolean;
  /** Texts written at the same time, in shared passes; default 16. */
  readonly width?: number;
  readonly onProgress?: (progress: WritingProgress) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Has a model write texts on everyday subjects into a file of JSON lines, `width` at a time, drawn at temperature 0.8. A file that an earlier
 * call left is gone on with, from its last whole line.
 */
export async function writeTexts(writer: Writer, path: string, options: WriteTextsOptions): Promise<void> {
  const { count, maxTokens, seed, top, chat = true, width = 16, onProgress, signal } = options;
  const forms = chat ? allForms : allForms.filter(({ isChat }) => !isChat);
  if (signal !== undefined) setMaxListeners(4 * width, signal); // each text under way listens to it, and what it asks for does
  let texts = 0;
  let tokens = 0;
  if (existsSync(path)) {
    const whole = readFileSync(path, "utf8").split("\n").slice(0, -1);
    truncateSync(
      path,
      whole.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0),
    );
    texts = whole.length;
    for (const line of whole) tokens += (JSON.parse(line) as WrittenText).tokens.length;
  }
  const [begunAt, startMs] = [texts, performance.now()];
  // in rounds, so that the file's order does not depend on which text is finished first
  while (texts < count) {
    const numbers = Array.from({ length: Math.min(width, count - texts) }, (_, index) => texts + index);
    const round = await Promise.all(
      numbers.map(async (number): Promise<WrittenText> => {
        const { prompt, isChat } = promptOf(number, forms);
        const asked: Prompt = isChat ? [{ role: "user", content: prompt }] : prompt;
        const { text, tokens, logprobs } = await writer.generate(asked, {
          ...{ maxTokens, temperature: 0.8, topP: 0.95, seed: seed + number },
          ...(top === undefined ? {} : { logprobs: top }),
          ...(signal === undefined ? {} : { signal }),
        });
        const pairs = logprobs?.map((one) => one.top.map(({ id, logprob }) => [id, Math.round(logprob * 1e4) / 1e4] as const));
        const promptTokens = await writer.encode(asked);
        return {
          prompt,
          isChat,
          text: isChat ? text : prompt + text,
          promptTokens,
          tokens,
          ...(pairs === undefined ? {} : { top: pairs }),
        };
      }),
    );
    appendFileSync(path, round.map((one) => `${JSON.stringify(one)}\n`).join(""));
    texts += round.length;
    for (const one of round) tokens += one.tokens.length;
    const seconds = (performance.now() - startMs) / 1000;
    onProgress?.({ texts, tokens, secondsLeft: (seconds / (texts - begunAt)) * (count - texts) });
  }
}

/** The texts of a file that {@link writeTexts} made. */
export const readTexts = (path: string): WrittenText[] =>
  readFileSync(path, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

/** Every form meets every subject once in forms · subjects numbers; after that the same prompts come again, with other seeds. */
function promptOf(number: number, forms: readonly Form[]): { prompt: string; isChat: boolean } {
  const form = forms[number % forms.length]!;
  const subject = subjects[(number * 7 + Math.floor(number / forms.length)) % subjects.length]!;
  return { prompt: form.text.replace("*", subject), isChat: form.isChat };
}

interface Form {
  readonly text: string;
  readonly isChat: boolean;
}

const allForms: readonly Form[] = [
  { isChat: true, text: "Write a short story about *." },
  { isChat: true, text: "Explain in simple words what is interesting about *." },
  { isChat: false, text: "Once upon a time there was a child who dreamed of *." },
  { isChat: true, text: "Write a letter to a friend about *." },
  { isChat: true, text: "Give five pieces of advice about *." },
  { isChat: false, text: "The most important thing to know about * is" },
  { isChat: true, text: "Write a conversation between two neighbours about *." },
  { isChat: true, text: "Write a diary entry about *." },
  { isChat: false, text: 'She looked up from her book and said: "Tell me about *."' },
  { isChat: true, text: "What are the advantages and disadvantages of *?" },
  { isChat: true, text: "Write a short Python program that has to do with *." },
];

const subjects = [
  ...["the sea", "a garden in spring", "old bridges", "the moon", "bread", "a lost dog", "trains", "the first snow", "a lighthouse"],
  ...["music", "learning to swim", "bees", "a market day", "mountains", "honesty", "rivers", "a broken clock", "teachers", "the desert"],
  ...["horses", "friendship", "a long journey", "stars", "cooking for a family", "libraries", "storms", "growing old", "maps", "islands"],
  ...["a village school", "money", "winter evenings", "machines", "birds", "courage", "the city at night", "apples", "doctors", "wind"],
  ...["letters", "a king and his cook", "football", "the forest", "patience", "fishing", "numbers", "a new house", "dreams", "water"],
  ...["painting", "grandparents", "bicycles", "law and justice", "cats", "travel by ship", "the harvest", "computers", "sleep", "history"],
];
