import type { TokenId } from "../../token.ts";
import { choice, integer, number } from "../method.ts";
import type { ModelSource } from "../model.ts";
import { StepSampler } from "../sampling/step.ts";
import { temperatureShape } from "../sampling/temperature.ts";
import { AgreedText } from "./agreed-text.ts";
import { beginJudge, checkJudge, type JudgeChoice, judgeChoices, rewardParameters } from "./chosen-judge.ts";
import { budgetParameters, Effort } from "./effort.ts";
import { defaultWording, type Judge } from "./judge.ts";
import { readPrompt } from "./read-prompt.ts";
import { defineSearch, type Run, type SearchEvent, type SearchResult } from "./search.ts";
import { Walk } from "./walk.ts";

interface Settings {
  readonly n: number;
  readonly judge: JudgeChoice;
  readonly model: ModelSource | undefined;
  readonly adapter: string | undefined;
  readonly beta: number | undefined;
  readonly enough: number;
  readonly first: number;
  readonly prune: number;
  readonly check: number;
  readonly passes: number;
  readonly seconds: number;
}

/** An answer and what is known of it. */
interface Candidate {
  readonly id: number;
  readonly walk: Walk;
  /** Of the latest judgement. */
  score: number | undefined;
  /** Why it goes on no more: the judge, or the budget. */
  end: "pruned" | "cut" | undefined;
}

/**
 * Best of n with self-evaluation: answers are drawn, the later ones hotter, judged when they are complete and on the way there, and the
 * judge's favourite wins. Where `enough` is below 1 they are drawn in groups of 1, 1, 2, 4 …, until one is judged to be that good. At
 * `check`, 2 · `check`, 4 · `check` … tokens the worst share `prune` of a group's answers under way are given up. A judgement is
 * computed in a fork, so it changes no token of any answer.
 */
class BestOf {
  readonly #run: Run;
  readonly #settings: Settings;
  readonly #candidates: Candidate[] = [];
  readonly #shown: AgreedText;

  constructor(run: Run, settings: Settings) {
    this.#run = run;
    this.#settings = settings;
    this.#shown = new AgreedText(run.tokenizer, run.stop);
  }

  async *search(): AsyncGenerator<SearchEvent, SearchResult> {
    const run = this.#run;
    const { n, passes, seconds } = this.#settings;
    const sampler = await StepSampler.start(run.rules, run.sequence.vocabSize, run.prompt, run);
    let winner: Candidate | undefined;
    let judge: Judge | undefined;
    try {
      if (n > 1) judge = await beginJudge(run, { ...this.#settings, ...defaultWording });
      const read = yield* readPrompt(run, sampler);
      if (read === undefined) return { ending: { reason: "deadline" }, text: "" };
      const { maxTokens } = run.stop;
      if (maxTokens === 0) return { ending: { reason: "length" }, text: "" };
      const groups = this.#groups(n).length;
      const judged = judge === undefined ? 0 : judge.rows;
      const effort = await Effort.start(
        run,
        { passes, seconds },
        {
          ...{ method: "best-of", unit: "answers", planned: n },
          work: [
            { passes: groups * maxTokens, rows: n / groups },
            { passes: judged === 0 ? 0 : 2 * groups, rows: (judged * n) / groups },
          ],
          basis: `a pass per token and group${judged === 0 ? "" : ", two for the judge"}, nobody given up early`,
          paper: { setting: "16 answers", units: 16 },
        },
      );
      const count = effort.isSpent ? 1 : n;
      if (count > 1) yield effort.event();
      for (const size of this.#groups(count)) {
        const group: Candidate[] = [];
        for (let place = 0; place < size; place++) {
          const index = this.#candidates.length;
          const candidate = await this.#draw(sampler, index, count, read.last);
          group.push(candidate);
          this.#candidates.push(candidate);
        }
        const isDone = yield* this.#write(group, judge, effort, count);
        if (!isDone) break;
        if (effort.isSpent || this.#candidates.some(({ score }) => score !== undefined && score >= this.#settings.enough)) break;
      }
      winner = this.#best();
      yield* this.#report(winner);
      if (count > 1) yield effort.event();
      const { ending } = winner.walk;
      if (ending === undefined) return { ending: { reason: "deadline" }, text: this.#shown.flush(), sequence: winner.walk.sequence };
      return { ending, text: "", sequence: winner.walk.sequence };
    } finally {
      const told = winner ?? this.#candidates[0];
      if (told !== undefined) {
        told.walk.settle();
        const drafts = told.walk.draftFacts();
        if (drafts !== undefined) run.reportDrafts(drafts, told.walk.draftReport()?.choices ?? []);
      }
      run.reportGuides((told?.walk.sampler ?? sampler).guideFacts());
      for (const candidate of this.#candidates) {
        candidate.walk[Symbol.dispose]();
        candidate.walk.sampler[Symbol.dispose]();
        if (candidate !== winner) candidate.walk.sequence[Symbol.dispose]();
      }
      sampler[Symbol.dispose]();
      judge?.[Symbol.dispose]?.();
    }
  }

  /** How many answers are drawn side by side, one group after the other. */
  #groups(count: number): number[] {
    if (this.#settings.enough >= 1) return [count];
    const sizes: number[] = [];
    for (let left = count, size = 1; left > 0; left -= sizes.at(-1)!) {
      sizes.push(Math.min(size, left));
      if (sizes.length > 1) size *= 2; // 1, 1, 2, 4 …
    }
    return sizes;
  }

  async #draw(sampler: StepSampler, index: number, count: number, row: Parameters<Walk["begin"]>[0]): Promise<Candidate> {
    const { first } = this.#settings;
    const heat = count === 1 ? 1 : first + ((1 - first) * index) / (count - 1);
    const walk = await Walk.start(this.#run, this.#run.sequence.fork(), sampler.fork(temperatureShape(heat)), index);
    walk.begin(row);
    return { id: index, walk, score: undefined, end: undefined };
  }

  /** Writes a group to its end, or what the budget leaves of it. False once the deadline has passed. */
  async *#write(
    group: readonly Candidate[],
    judge: Judge | undefined,
    effort: Effort,
    count: number,
  ): AsyncGenerator<SearchEvent, boolean> {
    let nextCheck = this.#settings.check;
    let live = [...group];
    while (live.length > 0) {
      const steps = await Promise.all(live.map(({ walk }) => walk.step()));
      if (steps.includes(undefined)) return false;
      for (const { id, walk } of live) {
        const at = walk.tokens.length - 1;
        yield { kind: "growth", id, parent: undefined, from: 0, at, tokens: [walk.tokens[at]!.id] };
      }
      const complete = live.filter(({ walk }) => walk.ending !== undefined);
      live = live.filter(({ walk }) => walk.ending === undefined);
      // the first draws of a later group are not yet known to be what the answer begins with
      yield* this.#shown.show(this.#contenders(count));
      if (complete.length > 0) {
        effort.done = this.#numDone;
        if (count > 1 && !(await this.#judge(complete, judge!))) return false;
        if (count > 1) yield effort.event();
      }
      if (live.length === 0) break;
      if (count > 1 && effort.isSpent) {
        const spared = this.#candidates.some(({ walk }) => walk.ending !== undefined) ? undefined : best(live);
        for (const one of live) if (one !== spared) yield this.#drop(one, "cut", "the budget is used up");
        live = spared === undefined ? [] : [spared];
      } else if (live.length > 1 && live[0]!.walk.tokens.length >= nextCheck && this.#settings.prune > 0) {
        nextCheck *= 2;
        if (!(await this.#judge(live, judge!))) return false;
        const ranked = [...live].sort((a, b) => b.score! - a.score!); // stable: of equals the earlier one stays
        const kept = ranked.slice(0, Math.max(1, Math.ceil((1 - this.#settings.prune) * ranked.length)));
        for (const one of live)
          if (!kept.includes(one)) yield this.#drop(one, "pruned", `judged the worse after ${one.walk.tokens.length} tokens`);
        live = live.filter((one) => kept.includes(one));
        effort.done = this.#numDone;
      }
    }
    return true;
  }

  get #numDone(): number {
    return this.#candidates.filter(({ end, walk }) => end === "pruned" || walk.ending !== undefined).length;
  }

  /** Answers that may still win, as far as they are known. */
  #contenders(count: number) {
    const isOpen = this.#candidates.length < count && this.#settings.enough < 1;
    return isOpen ? [] : this.#candidates.filter(({ end }) => end === undefined).map(({ walk }) => walk.tokens);
  }

  async #judge(candidates: readonly Candidate[], judge: Judge): Promise<boolean> {
    const scores = await Promise.all(
      candidates.map(({ walk }) => {
        walk.settle();
        const tokens = walk.tokens.map(({ id }) => id as TokenId);
        return judge.judge(walk.sequence, { text: walk.text, tokens, isComplete: walk.ending !== undefined });
      }),
    );
    if (scores.includes(undefined)) return false;
    for (const [index, candidate] of candidates.entries()) candidate.score = scores[index]!;
    return true;
  }

  #drop(candidate: Candidate, end: "pruned" | "cut", why: string): SearchEvent {
    candidate.end = end;
    candidate.walk.settle();
    return this.#branch(candidate, "pruned", why);
  }

  #branch({ id, walk, score }: Candidate, end: "won" | "stopped" | "pruned", why?: string): SearchEvent {
    const because = why ?? (score === undefined ? "not judged" : undefined);
    const fact = { id, parent: undefined, from: 0, tokens: walk.tokens.map((token) => token.id), score: score ?? 0, end };
    return { kind: "branch", fact: because === undefined ? fact : { ...fact, why: because } };
  }

  /** The best complete answer; without one the best under way. */
  #best(): Candidate {
    const complete = this.#candidates.filter(({ walk }) => walk.ending !== undefined);
    return best(complete.length > 0 ? complete : this.#candidates.filter(({ end }) => end === undefined));
  }

  *#report(winner: Candidate): Generator<SearchEvent> {
    for (const other of this.#candidates)
      if (other !== winner && other.end === undefined) yield this.#branch(other, other.walk.ending === undefined ? "pruned" : "stopped");
    yield* this.#shown.showAll(winner.walk.tokens);
    yield this.#branch(winner, "won");
  }
}

/** The highest score; of equals, or where nothing was judged, the first. */
function best(candidates: readonly Candidate[]): Candidate {
  return candidates.reduce((a, b) => ((b.score ?? -1) > (a.score ?? -1) ? b : a));
}

export const bestOf = defineSearch({
  name: "best-of",
  summary: "draws several answers, gives up early those that a judge thinks little of, and takes the judge's favourite",
  source: { title: "Adaptive Inference-Time Compute: LLMs Can Predict if They Can Do Better, Even Mid-Generation", arxiv: "2410.02725" },
  parameters: {
    n: integer({ min: 1, max: 64, default: 4, doc: "answers drawn at most; 1 is the plain answer" }),
    judge: choice<JudgeChoice>({
      choices: judgeChoices,
      takesFunction: true,
      default: "restart",
      doc: "who says how good an answer is: the model asked whether it would do better if it started over, the model given two options, a reward model, a function",
    }),
    ...rewardParameters,
    enough: number({
      min: 0,
      max: 1,
      default: 1,
      doc: "below 1, answers come in groups of 1, 1, 2, 4 … until one has this score; 0 is one answer",
    }),
    first: number({
      ...{ min: 0, isMinOpen: true, max: 1, default: 0.5 },
      doc: "temperature of the first answer as a share of the last one's; 1 is the same for all",
    }),
    prune: number({ min: 0, max: 1, default: 0.5, doc: "share of a group's answers under way that each check gives up; 0 is none" }),
    check: integer({
      min: 1,
      max: 2 ** 31,
      default: 64,
      doc: "tokens after which answers are judged the first time; then after twice as many",
    }),
    ...budgetParameters({ passes: 2048 }),
  },
  draws: true,
  example: { n: 3, check: 2 },
  neutral: { n: 1 },
  needs: ["input", "want.logits", "want.top", "want.scores", "fork", "rewind"],
  create(settings) {
    checkJudge("best-of", settings);
    return (run) => new BestOf(run, settings).search();
  },
});
