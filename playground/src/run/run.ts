import type { Alternative, BranchFact, Chunk, EffortFact, Facts, Growth, Timings, TokenFact } from "../api/wire.ts";
import type { RunRequest } from "./settings.ts";

export type RunStatus = "waiting" | "streaming" | "done" | "stopped" | "failed";

/** One answer as it comes. */
export interface Run {
  readonly request: RunRequest;
  /** Which of the request's answers, from 0. */
  readonly choice: number;
  readonly status: RunStatus;
  /** The answer so far. */
  readonly text: string;
  /** Its tokens, each with the text that became certain with it. */
  readonly tokens: readonly AnswerToken[];
  /** Of a search: those that have ended, and those that go on. */
  readonly branches: readonly BranchFact[];
  readonly growing: readonly GrowingBranch[];
  readonly effort?: EffortFact;
  /** What the server said at the end. */
  readonly facts?: Facts;
  readonly timings?: Timings;
  readonly finishReason?: string;
  /** Further answers of a search, best first. */
  readonly alternatives?: readonly Alternative[];
  readonly error?: { readonly message: string; readonly param?: string | undefined };
}

export type GrowingBranch = Omit<Growth, "at">;

export interface AnswerToken {
  readonly fact: TokenFact;
  readonly text: string;
}

export const startedRun = (request: RunRequest, choice = 0): Run => ({
  ...{ request, choice, status: "waiting", text: "" },
  ...{ tokens: [], branches: [], growing: [] },
});

/** A run after some more of its chunks. */
export function applyChunks(run: Run, chunks: readonly Chunk[]): Run {
  let { text, status, facts, timings, finishReason, effort, alternatives } = run;
  const tokens = [...run.tokens];
  const branches = [...run.branches];
  const growing = new Map(run.growing.map((branch) => [branch.id, branch]));
  for (const { choices, chainrule } of chunks) {
    const [choice] = choices;
    const more = choice?.text ?? choice?.delta?.content ?? "";
    text += more;
    if (chainrule?.token !== undefined) tokens.push({ fact: chainrule.token, text: more });
    if (chainrule?.growth !== undefined) growing.set(chainrule.growth.id, grown(growing.get(chainrule.growth.id), chainrule.growth));
    if (chainrule?.branch !== undefined) {
      growing.delete(chainrule.branch.id);
      branches.push(chainrule.branch);
    }
    effort = chainrule?.effort ?? effort;
    if (status === "waiting" && chainrule !== undefined) status = "streaming";
    if (chainrule?.facts !== undefined)
      ({ facts, timings, finishReason } = { timings, finishReason, ...chainrule, facts: chainrule.facts });
    alternatives = chainrule?.alternatives ?? alternatives;
    if (choice?.finish_reason != null) status = "done";
  }
  return {
    ...run,
    ...{ text, status, tokens, branches, growing: [...growing.values()] },
    ...(effort === undefined ? {} : { effort }),
    ...(facts === undefined ? {} : { facts }),
    ...(timings === undefined ? {} : { timings }),
    ...(finishReason === undefined ? {} : { finishReason }),
    ...(alternatives === undefined ? {} : { alternatives }),
  };
}

function grown(known: GrowingBranch | undefined, { at, ...growth }: Growth): GrowingBranch {
  return { ...growth, tokens: [...(known?.tokens ?? []).slice(0, at - growth.from), ...growth.tokens] };
}

export const isUnderWay = (run: Run | undefined): boolean => run?.status === "waiting" || run?.status === "streaming";

/** Facts of a run, whole at its end, in part before. */
export const factsOf = (run: Run): Partial<Facts> & Pick<Facts, "tokens"> =>
  run.facts ?? {
    tokens: run.tokens.map(({ fact }) => fact),
    ...(run.branches.length + run.growing.length === 0 ? {} : { branches: run.branches }),
    ...(run.effort === undefined ? {} : { effort: run.effort }),
  };

/**
 * Texts to show for tokens. Where the vocabulary knows a token's text, that; where it is a part of a character (U+FFFD), the character
 * stands at the token that completes it and the parts before it are empty.
 */
export function shownTexts(tokens: readonly AnswerToken[], vocabulary: (id: number) => string | undefined): string[] {
  return tokens.map(({ fact, text }) => {
    const known = vocabulary(fact.id);
    return known === undefined || known.includes("\uFFFD") ? text : known;
  });
}

/** Bits of surprise of the whole answer, per token; undefined where a token's probability is not known. */
export function bitsPerToken(tokens: readonly TokenFact[]): number | undefined {
  if (tokens.length === 0) return undefined;
  let sum = 0;
  for (const { logprob } of tokens) {
    if (logprob === undefined) return undefined;
    sum -= logprob;
  }
  return sum / Math.LN2 / tokens.length;
}

/** Index of the first token in which two answers differ; undefined where one is the other's beginning. */
export function firstDifference(a: readonly AnswerToken[], b: readonly AnswerToken[]): number | undefined {
  const index = a.findIndex(({ fact }, at) => b[at] !== undefined && b[at].fact.id !== fact.id);
  return index < 0 ? undefined : index;
}
