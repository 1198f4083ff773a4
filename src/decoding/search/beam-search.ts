import type { TokenFact } from "../../engine/index.ts";
import { NativeError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import type { Candidate } from "../sampling/step.ts";
import { AnswerText } from "../stop.ts";
import { type Branch, Branches } from "./branch.ts";
import { readPrompt } from "./read-prompt.ts";
import type { Alternative, Run, SearchEvent, SearchResult } from "./search.ts";

export interface BeamSettings {
  /** Hypotheses kept, of all groups together. */
  readonly width: number;
  /** A divisor of `width`. */
  readonly groups: number;
  /** What a hypothesis pays, in log-probability, for each earlier group that takes the same token at the same step. */
  readonly diversity: number;
  /** Power of its length by which the log-probability of a complete answer is divided. */
  readonly length: number;
  /** Answers given: the winner and, where more than 1, alternatives. */
  readonly best: number;
}

/** A branch with its standing. */
interface Hypothesis {
  readonly id: number;
  readonly parent: number | undefined;
  readonly from: number;
  readonly group: number;
  readonly branch: Branch;
  /** Σ log-probability of its tokens, as the guides leave it. */
  readonly logprob: number;
}

/** A hypothesis with a token more, before it is kept. */
interface Proposal {
  readonly hypothesis: Hypothesis;
  readonly candidate: Candidate;
  readonly logprob: number;
}

/**
 * Beam search: at each step every hypothesis is extended by each token that its sampler takes, and the `width` most probable of all
 * are kept. One that ends leaves the beam, which is then narrower by one (Sutskever et al. 2014, arXiv 1409.3215), so that a beam of
 * 1 is the plain answer. At the end the answer with the largest log-probability / (number of tokens)^length wins.
 *
 * Groups (Vijayakumar et al. 2016, arXiv 1610.02424) are beams of their own that choose one after the other: a token pays
 * `diversity` for each earlier group's hypothesis that took it at this step. That changes what is kept, never a hypothesis's score.
 */
export class BeamSearch {
  readonly #run: Run;
  readonly #settings: BeamSettings;
  readonly #branches: Branches;
  #live: Hypothesis[] = [];
  readonly #ended: Hypothesis[] = [];
  /** Shows the tokens on which all hypotheses agree. */
  readonly #shown: AnswerText;
  #numShown = 0;

  private constructor(run: Run, settings: BeamSettings, branches: Branches) {
    this.#run = run;
    this.#settings = settings;
    this.#branches = branches;
    this.#shown = AnswerText.start(run.tokenizer, run.stop);
  }

  static async *search(run: Run, settings: BeamSettings): AsyncGenerator<SearchEvent, SearchResult> {
    const branches = await Branches.create(run, { count: settings.width, isNormalized: false });
    const beam = new BeamSearch(run, settings, branches);
    let winner: Branch | undefined;
    try {
      const read = yield* readPrompt(run, branches.sampler);
      if (read === undefined) return { ending: { reason: "deadline" }, text: "" };
      if (run.stop.maxTokens === 0) return { ending: { reason: "length" }, text: "" };
      for (let group = 0; group < settings.groups; group++) {
        const id = branches.nextId();
        beam.#live.push({ id, parent: undefined, from: 0, group, branch: branches.start(read.last), logprob: 0 });
      }
      while (beam.#live.length > 0) if (!(yield* beam.#step())) break;
      const ranked = beam.#ranked();
      const result = yield* beam.#finish(ranked);
      winner = ranked[0]!.branch;
      return result;
    } finally {
      branches.close(winner);
    }
  }

  /** One token more for every hypothesis. False once the deadline has passed. */
  async *#step(): AsyncGenerator<SearchEvent, boolean> {
    const parents = this.#live;
    const rows = await Promise.all(parents.map(({ branch, id }) => branch.candidates(id)));
    if (rows.includes(undefined)) return false;
    const proposals = parents.flatMap((hypothesis, index) =>
      rows[index]!.map((candidate) => ({ hypothesis, candidate, logprob: hypothesis.logprob + candidate.logprob })),
    );
    const children = this.#extend(this.#select(proposals));
    this.#ended.push(...children.filter(({ branch }) => branch.ending !== undefined));
    this.#live = [];
    const bar = this.#ended.map((hypothesis) => this.#score(hypothesis)).sort((a, b) => b - a)[this.#settings.best - 1];
    for (const child of children) {
      if (child.branch.ending !== undefined) continue;
      if (bar === undefined || this.#reach(child) > bar) this.#live.push(child);
      else yield this.#drop(child, "however it went on, it could not pass the answers that are complete");
    }
    for (const parent of parents) {
      if (children.some(({ id }) => id === parent.id)) this.#branches.drop(parent.branch);
      else yield this.#drop(parent, "others are more probable");
    }
    yield* this.#show();
    const evaluated = await Promise.all(this.#live.map(({ branch }) => branch.evaluate()));
    return !evaluated.includes(false);
  }

  /** The proposals that are kept, group after group, the best first. */
  #select(proposals: readonly Proposal[]): Proposal[] {
    const { width, groups, diversity } = this.#settings;
    const kept: Proposal[] = [];
    const timesTaken = new Map<TokenId, number>();
    const standing = ({ logprob, candidate }: Proposal) => logprob - diversity * (timesTaken.get(candidate.token) ?? 0);
    for (let group = 0; group < groups; group++) {
      const places = width / groups - this.#ended.filter((hypothesis) => hypothesis.group === group).length;
      const chosen = proposals
        .filter(({ hypothesis }) => hypothesis.group === group)
        .sort((a, b) => standing(b) - standing(a)) // stable: of equals the better hypothesis's better token
        .slice(0, places);
      for (const { candidate } of chosen) timesTaken.set(candidate.token, (timesTaken.get(candidate.token) ?? 0) + 1);
      kept.push(...chosen);
    }
    return kept;
  }

  /** Hypotheses of the proposals. The best child of each goes on under its parent's number. */
  #extend(kept: readonly Proposal[]): Hypothesis[] {
    const continued = new Set<Hypothesis>();
    return kept.map(({ hypothesis, candidate, logprob }) => {
      const { id, parent, from, group } = hypothesis;
      const branch = this.#branches.extend(hypothesis.branch, candidate);
      if (!continued.has(hypothesis)) {
        continued.add(hypothesis);
        return { id, parent, from, group, branch, logprob };
      }
      return { id: this.#branches.nextId(), parent: id, from: hypothesis.branch.tokens.length, group, branch, logprob };
    });
  }

  /** By which complete answers are compared. */
  #score({ logprob, branch }: Hypothesis): number {
    return logprob / branch.tokens.length ** this.#settings.length;
  }

  /** The largest score that a hypothesis may still get: its log-probability only falls, unless a guide raises it. */
  #reach({ logprob, branch }: Hypothesis): number {
    const { length } = this.#settings;
    if (this.#branches.sampler.hasGuides) return Number.POSITIVE_INFINITY;
    return logprob / (length > 0 ? this.#run.stop.maxTokens : branch.tokens.length + 1) ** length;
  }

  #drop(hypothesis: Hypothesis, why: string): SearchEvent {
    this.#branches.drop(hypothesis.branch);
    return this.#report(hypothesis, "pruned", why);
  }

  #report(hypothesis: Hypothesis, end: "won" | "stopped" | "pruned", why?: string): SearchEvent {
    const { id, parent, from, branch } = hypothesis;
    const fact = { id, parent, from, score: this.#score(hypothesis), end, ...(why === undefined ? {} : { why }) };
    return { kind: "branch", fact: branch.fact(fact) };
  }

  /** The complete answers, or those under way if the deadline came before there was one; the best first. */
  #ranked(): Hypothesis[] {
    const all = this.#ended.length > 0 ? this.#ended : this.#live;
    if (all.length === 0) throw new NativeError("the guides leave no token possible");
    return [...all].sort((a, b) => this.#score(b) - this.#score(a));
  }

  /** Shows the tokens on which every answer that may still win agrees. */
  *#show(): Generator<SearchEvent> {
    const [first, ...others] = [...this.#live, ...this.#ended].map(({ branch }) => branch.tokens);
    if (first === undefined) return;
    let count = this.#numShown;
    while (count < first.length && others.every((tokens) => tokens[count]?.id === first[count]!.id)) count++;
    yield* this.#showUpTo(first, count);
  }

  *#showUpTo(tokens: readonly TokenFact[], count: number): Generator<SearchEvent> {
    for (; this.#numShown < count; this.#numShown++) {
      const fact = tokens[this.#numShown]!;
      yield { kind: "token", index: this.#numShown, fact, text: this.#shown.push(fact.id as TokenId).text };
    }
  }

  *#finish(ranked: readonly Hypothesis[]): Generator<SearchEvent, SearchResult> {
    const [winner, ...others] = ranked as [Hypothesis, ...Hypothesis[]];
    const { tokens, ending = { reason: "deadline" as const }, sequence } = winner.branch;
    for (const live of this.#live) if (!ranked.includes(live)) yield this.#report(live, "pruned", "the deadline came");
    for (const other of others) yield this.#report(other, "stopped");
    yield* this.#showUpTo(tokens, tokens.length);
    yield this.#report(winner, "won");
    const text = ending.reason === "deadline" ? this.#shown.flush() : "";
    if (this.#settings.best === 1) return { ending, text, sequence };
    return { ending, text, sequence, alternatives: others.slice(0, this.#settings.best - 1).map((other) => this.#alternative(other)) };
  }

  #alternative(hypothesis: Hypothesis): Alternative {
    const { tokens, ending = { reason: "deadline" as const } } = hypothesis.branch;
    const ids = tokens.map(({ id }) => id as TokenId);
    const answer = AnswerText.start(this.#run.tokenizer, this.#run.stop);
    const text = ids.map((id) => answer.push(id).text).join("");
    return {
      text: ending.reason === "deadline" ? text + answer.flush() : text,
      tokens: ids,
      score: this.#score(hypothesis),
      finishReason: ending.reason,
    };
  }
}
