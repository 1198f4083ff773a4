import type { ForwardRequest, ForwardResult, Sequence } from "../../engine/index.ts";
import { ContextOverflowError, NativeError, OptionError, UnsupportedError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { ChatFormat } from "../model.ts";

/** An answer as a judge sees it, complete or under way. */
export interface Judged {
  readonly text: string;
  /** Of the answer, an end token included. */
  readonly tokens: readonly TokenId[];
  readonly isComplete: boolean;
}

/** A judge that a program brings: how good an answer is, in [0, 1], or the promise of it. */
export type JudgeFunction = (answer: Judged) => number | Promise<number>;

/** What a self-evaluation needs of the run. */
export interface Questioner {
  readonly tokenizer: Tokenizer;
  /** The model's chat template, where it has one. */
  readonly chat?: ChatFormat;
  /** Whether the prompt is a conversation, so that a question is put as the user's next turn. */
  readonly isChat: boolean;
  readonly numPromptTokens: number;
  /** Most tokens of an answer that is judged. */
  readonly maxTokens: number;
  readonly contextLength: number;
  /** Undefined once the deadline has passed. */
  consult(sequence: Sequence, request: ForwardRequest): Promise<ForwardResult | undefined>;
}

/** A judge within one run. */
export interface Judge {
  /** Rows that the model which writes reads for a judgement, in one pass; 0 where it reads none. */
  readonly rows: number;
  /**
   * How good the answer is, in [0, 1]; undefined once the deadline has passed.
   *
   * @param sequence  holds the prompt and the answer, or all of it but its last tokens; is forked, never changed
   */
  judge(sequence: Sequence, answer: Judged): Promise<number | undefined>;
  /** Gives back what it holds, when the search ends. */
  [Symbol.dispose]?(): void;
}

/** A question with two answers, of which one speaks for the text. */
interface Question {
  readonly text: string;
  /** What the reply begins with. */
  readonly opening: string;
  readonly good: string;
  readonly bad: string;
}

export const judgeNames = ["restart", "options"] as const;
export type JudgeName = (typeof judgeNames)[number];

export interface JudgeSettings {
  readonly judge: JudgeName | JudgeFunction;
  /** How the two options of "options" are worded. */
  readonly good: string;
  readonly bad: string;
}

/** How the two options are worded where nobody says otherwise. */
export const defaultWording = { good: "correct and clear", bad: "wrong or confused" };

/**
 * @throws UnsupportedError where the model's vocabulary can't tell the two answers of a question apart by one token;
 *         ContextOverflowError where the question may not fit behind an answer
 */
export async function startJudge({ judge, ...wording }: JudgeSettings, host: Questioner): Promise<Judge> {
  if (typeof judge === "function") return { rows: 0, judge: (_sequence, answer) => checked(judge, answer) };
  const laidOut = await Promise.all(questionsOf(judge, wording).map((question) => layOut(question, host)));
  const { numPromptTokens, maxTokens, contextLength } = host;
  const neededTokens = numPromptTokens + maxTokens + Math.max(...laidOut.map(({ suffix }) => suffix.length));
  if (neededTokens > contextLength) {
    const what = `a prompt of ${numPromptTokens} tokens, maxTokens ${maxTokens} and the judge's question`;
    throw new ContextOverflowError(`${what} exceed the context of ${contextLength}: lower maxTokens`, { neededTokens, contextLength });
  }
  return {
    rows: laidOut.reduce((sum, { suffix }) => sum + suffix.length, 0),
    async judge(sequence, answer) {
      const scores = await Promise.all(laidOut.map((question) => ask(question, sequence, answer, host)));
      if (scores.some((score) => score === undefined)) return undefined;
      // RAIN asks for a verdict, and asks twice with the options swapped, so that a liking for one letter says nothing
      const verdicts = judge === "options" ? scores.map((score) => (score! > 0.5 ? 1 : 0)) : (scores as number[]);
      return verdicts.reduce((sum: number, verdict) => sum + verdict, 0) / verdicts.length;
    },
  };
}

async function checked(judge: JudgeFunction, answer: Judged): Promise<number> {
  const score = await judge(answer);
  if (typeof score !== "number" || !(score >= 0 && score <= 1))
    throw new OptionError("judge", `must give a number in [0, 1], gave ${String(score)}`);
  return score;
}

function questionsOf(name: JudgeName, { good, bad }: { readonly good: string; readonly bad: string }): readonly Question[] {
  if (name === "restart")
    return [{ text: 'Would you do better if you started over? ("Yes." or "No.")', opening: "", good: "No", bad: "Yes" }];
  const options = (first: string, second: string) =>
    `Judge the answer above. Options:\n(A) The answer is ${first}.\n(B) The answer is ${second}.`;
  const opening = "The answer is: (";
  return [
    { text: options(good, bad), opening, good: "A", bad: "B" },
    { text: options(bad, good), opening, good: "B", bad: "A" },
  ];
}

interface LaidOut {
  /** Follows the answer's last token. */
  readonly suffix: readonly TokenId[];
  readonly good: TokenId;
  readonly bad: TokenId;
}

/** The tokens that put a question after an answer: the end of its turn, the user's turn, the opening of the reply. */
async function layOut({ text, opening, good, bad }: Question, { tokenizer, chat, isChat }: Questioner): Promise<LaidOut> {
  const written = isChat && chat !== undefined ? await turnAfterAnswer(chat, text) : `\n\nQuestion: ${text}\nAnswer:`;
  const space = opening === "" && !/\s$/.test(written) ? " " : "";
  const before = written + (opening !== "" && !/\s$/.test(written) ? ` ${opening}` : opening);
  const suffix = tokenizer.encode(before, { special: true, bos: false });
  const first = (reply: string) => tokenizer.encode(space + reply, { bos: false })[0];
  const [goodToken, badToken] = [first(good), first(bad)];
  if (goodToken === undefined || badToken === undefined || goodToken === badToken)
    throw new UnsupportedError(`judge: this vocabulary begins "${good}" and "${bad}" with the same token; give a judge of your own`);
  return { suffix, good: goodToken, bad: badToken };
}

/** What the chat template writes between an answer and the reply to the question after it. */
async function turnAfterAnswer(chat: ChatFormat, question: string): Promise<string> {
  const mark = "=answer="; // templates trim white space around a turn's text, nothing else
  const whole = await chat.render(
    [
      { role: "user", content: "?" },
      { role: "assistant", content: mark },
      { role: "user", content: question },
    ],
    { addGenerationPrompt: true },
  );
  const at = whole.lastIndexOf(mark);
  if (at === -1) throw new UnsupportedError("judge: the chat template does not show an assistant's turn; give a judge of your own");
  return whole.slice(at + mark.length);
}

/** P(good) / (P(good) + P(bad)) of the reply. */
async function ask(
  { suffix, good, bad }: LaidOut,
  sequence: Sequence,
  { tokens }: Judged,
  { tokenizer, numPromptTokens, consult }: Questioner,
): Promise<number | undefined> {
  const fork = sequence.fork();
  try {
    const last = tokens.at(-1);
    const length = last !== undefined && tokenizer.endTokens.has(last) ? tokens.length - 1 : tokens.length; // the suffix ends the turn
    const numRead = Math.min(sequence.length - numPromptTokens, length);
    fork.rewind(numPromptTokens + numRead);
    const input = [...tokens.slice(numRead, length), ...suffix];
    const result = await consult(fork, { input, want: { logits: "last", top: 1, scores: [[good, bad]] } });
    if (result === undefined) return undefined;
    const [forIt, against] = result.rows.at(-1)!.scores!;
    const score = 1 / (1 + Math.exp(against! - forIt!));
    if (Number.isNaN(score)) throw new NativeError("the model returned logits that are not finite");
    return score;
  } finally {
    fork[Symbol.dispose]();
  }
}
