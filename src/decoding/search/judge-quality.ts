import type { Message } from "../../chat/index.ts";
import type { DecodingModel } from "../model.ts";
import { encodePrompt } from "../prompting/prompt.ts";
import { defaultWording, type Judge, type JudgeName, startJudge } from "./judge.ts";
import { type JudgePair, judgePairs } from "./judge-pairs.ts";
import type { Run } from "./search.ts";

/** How well a judge tells good answers from bad ones, on labelled pairs. */
export interface JudgeQuality {
  readonly judge: string;
  /** Questions, each with a good and a bad answer. */
  readonly numPairs: number;
  /** The share of pairs of which the good answer has the higher score; a tie counts half. 0.5 is chance. */
  readonly share: number;
  /** Whether chance is within the 95 % interval of `share`, or above it. */
  readonly isAtChance: boolean;
  /** Mean scores, in [0, 1]. */
  readonly meanGood: number;
  readonly meanBad: number;
}

/**
 * Measures a self-evaluation on pairs of answers of which one is good and the other bad: whether the model's own judgement says anything.
 *
 * @throws UnsupportedError where the vocabulary can't put the question; the signal's reason when aborted
 */
export async function measureJudge(
  model: DecodingModel,
  judge: JudgeName,
  options: { readonly signal?: AbortSignal; readonly pairs?: readonly JudgePair[] } = {},
): Promise<JudgeQuality> {
  const { signal, pairs = judgePairs } = options;
  const scores: (readonly [good: number, bad: number])[] = [];
  for (let from = 0; from < pairs.length; from += pairsAtOnce) {
    const running = pairs.slice(from, from + pairsAtOnce).map((pair) => judgePair(model, judge, pair, signal));
    await Promise.allSettled(running); // none is left running when one fails
    scores.push(...(await Promise.all(running)));
  }
  return qualityOf(judge, scores);
}

/** @param scores  of each pair, the good answer's first */
export function qualityOf(judge: string, scores: readonly (readonly [good: number, bad: number])[]): JudgeQuality {
  const numPairs = scores.length;
  const points = scores.map(([good, bad]): number => (good > bad ? 1 : good === bad ? 0.5 : 0));
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / numPairs;
  const share = mean(points);
  return {
    ...{ judge, numPairs, share, isAtChance: isAtChance(share, numPairs) },
    meanGood: mean(scores.map(([good]) => good)),
    meanBad: mean(scores.map(([, bad]) => bad)),
  };
}

/**
 * Whether one half lies in the 95 % interval of a share, or above it. The interval is Wilson's, which few pairs that are all right don't
 * shrink to a point.
 */
function isAtChance(share: number, numPairs: number): boolean {
  return share - 0.5 <= 1.96 * Math.sqrt(0.25 / numPairs);
}

const pairsAtOnce = 4;

async function judgePair(
  model: DecodingModel,
  name: JudgeName,
  { question, good, bad }: JudgePair,
  signal: AbortSignal | undefined,
): Promise<readonly [number, number]> {
  const { tokenizer, chat } = model;
  const abort = signal === undefined ? {} : { signal };
  const asked: Message[] = [{ role: "user", content: question }];
  const prompt = await encodePrompt(model, chat === undefined ? `Question: ${question}\nAnswer: ` : asked, abort);
  const sequence = await model.sequence({ maxLength: model.contextLength, ...abort });
  try {
    await sequence.forward({ input: prompt, ...abort });
    const judge: Judge = await startJudge(
      { judge: name, ...defaultWording },
      {
        ...{ tokenizer, isChat: chat !== undefined, numPromptTokens: prompt.length, maxTokens: 64, contextLength: model.contextLength },
        ...(chat === undefined ? {} : { chat }),
        consult: (target, request) => target.forward({ ...request, ...abort }),
      },
    );
    const scores = await Promise.all(
      [good, bad].map((text) => judge.judge(sequence, { text, tokens: tokenizer.encode(text, { bos: false }), isComplete: true })),
    );
    return [scores[0]!, scores[1]!];
  } finally {
    sequence[Symbol.dispose]();
  }
}

/** Says in the run's facts what the judge is worth on this model. */
export async function reportJudge(run: Run, judge: JudgeName): Promise<void> {
  const quality = await run.judgeQuality?.(judge);
  if (quality === undefined) return;
  const { share, numPairs } = quality;
  const because = `it prefers the good answer in ${percent(share)} of ${numPairs} labelled pairs${atChanceNote(quality.isAtChance)}`;
  run.reportChoices([{ what: "judge", chosen: judge, because }]);
}

/**
 * What a reward model is worth as a judge, by its training.
 * @param ranking  of held-out pairs; undefined where no metrics of its training are known
 */
export function describeRanking(ranking: { readonly share: number; readonly numPairs?: number } | undefined): string {
  if (ranking === undefined) return "how well it ranks answers is not known: no metrics of its training stand beside it";
  const { share, numPairs } = ranking;
  if (numPairs === undefined) {
    const unknown = "its metrics don't say of how many, so whether that is above chance is not known";
    return `its training ranked ${percent(share)} of the held-out pairs right; ${unknown}`;
  }
  return `its training ranked ${percent(share)} of ${numPairs} held-out pairs right${atChanceNote(isAtChance(share, numPairs))}`;
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const atChanceNote = (is: boolean): string => (is ? ": at chance, so its scores say nothing here" : "");

/** Whether a value read from a file is a measurement. */
export function isJudgeQuality(value: unknown): value is JudgeQuality {
  const { judge, numPairs, share, isAtChance, meanGood, meanBad } = (value ?? {}) as Partial<JudgeQuality>;
  return (
    typeof judge === "string" &&
    numPairs === judgePairs.length &&
    typeof isAtChance === "boolean" &&
    [share, meanGood, meanBad].every((one) => Number(one) >= 0 && Number(one) <= 1)
  );
}
