import { NativeError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import type { Candidate } from "../sampling/step.ts";
import { AnswerText } from "../stop.ts";
import { AgreedText } from "./agreed-text.ts";
import { type Branch, Branches } from "./branch.ts";
import type { Judged } from "./judge.ts";
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

/** What a beam search may be conditioned on beside the model's probability: an attribute of the finished answer. */
export interface Condition {
  readonly weight: number;
  /** Whether it reads the state after the last token, so that a hypothesis is evaluated before it is weighed. */
  readonly readsState: boolean;
  /** Of all hypotheses' next tokens, those that are weighed at each step. */
  readonly look: number;
  /** log P(the finished answer has the attribute | the answer so far), <= 0. */
  logprob(answer: ConditionedAnswer): number | Promise<number>;
}

export interface ConditionedAnswer extends Judged {
  /** [C], where it reads states: after the last token, or, where this one ends the answer and is never read, before it. */
  readonly state?: Float32Array;
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
  /** weight · log P(attribute | answer so far); 0 without a condition. */
  readonly condition: number;
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
  readonly #condition: Condition | undefined;
  #live: Hypothesis[] = [];
  readonly #ended: Hypothesis[] = [];
  readonly #shown: AgreedText;

  private constructor(run: Run, settings: BeamSettings, branches: Branches, condition: Condition | undefined) {
    this.#run = run;
    this.#settings = settings;
    this.#branches = branches;
    this.#condition = condition;
    this.#shown = new AgreedText(run.tokenizer, run.stop);
  }

  /** @param condition  what `beam` is without and `conditional-beam` with */
  static async *search(run: Run, settings: BeamSettings, condition?: Condition): AsyncGenerator<SearchEvent, SearchResult> {
    const hidden = condition?.readsState ?? false;
    const count = Math.max(settings.width, condition?.look ?? 0);
    const branches = await Branches.create(run, { count, isNormalized: false, hidden });
    const beam = new BeamSearch(run, settings, branches, condition);
    let winner: Branch | undefined;
    try {
      const read = yield* readPrompt(run, branches.sampler, hidden ? { hidden: "last" } : {});
      if (read === undefined) return { ending: { reason: "deadline" }, text: "" };
      if (run.stop.maxTokens === 0) return { ending: { reason: "length" }, text: "" };
      for (let group = 0; group < settings.groups; group++) {
        const id = branches.nextId();
        beam.#live.push({ id, parent: undefined, from: 0, group, branch: branches.start(read.last), logprob: 0, condition: 0 });
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
    const children = this.#condition === undefined ? this.#extend(this.#select(proposals)) : await this.#weigh(proposals, this.#condition);
    if (children === undefined) return false;
    const ended = children.filter(({ branch }) => branch.ending !== undefined);
    for (const child of ended) yield this.#growth(child);
    this.#ended.push(...ended);
    this.#live = [];
    const bar = this.#ended.map((hypothesis) => this.#score(hypothesis)).sort((a, b) => b - a)[this.#settings.best - 1];
    for (const child of children) {
      if (child.branch.ending !== undefined) continue;
      if (bar === undefined || this.#reach(child) > bar) {
        this.#live.push(child);
        yield this.#growth(child);
      } else yield this.#drop(child, "however it went on, it could not pass the answers that are complete");
    }
    for (const parent of parents) {
      if (children.some(({ id }) => id === parent.id)) this.#branches.drop(parent.branch);
      else yield this.#drop(parent, "others are more probable");
    }
    yield* this.#shown.show([...this.#live, ...this.#ended].map(({ branch }) => branch.tokens));
    if (this.#condition?.readsState === true) return true; // they were evaluated before they were weighed
    const evaluated = await Promise.all(this.#live.map(({ branch }) => branch.evaluate()));
    return !evaluated.includes(false);
  }

  /**
   * The hypotheses that are kept by log-probability and attribute together: of the proposals the `look` best by what is known of them are
   * extended, evaluated where the attribute reads states, and weighed. Undefined once the deadline has passed.
   */
  async #weigh(proposals: readonly Proposal[], condition: Condition): Promise<Hypothesis[] | undefined> {
    const known = ({ hypothesis, logprob }: Proposal) => logprob + hypothesis.condition;
    const looks = [...proposals].sort((a, b) => known(b) - known(a)).slice(0, condition.look);
    const branches = looks.map(({ hypothesis, candidate }) => this.#branches.extend(hypothesis.branch, candidate));
    if (condition.readsState) {
      const evaluated = await Promise.all(branches.map((branch) => endsUnread(branch) || branch.evaluate()));
      if (evaluated.includes(false)) return undefined;
    }
    const weighed = await Promise.all(
      looks.map(async (proposal, index) => {
        const branch = branches[index]!;
        return { proposal, branch, condition: await this.#conditionOf(branch, condition) };
      }),
    );
    const standing = ({ proposal, condition }: (typeof weighed)[number]) => proposal.logprob + condition;
    const kept = weighed
      .filter(({ condition }) => condition !== Number.NEGATIVE_INFINITY)
      .sort((a, b) => standing(b) - standing(a)) // stable
      .slice(0, this.#settings.width - this.#ended.length);
    for (const one of weighed) if (!kept.includes(one)) this.#branches.drop(one.branch);
    return this.#name(
      kept.map(({ proposal, branch, condition }) => ({ hypothesis: proposal.hypothesis, branch, logprob: proposal.logprob, condition })),
    );
  }

  async #conditionOf({ tokens, row, ending }: Branch, { weight, readsState, logprob }: Condition): Promise<number> {
    const ids = tokens.map(({ id }) => id as TokenId);
    const given = { text: this.#run.tokenizer.decode(ids), tokens: ids, isComplete: ending !== undefined };
    const value = await logprob(readsState ? { ...given, state: row.hidden! } : given);
    return weight === 0 ? 0 : weight * value;
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

  #extend(kept: readonly Proposal[]): Hypothesis[] {
    return this.#name(
      kept.map(({ hypothesis, candidate, logprob }) => {
        const branch = this.#branches.extend(hypothesis.branch, candidate);
        return { hypothesis, branch, logprob, condition: 0 };
      }),
    );
  }

  /** The best child of each hypothesis goes on under its number, the others get numbers of their own. */
  #name(children: readonly { hypothesis: Hypothesis; branch: Branch; logprob: number; condition: number }[]): Hypothesis[] {
    const continued = new Set<Hypothesis>();
    return children.map(({ hypothesis, ...child }) => {
      const { id, parent, from, group } = hypothesis;
      if (!continued.has(hypothesis)) {
        continued.add(hypothesis);
        return { id, parent, from, group, ...child };
      }
      return { id: this.#branches.nextId(), parent: id, from: hypothesis.branch.tokens.length, group, ...child };
    });
  }

  /** By which complete answers are compared. */
  #score({ logprob, condition, branch }: Hypothesis): number {
    return (logprob + condition) / branch.tokens.length ** this.#settings.length;
  }

  /** The largest score that a hypothesis may still get: its log-probability only falls, unless a guide raises it. */
  #reach({ logprob, branch }: Hypothesis): number {
    const { length } = this.#settings;
    if (this.#branches.sampler.mayRaise) return Number.POSITIVE_INFINITY;
    return logprob / (length > 0 ? this.#run.stop.maxTokens : branch.tokens.length + 1) ** length;
  }

  #growth(hypothesis: Hypothesis): SearchEvent {
    const { id, parent, from, branch } = hypothesis;
    const at = branch.tokens.length - 1;
    return { kind: "growth", id, parent, from, at, tokens: [branch.tokens[at]!.id], score: this.#score(hypothesis) };
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
    if (all.length === 0)
      throw new NativeError(
        this.#condition === undefined ? "the guides leave no token possible" : "no answer within the beam has the attribute: widen it",
      );
    return [...all].sort((a, b) => this.#score(b) - this.#score(a));
  }

  *#finish(ranked: readonly Hypothesis[]): Generator<SearchEvent, SearchResult> {
    const [winner, ...others] = ranked as [Hypothesis, ...Hypothesis[]];
    const { tokens, ending = { reason: "deadline" as const }, sequence } = winner.branch;
    for (const live of this.#live) if (!ranked.includes(live)) yield this.#report(live, "pruned", "the deadline came");
    for (const other of others) yield this.#report(other, "stopped");
    yield* this.#shown.showAll(tokens);
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

/** Whether nothing reads the branch's last token, since it ends the answer and is no text. */
function endsUnread({ ending }: Branch): boolean {
  return ending?.reason === "stop" && ending.by.kind !== "stop-text";
}
