import type { BranchFact, RowResult, Sequence, TokenFact } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import { type Candidate, type Several, StepSampler, type Taking } from "../sampling/step.ts";
import { AnswerText, type Ending } from "../stop.ts";
import { tokenFact } from "./read-prompt.ts";
import type { Run } from "./search.ts";

/** The branches of a run: owns their sequences and samplers, all of which fork from the run's sequence with the prompt in it. */
export class Branches {
  readonly run: Run;
  /** Of the prompt, before any token. */
  readonly sampler: StepSampler;
  readonly #open = new Set<Branch>();
  readonly #hidden: boolean;
  #numIds = 0;

  private constructor(run: Run, sampler: StepSampler, hidden: boolean) {
    this.run = run;
    this.sampler = sampler;
    this.#hidden = hidden;
  }

  /** @param hidden  whether rows come with their state */
  static async create(run: Run, { hidden = false, ...taking }: Taking & { readonly hidden?: boolean }): Promise<Branches> {
    return new Branches(run, await StepSampler.start(run.rules, run.sequence.vocabSize, run.prompt, run, taking), hidden);
  }

  /** The empty answer. @param row  the prompt's last */
  start(row: RowResult): Branch {
    const answer = AnswerText.start(this.run.tokenizer, this.run.stop);
    return this.#add({
      sequence: this.run.sequence.fork(),
      sampler: this.sampler.fork(),
      answer,
      row,
      tokens: [],
      text: "",
      ending: undefined,
    });
  }

  /** A branch that goes on from another with a token; {@link Branch.evaluate} reads it, unless it has ended. */
  extend(from: Branch, { token, logit }: Candidate): Branch {
    const { row } = from;
    const answer = from.answer.fork();
    const { text, ending } = answer.push(token);
    const sampler = from.sampler.fork();
    sampler.measure({ token, logit });
    const tokens = [...from.tokens, tokenFact(row, token, logit, this.run.logprobs)];
    return this.#add({ sequence: from.sequence.fork(), sampler, answer, row, tokens, text, ending });
  }

  /** Gives back what a branch holds. Idempotent. */
  drop(branch: Branch): void {
    if (!this.#open.delete(branch)) return;
    branch.sampler[Symbol.dispose]();
    branch.sequence[Symbol.dispose]();
  }

  /** Drops every branch but the winner, whose sequence goes to the caller of the run, and reports what guides did to its tokens. */
  close(winner: Branch | undefined): void {
    this.run.reportGuides((winner ?? this).sampler.guideFacts());
    if (winner !== undefined && this.#open.delete(winner)) winner.sampler[Symbol.dispose]();
    for (const branch of this.#open) this.drop(branch);
    this.sampler[Symbol.dispose]();
  }

  /** A number for the facts. */
  nextId(): number {
    return this.#numIds++;
  }

  #add(parts: BranchParts): Branch {
    const branch = new Branch(this.run, parts, this.#hidden);
    this.#open.add(branch);
    return branch;
  }
}

interface BranchParts {
  readonly sequence: Sequence;
  readonly sampler: StepSampler;
  readonly answer: AnswerText;
  /** The row after the last token; before that was evaluated, the row from which it was taken. */
  readonly row: RowResult;
  /** Of the answer so far. */
  readonly tokens: readonly TokenFact[];
  /** Text that became certain with the last token. */
  readonly text: string;
  /** What ended the answer. */
  readonly ending: Ending | undefined;
}

/** One way in which an answer goes on: the sequence, what chooses its tokens, and its text, which fork together. */
export class Branch {
  readonly sequence: Sequence;
  readonly sampler: StepSampler;
  readonly answer: AnswerText;
  readonly tokens: readonly TokenFact[];
  readonly text: string;
  readonly ending: Ending | undefined;
  row: RowResult;
  #reread: Promise<boolean> | undefined;
  readonly #run: Run;
  readonly #hidden: boolean;

  constructor(run: Run, { sequence, sampler, answer, row, tokens, text, ending }: BranchParts, hidden: boolean) {
    this.#run = run;
    this.#hidden = hidden;
    this.sequence = sequence;
    this.sampler = sampler;
    this.answer = answer;
    this.row = row;
    this.tokens = tokens;
    this.text = text;
    this.ending = ending;
  }

  /**
   * The tokens that may follow, as the sampler takes them unless told otherwise; undefined once the deadline has passed.
   * @param stream  which random numbers decide
   */
  async candidates(stream: number, how?: Several): Promise<readonly Candidate[] | undefined> {
    const point = { stream, index: this.tokens.length };
    const several = this.sampler.several(this.row, point, how);
    if (several !== undefined) return several;
    // several may ask at once, each for its own way on
    this.#reread ??= this.#readAgain();
    return (await this.#reread) ? this.sampler.several(this.row, point, how)! : undefined;
  }

  /** Reads the last token. False once the deadline has passed. */
  async evaluate(): Promise<boolean> {
    const last = this.tokens.at(-1)!.id as TokenId;
    this.sampler.advance(last);
    const [isDone, isReady] = await Promise.all([this.#forward(last), this.sampler.prepare()]); // a guide's model runs beside ours
    return isDone && isReady;
  }

  /**
   * The last row, in full: from a fork, since whoever had enough with the candidates may fork from the branch meanwhile, and its sequence
   * must have its last token then.
   */
  async #readAgain(): Promise<boolean> {
    using again = this.sequence.fork();
    again.rewind(again.length - 1);
    return await this.#forward((this.tokens.at(-1)?.id ?? this.#run.prompt.at(-1)!) as TokenId, again);
  }

  /** What the facts say of the branch, from a token on. */
  fact(parts: Omit<BranchFact, "tokens">): BranchFact {
    return { ...parts, tokens: this.tokens.slice(parts.from).map(({ id }) => id) };
  }

  async #forward(token: TokenId, sequence = this.sequence): Promise<boolean> {
    const want = this.sampler.want({ top: this.#run.logprobs ?? 0, isPrompt: false });
    const result = await this.#run.forward(sequence, {
      input: [token],
      want: this.#hidden ? { ...want, hidden: "last" } : want,
    });
    if (result === undefined) return false;
    this.row = result.rows[0]!;
    return true;
  }
}
