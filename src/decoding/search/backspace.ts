import type { TokenFact } from "../../engine/index.ts";
import { NativeError, OptionError, UnsupportedError } from "../../errors.ts";
import { type TokenId, tokenId } from "../../token.ts";
import type { Guide, GuideState } from "../guidance/guide.ts";
import { boolean, integer, optional } from "../method.ts";
import { AgreedText } from "./agreed-text.ts";
import { type Branch, Branches } from "./branch.ts";
import { followPath } from "./path.ts";
import { readPrompt } from "./read-prompt.ts";
import { defineSearch, type Run, type SearchEvent, type SearchResult } from "./search.ts";

interface Settings {
  readonly token: number | undefined;
  readonly most: number;
  readonly back: number;
  readonly again: boolean;
}

/** A text that can be returned to. */
interface State {
  readonly branch: Branch;
  /** Tokens that were taken back here. */
  readonly takenBack: Set<TokenId>;
}

/**
 * Decoding with SequenceMatch's action: one token of the vocabulary is no text but takes the last token back, and the answer goes on from the row
 * before it, which costs no pass. Text is shown once it is out of reach: `back` tokens behind the longest text so far.
 */
async function* searchBackspace(run: Run, settings: Settings): AsyncGenerator<SearchEvent, SearchResult> {
  const { most, back, again } = settings;
  if (most === 0) return yield* followPath(run);
  const backspace = backspaceOf(run, settings.token);
  const rule = new ActionRule(backspace);
  const branches = await Branches.create(
    {
      ...run,
      rules: { ...run.rules, guides: [...run.rules.guides, ...rule.guides] },
      reportGuides: (guides) => run.reportGuides(guides.slice(0, run.rules.guides.length)), // ours are no option
    },
    { count: 1, isNormalized: false },
  );
  const shown = new AgreedText(run.tokenizer, run.stop);
  let winner: Branch | undefined;
  try {
    const read = yield* readPrompt(run, branches.sampler);
    if (read === undefined) return { ending: { reason: "deadline" }, text: "" };
    if (run.stop.maxTokens === 0) return { ending: { reason: "length" }, text: "" };
    const id = branches.nextId();
    const given: (readonly TokenFact[])[] = []; // texts whose last token was taken back next
    const reachable: State[] = [{ branch: branches.start(read.last), takenBack: new Set() }]; // ends with the text as it is
    let [longest, taken, isWritten] = [0, 0, false];
    for (;;) {
      const { branch, takenBack } = reachable.at(-1)!;
      rule.allowsBackspace = reachable.length > 1 && taken < most;
      rule.takenBack = takenBack;
      const candidates = await branch.candidates(taken); // without a backspace the plain answer's random numbers
      if (candidates?.length === 0 && takenBack.size > 0) {
        takenBack.clear(); // a guide leaves nothing but what was taken back
        continue;
      }
      if (candidates?.length === 0) throw new NativeError("the guides leave no token possible");
      const next = candidates?.[0];
      if (next?.token === backspace) {
        taken++;
        if (isWritten) given.push(branch.tokens);
        isWritten = false;
        reachable.pop();
        if (!again) reachable.at(-1)!.takenBack.add(branch.tokens.at(-1)!.id as TokenId);
        branches.drop(branch);
        continue;
      }
      if (next !== undefined) {
        const longer = branches.extend(branch, next);
        const index = branch.tokens.length;
        reachable.push({ branch: longer, takenBack: new Set() });
        isWritten = true;
        longest = Math.max(longest, longer.tokens.length);
        while (reachable[0]!.branch.tokens.length < longest - back) branches.drop(reachable.shift()!.branch);
        yield { kind: "growth", id, parent: undefined, from: 0, at: index, tokens: [next.token] };
        yield* shown.show([longer.tokens.slice(0, taken < most ? Math.max(longest - back, 0) : undefined)]);
        if (longer.ending === undefined && (await longer.evaluate())) continue;
      }
      winner = reachable.at(-1)!.branch; // it ended, or the deadline has passed
      yield* shown.showAll(winner.tokens);
      for (const tokens of given) {
        const from = numShared(tokens, winner.tokens);
        const parts = { parent: id, from, tokens: tokens.slice(from).map((token) => token.id), score: meanLogprob(tokens) };
        if (from < tokens.length) yield { kind: "branch", fact: { id: branches.nextId(), ...parts, end: "rewound", why: "taken back" } };
      }
      yield { kind: "branch", fact: winner.fact({ id, parent: undefined, from: 0, score: meanLogprob(winner.tokens), end: "won" }) };
      const because = taken === most ? "no more were allowed" : `${most} were allowed`;
      run.reportChoices([{ what: "backspaces", chosen: `${taken}`, because }]);
      const { ending } = winner;
      if (ending === undefined) return { ending: { reason: "deadline" }, text: shown.flush(), sequence: winner.sequence };
      return { ending, text: "", sequence: winner.sequence };
    }
  } finally {
    branches.close(winner);
  }
}

/** Which actions a state has beside those that the run's guides leave. Set before each choice. */
class ActionRule {
  allowsBackspace = false;
  takenBack: ReadonlySet<TokenId> = new Set();
  readonly guides: readonly Guide[];

  constructor(backspace: TokenId) {
    // guides that mask speak of text; an action that is none stands beside it
    const action: GuideState = {
      ...followsNothing(() => action),
      touches: () => [backspace],
      apply: (distribution) => {
        const { logits, original } = distribution;
        const place = distribution.indexOf(backspace);
        if (place === undefined) return;
        if (!this.allowsBackspace) logits[place] = Number.NEGATIVE_INFINITY;
        else if (logits[place] === Number.NEGATIVE_INFINITY) logits[place] = original[place]!;
      },
    };
    const others: GuideState = {
      ...followsNothing(() => others),
      touches: () => "lowers",
      apply: ({ ids, logits, size }) => {
        if (this.takenBack.size === 0) return;
        for (let place = 0; place < size; place++) if (this.takenBack.has(ids[place]! as TokenId)) logits[place] = Number.NEGATIVE_INFINITY;
      },
    };
    this.guides = [action, others].map((state) => ({ name: "backspace", weight: 1, start: () => state }));
  }
}

const followsNothing = (self: () => GuideState) => ({ advance() {}, rewind() {}, fork: self });

function backspaceOf({ tokenizer, sequence }: Run, token: number | undefined): TokenId {
  const named = token ?? tokenizer.backspace;
  if (named === undefined)
    throw new UnsupportedError(
      "search: backspace: this model has no backspace token; train one (chainrule train --objective sequence-match), or name one by token=",
    );
  try {
    return tokenId(named, sequence.vocabSize);
  } catch (error) {
    throw new OptionError("search", `backspace: ${(error as RangeError).message}`);
  }
}

function numShared(a: readonly TokenFact[], b: readonly TokenFact[]): number {
  const differs = a.findIndex(({ id }, index) => b[index]?.id !== id);
  return differs < 0 ? a.length : differs;
}

const meanLogprob = (tokens: readonly TokenFact[]): number =>
  tokens.reduce((sum, { logprob }) => sum + logprob!, 0) / Math.max(tokens.length, 1);

export const backspace = defineSearch({
  name: "backspace",
  summary: "one answer whose model may take its last token back, by a token it was trained to write",
  source: { title: "SequenceMatch: Imitation Learning for Autoregressive Sequence Modelling with Backtracking", arxiv: "2306.05426" },
  parameters: {
    token: optional(integer({ min: 0, max: 2 ** 31, doc: "the token that takes one back; default: the model's own" })),
    most: integer({ min: 0, max: 2 ** 20, default: 64, doc: "backspaces in an answer; 0: plain, the token is one like any other" }),
    back: integer({ min: 1, max: 1024, default: 8, doc: "how far behind the longest text it may go; text within is shown later" }),
    again: boolean({ default: false, doc: "whether a token that was taken back may be the next one in its place" }),
  },
  example: { token: 7, most: 4 },
  neutral: { token: 7, most: 0 },
  needs: ["input", "want.logits", "want.top", "want.scores", "fork", "rewind"],
  refuses: { draft: "each token is read in a fork of its own, so that it can be taken back, and a draft's rows have none" },
  create: (settings) => (run) => searchBackspace(run, settings),
});
