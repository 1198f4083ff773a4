import { OptionError, UnsupportedError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import { checkParameter, integer } from "../method.ts";
import type { DecodingModel } from "../model.ts";
import type { GenerateOptions } from "../options.ts";
import { type AttributeHead, areaUnderCurve, fitLogistic, headLogprob, type LabelledStates } from "./attribute-head.ts";
import { openings } from "./openings.ts";

export interface FitAttributeOptions {
  /** What the model goes on from; at least 8. Default: openings of ours. */
  readonly prompts?: readonly string[];
  /** Tokens of each continuation, in [32, 1024]. Default 96. */
  readonly maxTokens?: number;
  readonly signal?: AbortSignal;
  /** Told after each continuation. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Fits a linear head on last states for the attribute "the finished continuation does not degenerate into repeating itself". The model
 * writes continuations itself, greedily and by sampling; whether one degenerated is measured on the whole of it, by the share of its
 * 4-grams that stand in it twice or more. The head sees states on the way there, so it learns what is going to degenerate. A quarter of
 * the prompts is held out for the numbers that it is reported with.
 *
 * @throws OptionError for too few prompts; UnsupportedError where the model writes no continuations of one of the two kinds
 * @see Yoshida et al. 2023, "MAP's not dead yet", arXiv 2311.08817
 */
export async function fitAttribute(model: DecodingModel, name: string, options: FitAttributeOptions = {}): Promise<AttributeHead> {
  const { prompts = openings, maxTokens = 96, signal, onProgress } = options;
  if (!/^[a-z0-9-]{1,40}$/.test(name)) throw new OptionError("attribute", `must be a name of a-z, 0-9 and -, got ${JSON.stringify(name)}`);
  if (prompts.length < 8) throw new OptionError("prompts", `must be at least 8, got ${prompts.length}`);
  checkParameter(integer({ min: 32, max: 1024, doc: "" }), maxTokens, "maxTokens");
  const abort = signal === undefined ? {} : { signal };
  const written: Continuation[] = [];
  const total = prompts.length * ways.length;
  for (let from = 0; from < prompts.length; from += promptsAtOnce) {
    const running = prompts.slice(from, from + promptsAtOnce).flatMap((prompt, place) =>
      ways.map(async (way, index) => {
        const order = (from + place) * ways.length + index;
        const one = await write(model, prompt, { ...way, ...(way.temperature === 0 ? {} : { seed: order }), ...abort, maxTokens });
        written.push({ ...one, order, isHeldOut: (from + place) % 4 === 3 });
        onProgress?.(written.length, total);
      }),
    );
    await Promise.allSettled(running); // none is left running when one fails
    await Promise.all(running);
  }
  // the order in which they came depends on how passes were shared
  const known = written.filter(({ isGood }) => isGood !== undefined).sort((a, b) => a.order - b.order);
  return headOf(name, known as Labelled[]);
}

/** How continuations are written: greedy ones mostly degenerate in small models, drawn ones mostly don't. */
const ways = [{ temperature: 0 }, { temperature: 0.4 }, { temperature: 1, topP: 0.95 }] as const satisfies readonly GenerateOptions[];
const promptsAtOnce = 4;
/** Shares of repeated 4-grams: from here on degenerate, up to here not; what lies between teaches nothing. */
const [isBad, isGood] = [0.3, 0.05];
/** Of a continuation's states every fourth is taken, from the ninth on: neighbours are much alike. */
const [firstState, everyState] = [8, 4];

interface Continuation {
  readonly states: readonly Float32Array[];
  /** Undefined where it can't be said. */
  readonly isGood: boolean | undefined;
  readonly order: number;
  readonly isHeldOut: boolean;
}
type Labelled = Continuation & { readonly isGood: boolean };

async function write(model: DecodingModel, opening: string, options: GenerateOptions): Promise<Pick<Continuation, "states" | "isGood">> {
  const prompt = model.tokenizer.encode(opening);
  const { tokens } = await generateText(model, prompt, options);
  const read = model.tokenizer.endTokens.has(tokens.at(-1)!) ? tokens.slice(0, -1) : tokens;
  const repeated = repeatedShare(read, 4);
  const label = repeated >= isBad ? false : repeated <= isGood ? true : undefined;
  const numStates = Math.floor((read.length - firstState) / everyState);
  if (label === undefined || numStates <= 0) return { states: [], isGood: undefined };
  const abort = options.signal === undefined ? {} : { signal: options.signal };
  const sequence = await model.sequence({ maxLength: prompt.length + read.length, ...abort });
  try {
    const rows = Array.from({ length: numStates }, (_, index) => prompt.length + firstState + index * everyState);
    const result = await sequence.forward({ input: [...prompt, ...read], want: { hidden: rows }, ...abort });
    return { states: result.rows.map(({ hidden }) => hidden!), isGood: label };
  } finally {
    sequence[Symbol.dispose]();
  }
}

/** The share of an answer's sequences of n tokens that stand in it already, 0 for an answer of fewer. */
export function repeatedShare(tokens: readonly TokenId[], n: number): number {
  const count = tokens.length - n + 1;
  if (count <= 0) return 0;
  const seen = new Set(Array.from({ length: count }, (_, at) => tokens.slice(at, at + n).join()));
  return 1 - seen.size / count;
}

function headOf(name: string, answers: readonly Labelled[]): AttributeHead {
  const part = (isHeldOut: boolean) => answers.filter((answer) => answer.isHeldOut === isHeldOut);
  const count = (list: readonly Labelled[], wanted: boolean) => list.filter((answer) => answer.isGood === wanted).length;
  const [fitted, heldOut] = [part(false), part(true)];
  const [numGood, numBad] = [count(fitted, true), count(fitted, false)];
  if (Math.min(numGood, numBad) < 3 || Math.min(count(heldOut, true), count(heldOut, false)) < 1) {
    const found = `${count(answers, true)} continuations of ${answers.length} were sound and ${count(answers, false)} degenerate`;
    throw new UnsupportedError(`attribute: ${found}; a head needs more of both: give more prompts or let them be longer`);
  }
  const { weights, bias } = fitLogistic(statesOf(fitted));
  const head = { name, weights, bias };
  const { states, labels } = statesOf(heldOut);
  const scores = states.map((state) => headLogprob({ ...head, facts: noFacts }, state));
  const isRight = scores.map((score, index) => score > Math.log(0.5) === labels[index]);
  return {
    ...head,
    facts: {
      ...{ numGood, numBad, numHeldOut: states.length, auc: areaUnderCurve(scores, labels) },
      accuracy: isRight.filter((right) => right).length / isRight.length,
    },
  };
}

const noFacts = { numGood: 0, numBad: 0, auc: 0, accuracy: 0, numHeldOut: 0 };

function statesOf(answers: readonly Labelled[]): LabelledStates {
  return {
    states: answers.flatMap(({ states }) => states),
    labels: answers.flatMap(({ states, isGood }) => states.map(() => isGood)),
  };
}
