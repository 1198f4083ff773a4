import type { RowResult, Want } from "../../engine/index.ts";
import { NativeError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { type DraftTree, noDraft } from "../drafting/draft.ts";
import type { Guide, GuideRun, GuideState } from "../guidance/guide.ts";
import { Distribution, type RowFacts, rowFacts } from "./distribution.ts";
import type { DrawPoint } from "./random.ts";
import type { Choice, ChoiceRule, Shape } from "./sampler.ts";

/** What a row must come with to be sampled from. */
export interface RowWant extends Want {
  readonly logits: "last";
  readonly top: number;
  /** Absent when no guide names tokens. */
  readonly scores?: readonly [readonly TokenId[]];
  readonly fullLogits: boolean;
}

/** What turns rows into tokens, as the options say. */
export interface StepRules {
  readonly guides: readonly Guide[];
  readonly shapes: readonly Shape[];
  readonly choice: ChoiceRule;
  readonly seed: number;
}

/**
 * How many candidates a row is asked for: enough that the usual truncations are decided on them. The engine finds 64 natively and
 * needs one more than it returns, to see that no tie is cut.
 */
const numCandidates = 63;
/** More than this many are read from the full row instead. */
const maxCandidates = 1024;

/** A token and the model's own logit of it. */
export interface Chosen {
  readonly token: TokenId;
  readonly logit: number;
}

/** One of several tokens taken of a row. */
export interface Candidate extends Chosen {
  /**
   * Its log-probability with the guides' changes: as they leave it, so that a mask's other tokens count as lost; or, normalized, of
   * the distribution that is left.
   */
  readonly logprob: number;
}

/** How many tokens of a row, and by which rule. */
export interface Several {
  readonly count?: number;
  readonly isMostProbable?: boolean;
}

/** What a search takes of each row. Default: one token. */
export interface Taking {
  /** Most tokens that {@link StepSampler.several} is asked for. */
  readonly count: number;
  /** Whether it gives probabilities of the guided distribution, which with a mask needs the full row. */
  readonly isNormalized: boolean;
}

/**
 * One branch's way from a row to a token: guides in the order listed, then the shapes in theirs, then the choice. It works on
 * the candidates and says so when they do not suffice; the same functions then run on the full row and, where the candidates
 * would have sufficed, give the same token.
 */
export class StepSampler {
  readonly #rules: StepRules;
  /** Scratch, shared with forks: the row under decision, and one token alone. */
  readonly #distribution: Distribution;
  readonly #single: Distribution;
  readonly #guides: readonly GuideState[];
  readonly #choice: Choice;
  readonly #taking: Taking;
  readonly #shifts: number[];
  #numShifted = 0;
  /** Of the row that was decided on last. */
  #row: RowFacts = { logSumExp: 0, largest: 0 };
  readonly #numCandidates: number;
  /** Whether rows come with all logits: set once the candidates did not suffice, since they will not again. */
  #wantsFullRow: boolean;

  private constructor(
    rules: StepRules,
    taking: Taking,
    scratch: { readonly distribution: Distribution; readonly single: Distribution },
    guides: readonly GuideState[],
    choice: Choice,
    wantsFullRow: boolean,
  ) {
    this.#rules = rules;
    this.#taking = taking;
    this.#distribution = scratch.distribution;
    this.#single = scratch.single;
    this.#guides = guides;
    this.#choice = choice;
    this.#shifts = guides.map(() => 0);
    const asked = Math.max(numCandidates, taking.count, ...[...rules.shapes, rules.choice].map((rule) => rule.numCandidates ?? 0));
    this.#numCandidates = this.#isPlain ? taking.count : Math.min(asked, maxCandidates);
    this.#wantsFullRow = wantsFullRow;
  }

  static async start(
    rules: StepRules,
    vocabSize: number,
    prompt: readonly TokenId[],
    run: Omit<GuideRun, "guides">,
    taking: Taking = { count: 1, isNormalized: false },
  ): Promise<StepSampler> {
    const guides = await Promise.all(rules.guides.map((guide) => guide.start(prompt, { ...run, guides: rules.guides })));
    const scratch = { distribution: new Distribution(vocabSize), single: new Distribution(vocabSize) };
    return new StepSampler(rules, taking, scratch, guides, rules.choice.start(prompt), false);
  }

  /** One that has no guides, whatever the rules list. */
  static unguided(rules: StepRules, vocabSize: number, prompt: readonly TokenId[]): StepSampler {
    const scratch = { distribution: new Distribution(vocabSize), single: new Distribution(vocabSize) };
    return new StepSampler({ ...rules, guides: [] }, { count: 1, isNormalized: false }, scratch, [], rules.choice.start(prompt), false);
  }

  /**
   * What the next row must come with. `isPrompt`: the prompt's last row is asked for in full unless the choice is plainly greedy,
   * since asking again would compute a prompt's row by another kernel.
   */
  want(options: { readonly top: number; readonly isPrompt: boolean }): RowWant {
    const touched = this.#touched();
    return {
      logits: "last",
      top: Math.min(Math.max(options.top, this.#numCandidates), this.#distribution.vocabSize),
      ...(touched === "all" || touched.length === 0 ? {} : { scores: [touched] as const }),
      fullLogits: this.#wantsFullRow || touched === "all" || (options.isPrompt && !this.#isPlain),
    };
  }

  /**
   * The next token of a row that came as {@link want} asked, or undefined when the row must be asked for again, in full.
   *
   * @param stream, index  which of the run's random numbers decide
   * @throws NativeError for logits that are not finite, or when the guides leave no token
   */
  choose(row: RowResult, point: Omit<DrawPoint, "seed">): Chosen | undefined {
    const decided = this.#decideOn(row, point, 1);
    if (decided === undefined) return undefined;
    if (decided.tokens.length === 0) throw new NativeError("the guides leave no token possible");
    const token = decided.tokens[0]!;
    return { token, logit: rawLogit(row, token, this.#touched()) };
  }

  /**
   * The tokens that a row's branch may go on with: the first one {@link choose} takes, then what it would take if that one were
   * ruled out, and so on, up to `count`. Fewer, even none, where the guides leave fewer. Undefined when the row must be asked
   * for again, in full.
   *
   * @param options.count           default: the taking's
   * @param options.isMostProbable  the most probable ones, whatever the samplers would take
   */
  several(
    row: RowResult,
    point: Omit<DrawPoint, "seed">,
    { count = this.#taking.count, isMostProbable = false }: Several = {},
  ): readonly Candidate[] | undefined {
    const decided = this.#decideOn(row, point, count, isMostProbable);
    if (decided === undefined) return undefined;
    const touched = this.#touched();
    const logSumExp = this.#taking.isNormalized ? decided.logTotal : row.candidates!.logSumExp;
    return decided.tokens.map((token) => {
      const logit = rawLogit(row, token, touched);
      return { token, logit, logprob: this.#guided(token, logit) - logSumExp };
    });
  }

  /** Notes what each guide did to a token that is taken; before {@link advance}. */
  measure({ token, logit }: Chosen): void {
    if (this.#guides.length === 0) return;
    this.#single.loadOne(token, logit, this.#row);
    this.#numShifted++;
    for (const [index, guide] of this.#guides.entries()) {
      const before = this.#single.logits[0]!;
      guide.apply(this.#single);
      this.#shifts[index]! += this.#single.logits[0]! - before;
    }
  }

  /** The token was taken: the state moves on. */
  advance(token: TokenId): void {
    this.#choice.advance(token);
    for (const guide of this.#guides) guide.advance(token);
  }

  /**
   * Lets guides compute what they need for the row after the last token and after each of those that may follow: awaited beside the
   * run's own pass. False once the deadline has passed.
   */
  async prepare(ahead: DraftTree = noDraft): Promise<boolean> {
    const waiting = this.#guides.map((guide) => guide.prepare?.(ahead)).filter((pending) => pending !== undefined);
    return !(await Promise.all(waiting)).includes(false);
  }

  /** Whether a guide may make a token more probable than the model does; a mask does not. */
  get mayRaise(): boolean {
    return this.#guides.some((guide) => guide.touches() !== "lowers");
  }

  /** Whether guides change anything, so that what rows must come with depends on the path. */
  get hasGuides(): boolean {
    return this.#guides.length > 0;
  }

  /** Whether the masks among the guides leave a token possible as the next one; they need no row for that. */
  allows(token: TokenId): boolean {
    const masks = this.#guides.filter((guide) => guide.touches() === "lowers");
    if (masks.length === 0) return true;
    this.#single.loadOne(token, 0, this.#row);
    for (const mask of masks) mask.apply(this.#single);
    return this.#single.logits[0] !== Number.NEGATIVE_INFINITY;
  }

  /** Forgets every generated token from `length` on. */
  rewind(length: number): void {
    this.#choice.rewind(length);
    for (const guide of this.#guides) guide.rewind(length);
  }

  /**
   * For another branch, which goes on from the same tokens; what guides did to these counts for both.
   * @param shape  a shape that the branch has after all others
   */
  fork(shape?: Shape): StepSampler {
    const guides = this.#guides.map((guide) => guide.fork());
    const scratch = { distribution: this.#distribution, single: this.#single };
    const rules = shape === undefined ? this.#rules : { ...this.#rules, shapes: [...this.#rules.shapes, shape] };
    const fork = new StepSampler(rules, this.#taking, scratch, guides, this.#choice.fork(), this.#wantsFullRow);
    fork.#numShifted = this.#numShifted;
    fork.#row = this.#row;
    fork.#shifts.splice(0, fork.#shifts.length, ...this.#shifts);
    return fork;
  }

  /** Each guide's mean change of the logits of the tokens taken. */
  guideFacts(): readonly { readonly name: string; readonly weight: number; readonly meanShift: number }[] {
    return this.#rules.guides.map(({ name, weight }, index) => ({
      name,
      weight,
      meanShift: this.#numShifted === 0 ? 0 : this.#shifts[index]! / this.#numShifted,
    }));
  }

  [Symbol.dispose](): void {
    for (const guide of this.#guides) guide[Symbol.dispose]?.();
  }

  /** Tokens by the candidates or, where these do not suffice, by the full row; undefined when the row came without it. */
  #decideOn(row: RowResult, point: Omit<DrawPoint, "seed">, count: number, isMostProbable = false): Decision | undefined {
    const candidates = row.candidates;
    if (candidates === undefined) throw new NativeError("internal: a row came without candidates");
    this.#row = rowFacts(candidates);
    const touched = this.#touched();
    const distribution = this.#distribution;
    const at = { seed: this.#rules.seed, ...point };
    let decided: Decision | undefined;
    if (touched !== "all") {
      distribution.load(candidates, touched, row.scores);
      decided = this.#decide(at, count, isMostProbable);
    }
    if (decided === undefined) {
      this.#wantsFullRow = true;
      if (row.logits === undefined) return undefined;
      distribution.loadFull(row.logits, candidates, touched === "all" ? [] : touched);
      decided = this.#decide(at, count, isMostProbable);
    }
    if (decided === undefined) throw new NativeError("internal: a sampler asked for more than the full row");
    return decided;
  }

  #decide(point: DrawPoint, count: number, isMostProbable: boolean): Decision | undefined {
    const distribution = this.#distribution;
    if (this.#guides.length > 0) {
      let mayLowerRest = false;
      for (const guide of this.#guides) {
        guide.apply(distribution);
        mayLowerRest ||= guide.touches() === "lowers";
      }
      if (distribution.arrange(mayLowerRest) === Number.NEGATIVE_INFINITY) return { tokens: [], logTotal: Number.NEGATIVE_INFINITY };
    }
    const logTotal = this.#taking.isNormalized ? distribution.logSumExp() : Number.NaN;
    if (logTotal === undefined) return undefined;
    if (!isMostProbable) for (const shape of this.#rules.shapes) if (!shape.apply(distribution)) return undefined;
    const places = isMostProbable ? distribution.best(count) : this.#choice.choose(distribution, point, count);
    return places === undefined ? undefined : { tokens: places.map((place) => distribution.ids[place]! as TokenId), logTotal };
  }

  /** A logit as the guides leave it. */
  #guided(token: TokenId, logit: number): number {
    if (!this.hasGuides) return logit;
    this.#single.loadOne(token, logit, this.#row);
    for (const guide of this.#guides) guide.apply(this.#single);
    return this.#single.logits[0]!;
  }

  get #isPlain(): boolean {
    return this.#rules.choice.isGreedy && this.#guides.length === 0;
  }

  /** Tokens that guides change, each once, or "all" when a guide names no list. */
  #touched(): readonly TokenId[] | "all" {
    const lists = this.#guides.map((guide) => guide.touches()).filter((touched) => touched !== "lowers");
    if (lists.some((touched) => touched === "all")) return "all";
    if (lists.length <= 1) return (lists[0] as readonly TokenId[] | undefined) ?? [];
    return [...new Set(lists.flat() as TokenId[])];
  }
}

/** Tokens taken of a row; `logTotal` is log Σ exp of the guided logits where it is asked for. */
interface Decision {
  readonly tokens: readonly TokenId[];
  readonly logTotal: number;
}

/** The model's own logit of a token that was chosen from a row, before guides changed it. */
function rawLogit(row: RowResult, token: TokenId, touched: readonly TokenId[] | "all"): number {
  const place = row.candidates!.ids.indexOf(token);
  if (place >= 0) return row.candidates!.logits[place]!;
  const index = touched === "all" ? -1 : touched.indexOf(token);
  return index >= 0 ? row.scores![index]! : row.logits![token]!;
}
