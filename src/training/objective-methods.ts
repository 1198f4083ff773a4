import { defineMethod, type Method, type MethodSpec, number, parseMethod } from "../decoding/index.ts";
import { OptionError } from "../errors.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { ActionSource } from "./action-batches.ts";
import { type Documents, Packing, type PackingOptions } from "./data/batches.ts";
import { PairSource } from "./data/pairs.ts";
import type { RowKind } from "./data/samples.ts";
import type { Objective } from "./objective.ts";
import { preference } from "./preference.ts";
import type { AnswerLogProbabilities } from "./reference.ts";
import { sequenceMatch } from "./sequence-match.ts";
import type { BatchSource } from "./trainer.ts";

/** A value of `--objective`: what a run minimizes, and how it lays its data out for that. */
export interface TrainingObjective {
  /** Whether the model must have a backspace token; one that has none gets one before the first step. */
  readonly needsBackspace?: true;
  /** What rows of the data it reads; default texts and conversations. */
  readonly rows?: RowKind & "pairs";
  /** Why it trains no adapter; absent: it does. */
  readonly refusesAdapter?: string;
  /** What it makes of the documents. Without an objective the next token's cross-entropy is minimized. */
  start(run: ObjectiveRun): Started | Promise<Started>;
}

interface ObjectiveRun {
  readonly documents: Documents;
  readonly packing: PackingOptions;
  readonly tokenizer: Tokenizer;
  /** What the model that the run begins with gives the answers of pairs. */
  reference(pairs: PairSource): Promise<AnswerLogProbabilities>;
}

interface Started {
  readonly batches: BatchSource;
  readonly objective?: Objective;
}

const nextToken = defineMethod("objective", {
  name: "next-token",
  summary: "cross-entropy of the next token: maximum likelihood",
  parameters: {},
  isNeutral: true,
  needs: [],
  create: (): TrainingObjective => ({ start: ({ documents, packing }) => ({ batches: new Packing(documents, packing) }) }),
});

const sequenceMatching = defineMethod("objective", {
  name: "sequence-match",
  summary: "χ² imitation with a backspace: texts with mistakes that are taken back",
  source: { title: "SequenceMatch: Imitation Learning for Autoregressive Sequence Modelling with Backtracking", arxiv: "2306.05426" },
  parameters: {
    gamma: number({ min: 0, isMinOpen: true, max: 0.9999, default: 0.99, doc: "discount of later states" }),
    c: number({ min: 0, isMinOpen: true, default: 1, doc: "the reward's square counts 1 / (4c); larger is nearer to the linear φ" }),
    likelihood: number({ min: 0, max: 1, default: 0.9, doc: "part of the cross-entropy in the loss; 1: that alone, with mistakes" }),
    rate: number({ min: 0, max: 0.5, default: 0.1, doc: "part of the tokens before which a wrong one is written and taken back" }),
  },
  needs: [],
  create: ({ gamma, c, likelihood, rate }): TrainingObjective => ({
    needsBackspace: true,
    refusesAdapter: "the backspace is a new token, and an adapter leaves the embedding and the head as they are",
    start: ({ documents, packing, tokenizer }) => {
      const { backspace, endTokens, vocabSize } = tokenizer;
      if (backspace === undefined) throw new Error("internal: the model to be trained has no backspace token");
      return {
        batches: new ActionSource(documents, { ...packing, rate, backspace, endTokens, vocabSize }),
        objective: sequenceMatch({ gamma, c, likelihood }),
      };
    },
  }),
});

const beta = (value: number) =>
  number({
    min: 0,
    isMinOpen: true,
    max: 100,
    default: value,
    doc: "what a nat of reward counts; the smaller, the further rewards may differ",
  });

const reward = defineMethod("objective", {
  name: "reward",
  summary: "an autoregressive reward model: a preferred answer becomes more probable than the other one; for --guide reward (GenARM)",
  source: { title: "GenARM: Reward Guided Generation with Autoregressive Reward Model for Test-time Alignment", arxiv: "2410.08193" },
  parameters: { beta: beta(0.05) },
  needs: [],
  create: (values): TrainingObjective => ({
    rows: "pairs",
    start: ({ documents, packing }) => ({
      batches: new PairSource(documents, packing),
      objective: preference({ beta: values.beta, sequences: packing.sequences }) as Objective,
    }),
  }),
});

const dpo = defineMethod("objective", {
  name: "dpo",
  summary: "the model itself comes to prefer the preferred answer, held near to the model that it began as",
  source: { title: "Direct Preference Optimization: Your Language Model is Secretly a Reward Model", arxiv: "2305.18290" },
  parameters: { beta: beta(0.1) },
  needs: [],
  create: (values): TrainingObjective => ({
    rows: "pairs",
    start: async ({ documents, packing, reference }) => {
      const batches = new PairSource(documents, packing);
      const { chosen, rejected } = await reference(batches);
      const referenceMargin = (pair: number) => chosen[pair]! - rejected[pair]!;
      return { batches, objective: preference({ beta: values.beta, sequences: packing.sequences, referenceMargin }) as Objective };
    },
  }),
});

/** What can be minimized by `trainFile`. One is its definition here. */
export const objectiveMethods: readonly Method<TrainingObjective>[] = [nextToken, sequenceMatching, reward, dpo];

/** Reads `"sequence-match,rate=0.1"`, or the same as an object. @throws OptionError, also where an adapter can't be trained by it */
export function parseObjective(spec: MethodSpec, hasAdapter: boolean): TrainingObjective {
  const { method, values } = parseMethod(objectiveMethods, spec, "objective");
  const objective = method.create(values);
  if (hasAdapter && objective.refusesAdapter !== undefined)
    throw new OptionError("objective", `${method.name} and an adapter can't be combined: ${objective.refusesAdapter}`);
  return objective;
}
