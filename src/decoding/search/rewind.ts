import type { BranchFact } from "../../engine/index.ts";
import { NativeError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { choice, integer, number, text } from "../method.ts";
import type { ModelSource } from "../model.ts";
import type { Candidate } from "../sampling/step.ts";
import { AgreedText } from "./agreed-text.ts";
import { type Branch, Branches } from "./branch.ts";
import { beginJudge, checkJudge, type JudgeChoice, judgeChoices, rewardParameters } from "./chosen-judge.ts";
import { budgetParameters, Effort } from "./effort.ts";
import { defaultWording, type Judge } from "./judge.ts";
import { readPrompt } from "./read-prompt.ts";
import { backUp, mostVisited, normalizePriors, type SegmentNode, select, wantsAnother } from "./rewind-tree.ts";
import { defineSearch, type Run, type SearchEvent, type SearchResult } from "./search.ts";
import { Walk } from "./walk.ts";

interface Settings {
  readonly iterations: number;
  readonly judge: JudgeChoice;
  readonly model: ModelSource | undefined;
  readonly adapter: string | undefined;
  readonly beta: number | undefined;
  readonly good: string;
  readonly bad: string;
  readonly children: number;
  readonly explore: number;
  readonly alike: number;
  readonly share: number;
  readonly enough: number;
  readonly passes: number;
  readonly seconds: number;
}

/** Tokens of a segment by how deep it stands, the last for all deeper ones. */
const segmentLengths = [1, 2, 4, 10];
/** A child may be settled on once it lay on the path more often than this. */
const fewVisits = 6;
/** Iterations that a new root has at least, whatever its subtree brings along, unless fewer are asked for. */
const fewIterations = 15;
/** Most children of a node, those drawn later included. */
const mostChildren = 20;
/** Most tokens written on, for the judge, to the next mark of punctuation. */
const mostSimulated = 32;
const paperIterations = 50;
/** What is reckoned, not measured: a model may write its marks of punctuation sooner or later. */
const tokensToMark = 8;

/** Where in the tree an answer under way stands, with the state after each of its tokens that was read. */
interface Line {
  readonly branch: Branch;
  readonly states: readonly Float32Array[];
}

/**
 * RAIN: the model searches a tree of segments. An iteration goes down to a leaf, writes on to the next punctuation, lets the answer be
 * judged, gives the leaf children, takes the verdict up the path (with a share to segments that are alike), and rewinds. When a child
 * is good enough, or the iterations are used up, it is settled on and becomes the root.
 */
class Rewind {
  readonly #run: Run;
  readonly #settings: Settings;
  readonly #branches: Branches;
  readonly #judge: Judge;
  readonly #lines = new Map<SegmentNode, Line>();
  readonly #verdicts = new Map<string, number>();
  /** Mean of the prompt's states: what all states have in common says nothing about likeness. */
  #center: Float64Array = new Float64Array(0);
  readonly #shown: AgreedText;
  #root: SegmentNode;
  /** Depth of the root. */
  #depth = 0;
  /** Number of the next random stream; 0 is the plain answer's. */
  #stream = 1;

  private constructor(run: Run, settings: Settings, branches: Branches, judge: Judge) {
    this.#run = run;
    this.#settings = settings;
    this.#branches = branches;
    this.#judge = judge;
    this.#shown = new AgreedText(run.tokenizer, run.stop);
    this.#root = this.#node(undefined, [], 1);
  }

  static async *search(run: Run, settings: Settings): AsyncGenerator<SearchEvent, SearchResult> {
    const { iterations, passes, seconds } = settings;
    const isPlain = iterations === 0 || passes === 0 || seconds === 0;
    const branches = await Branches.create(run, { count: settings.children, isNormalized: true, hidden: !isPlain });
    let end: Branch | undefined;
    let winner: Branch | undefined; // only what is handed over outlives the run, also one that is aborted
    let walk: Walk | undefined;
    let judge: Judge | undefined;
    try {
      if (!isPlain) judge = await beginJudge(run, settings);
      const read = yield* readPrompt(run, branches.sampler, isPlain ? {} : { hidden: "all" });
      if (read === undefined) return { ending: { reason: "deadline" }, text: "" };
      const { maxTokens } = run.stop;
      if (maxTokens === 0) return { ending: { reason: "length" }, text: "" };
      end = branches.start(read.last);
      let parent: number | undefined;
      if (judge !== undefined) {
        const rewind = new Rewind(run, settings, branches, judge);
        rewind.#center = meanOf(read.states);
        rewind.#lines.set(rewind.#root, { branch: end, states: [] });
        const effort = await Effort.start(run, { passes, seconds }, planOf(maxTokens, settings, judge));
        const isInTime = yield* rewind.#explore(effort);
        yield* rewind.#finish();
        yield effort.event();
        parent = rewind.#root.id;
        end = rewind.#lines.get(rewind.#root)!.branch;
        if (!isInTime) {
          winner = end;
          return { ending: { reason: "deadline" }, text: rewind.#shown.flush(), sequence: end.sequence };
        }
      }
      if (end.ending !== undefined) {
        if (run.draft !== undefined) run.reportDrafts(unused(run.draft.name), []);
        winner = end;
        return { ending: end.ending, text: "", sequence: end.sequence };
      }
      walk = await Walk.from(run, end);
      const from = walk.tokens.length;
      for (let index = from; walk.ending === undefined; index++) {
        const step = await walk.step();
        if (step === undefined) {
          winner = end;
          return { ending: { reason: "deadline" }, text: walk.flush(), sequence: end.sequence };
        }
        yield { kind: "token", index, ...step };
      }
      if (parent !== undefined) {
        const tokens = walk.tokens.slice(from).map(({ id }) => id);
        const why = "the budget is used up: finished plainly";
        yield { kind: "branch", fact: { id: branches.nextId(), parent, from, tokens, score: 0, end: "won", why } };
      }
      winner = end;
      return { ending: walk.ending, text: "", sequence: end.sequence };
    } finally {
      walk?.settle();
      const drafts = walk?.draftFacts();
      if (drafts !== undefined) run.reportDrafts(drafts, walk?.draftReport()?.choices ?? []);
      walk?.[Symbol.dispose]();
      branches.close(winner);
      judge?.[Symbol.dispose]?.();
    }
  }

  /** Settles on segment after segment until the answer or the budget ends. False once the deadline has passed. */
  async *#explore(effort: Effort): AsyncGenerator<SearchEvent, boolean> {
    yield effort.event();
    while (this.#lines.get(this.#root)!.branch.ending === undefined && !effort.isSpent) {
      const before = this.#root.ownVisits;
      const { iterations } = this.#settings;
      const most = Math.max(iterations, before + Math.min(fewIterations, iterations));
      for (let iteration = before; iteration < most && !effort.isSpent; iteration++) {
        if (!(yield* this.#iterate())) return false;
        effort.done++;
        yield effort.event();
        const best = mostVisited(this.#root);
        if (best !== undefined && best.ownVisits > fewVisits && best.value > this.#settings.enough) break;
      }
      const next = mostVisited(this.#root);
      if (next === undefined || next.visits === 0) return true; // the budget ended before any child was looked at
      const line = await this.#lineOf(next);
      if (line === undefined) return false;
      yield* this.#settle(next, line);
    }
    return true;
  }

  /** One descent. False once the deadline has passed. */
  async *#iterate(): AsyncGenerator<SearchEvent, boolean> {
    const path: SegmentNode[] = [];
    let node = this.#root;
    while (node.children.length > 0) {
      if (wantsAnother(node, mostChildren) && !(await this.#grow(node, this.#depth + path.length, 1))) return false;
      node = select(node, this.#settings);
      path.push(node);
    }
    const isNew = !this.#lines.has(node);
    const line = await this.#lineOf(node);
    if (line === undefined) return false;
    if (isNew) yield this.#growth(node);
    const seen = await this.#look(line);
    if (seen === undefined) return false;
    if (line.branch.ending === undefined) {
      if (!(await this.#grow(node, this.#depth + path.length, this.#settings.children))) return false;
    }
    backUp(this.#root, path, seen.value, (each) => this.#embed(seen.states.slice(each.start)), this.#settings);
    return true;
  }

  /** The answer up to the end of a node's segment, evaluated; undefined once the deadline has passed. */
  async #lineOf(node: SegmentNode): Promise<Line | undefined> {
    const known = this.#lines.get(node);
    if (known !== undefined) return known;
    const parent = this.#lines.get(node.parent!)!;
    const line = await this.#writeOn(parent, node.segment.length, async (_branch, index) => node.segment[index]!);
    if (line !== undefined) this.#lines.set(node, line);
    return line;
  }

  /**
   * Goes on from a line by up to `count` tokens, to the answer's end at most. Gives a line of its own; undefined once the deadline has
   * passed. @param take  the token to take; undefined once the deadline has passed
   */
  async #writeOn(
    from: Line,
    count: number,
    take: (branch: Branch, index: number) => Promise<Candidate | undefined>,
    isOver: (branch: Branch) => boolean = () => false,
  ): Promise<Line | undefined> {
    let { branch } = from;
    const states = [...from.states];
    for (let index = 0; index < count && branch.ending === undefined && !isOver(branch); index++) {
      const token = await take(branch, index);
      if (token === undefined) return undefined; // the deadline
      const next = this.#branches.extend(branch, token);
      if (branch !== from.branch) this.#branches.drop(branch);
      branch = next;
      if (branch.ending !== undefined) break; // nothing is read after the last token
      if (!(await branch.evaluate())) return undefined;
      states.push(branch.row.hidden!);
    }
    return { branch, states };
  }

  /** What the judge says of an answer, written on to the next punctuation; undefined once the deadline has passed. */
  async #look(line: Line): Promise<{ readonly value: number; readonly states: readonly Float32Array[] } | undefined> {
    const stream = this.#stream++;
    const isOver = ({ tokens }: Branch) => /[,.?!:;\n]$/.test(this.#run.tokenizer.decode(tokens.slice(-4).map(({ id }) => id as TokenId)));
    const draw = (branch: Branch) => oneOf(branch, stream);
    const written = await this.#writeOn(line, mostSimulated, draw, isOver);
    if (written === undefined) return undefined;
    try {
      const { branch, states } = written;
      const tokens = branch.tokens.map(({ id }) => id as TokenId);
      const key = tokens.join();
      let value = this.#verdicts.get(key);
      if (value === undefined) {
        const answer = { text: this.#run.tokenizer.decode(tokens), tokens, isComplete: branch.ending !== undefined };
        const score = await this.#judge.judge(branch.sequence, answer);
        if (score === undefined) return undefined;
        value = 2 * score - 1;
        this.#verdicts.set(key, value);
      }
      return { value, states };
    } finally {
      if (written.branch !== line.branch) this.#branches.drop(written.branch);
    }
  }

  /** Gives a node `count` more children; fewer where they repeat. False once the deadline has passed. */
  async #grow(node: SegmentNode, depth: number, count: number): Promise<boolean> {
    const line = this.#lines.get(node)!;
    const length = segmentLengths[Math.min(depth, segmentLengths.length - 1)]!;
    const isFirst = node.children.length === 0;
    const segments =
      length === 1 ? await this.#tokens(line, node.children.length + count) : await this.#segments(line, length, count, isFirst);
    if (segments === undefined) return false;
    const known = new Set(node.children.map(({ key }) => key));
    for (const segment of segments) {
      const key = keyOf(segment);
      if (known.has(key)) continue;
      known.add(key);
      const prior = Math.exp(segment.reduce((sum, { logprob }) => sum + logprob, 0));
      node.children.push(this.#node(node, segment, prior));
    }
    if (isFirst && length > 1) clipFirst(node.children);
    if (node.children.length > 0) normalizePriors(node.children, node === this.#root);
    return true;
  }

  /** The most probable tokens, as segments. */
  async #tokens({ branch }: Line, count: number): Promise<readonly (readonly Candidate[])[] | undefined> {
    return (await branch.candidates(0, { count, isMostProbable: true }))?.map((token) => [token]);
  }

  /** Segments drawn, side by side; with `greedy` the first is of the most probable tokens. */
  async #segments(line: Line, length: number, count: number, greedy: boolean): Promise<readonly (readonly Candidate[])[] | undefined> {
    const drawn = await Promise.all(
      Array.from({ length: count }, async (_, place) => {
        const segment: Candidate[] = [];
        const stream = this.#stream++;
        const isMostProbable = greedy && place === 0;
        const written = await this.#writeOn(line, length, async (branch) => {
          const token = await oneOf(branch, stream, isMostProbable);
          if (token !== undefined) segment.push(token);
          return token;
        });
        if (written === undefined) return undefined;
        if (written.branch !== line.branch) this.#branches.drop(written.branch);
        return segment;
      }),
    );
    return drawn.includes(undefined) ? undefined : (drawn as Candidate[][]);
  }

  /** The root moves on to a child; what else was tried is rewound. */
  *#settle(next: SegmentNode, { branch }: Line): Generator<SearchEvent> {
    for (const child of this.#root.children) if (child !== next) yield* this.#rewound(child);
    yield { kind: "branch", fact: this.#fact(next, "won") };
    yield* this.#shown.showAll(branch.tokens);
    this.#branches.drop(this.#lines.get(this.#root)!.branch);
    this.#lines.delete(this.#root);
    this.#root = next;
    this.#depth += 1;
    if (next.children.length > 0) normalizePriors(next.children, true);
  }

  /** What was tried after the last segment that was settled on. */
  *#finish(): Generator<SearchEvent> {
    for (const child of this.#root.children) yield* this.#rewound(child);
  }

  /** Gives up a node with all beneath it; of what was never looked at nothing is told. */
  *#rewound(node: SegmentNode): Generator<SearchEvent> {
    const line = this.#lines.get(node);
    if (line === undefined) return;
    yield { kind: "branch", fact: this.#fact(node, "rewound") };
    for (const child of node.children) yield* this.#rewound(child);
    this.#branches.drop(line.branch);
    this.#lines.delete(node);
  }

  #node(parent: SegmentNode | undefined, segment: readonly Candidate[], prior: number): SegmentNode {
    const start = parent === undefined ? 0 : parent.start + parent.segment.length;
    const id = this.#branches.nextId();
    const fresh = { children: [], visits: 0, ownVisits: 0, value: 0, embedding: undefined };
    return { id, parent, segment, start, prior, key: keyOf(segment), ...fresh };
  }

  #fact({ id, parent, start, segment, value }: SegmentNode, end: "won" | "rewound"): BranchFact {
    const tokens = segment.map(({ token }) => token);
    return {
      id,
      parent: parent === undefined || parent.parent === undefined ? undefined : parent.id,
      from: start,
      tokens,
      score: value,
      end,
    };
  }

  #growth(node: SegmentNode): SearchEvent {
    const { id, parent, from, tokens } = this.#fact(node, "won");
    return { kind: "growth", id, parent, from, at: from, tokens };
  }

  /** A path's text as a vector of length 1: the mean of its states, without what they have in common with the prompt's. */
  #embed(states: readonly Float32Array[]): Float64Array {
    const mean = states.length === 0 ? this.#center : meanOf(states);
    const centred = mean.map((value, channel) => value - this.#center[channel]!);
    const norm = Math.hypot(...centred);
    return norm === 0 ? centred : centred.map((value) => value / norm);
  }
}

/** The next token; undefined once the deadline has passed. */
async function oneOf(branch: Branch, stream: number, isMostProbable = false): Promise<Candidate | undefined> {
  const candidates = await branch.candidates(stream, { count: 1, isMostProbable });
  if (candidates?.length === 0) throw new NativeError("the guides leave no token possible");
  return candidates?.[0];
}

function meanOf(states: readonly Float32Array[]): Float64Array {
  const mean = new Float64Array(states[0]!.length);
  for (const state of states) for (let channel = 0; channel < mean.length; channel++) mean[channel]! += state[channel]! / states.length;
  return mean;
}

const keyOf = (segment: readonly Candidate[]) => segment.map(({ token }) => token).join();

/** The greedy segment is so much more probable than drawn ones that these would never be tried: it is held to their sum. */
function clipFirst(children: readonly SegmentNode[]): void {
  const [greedy, ...drawn] = children;
  if (greedy === undefined || drawn.length === 0) return;
  const priors = drawn.map(({ prior }) => prior);
  const sum = priors.reduce((total, prior) => total + prior, 0);
  greedy.prior = Math.max(Math.min(greedy.prior, sum), Math.max(...priors) + Math.min(...priors));
}

/** What a search to the last token costs: each iteration reads a leaf, writes on, judges, and draws the leaf's children. */
function planOf(maxTokens: number, { iterations, children }: Settings, judge: Judge) {
  const lengthAt = (depth: number) => segmentLengths[Math.min(depth, segmentLengths.length - 1)]!;
  const work = [];
  let segments = 0;
  for (let tokens = 0; tokens < maxTokens; tokens += lengthAt(segments), segments++) {
    const drawn = lengthAt(segments + 1);
    work.push({ passes: iterations * (lengthAt(segments) + tokensToMark), rows: 1 });
    work.push({ passes: iterations * drawn, rows: children });
    if (judge.rows > 0) work.push({ passes: iterations, rows: judge.rows });
  }
  return {
    ...{ method: "rewind", unit: "iterations", planned: iterations * segments, work },
    basis: `reckoned with a mark of punctuation after ${tokensToMark} tokens; no segment settled on early`,
    paper: { setting: `${paperIterations} iterations per segment`, units: paperIterations * segments },
  };
}

const unused = (method: string) => ({
  ...{ method, drafted: 0, accepted: 0, byPosition: [], byWidth: [] },
  offBecause: "the tree was searched to the answer's end, and a draft is for a single path",
});

export const rewind = defineSearch({
  name: "rewind",
  summary: "searches a tree of segments by the model's own judgement, rewinding what it thinks little of (RAIN)",
  source: { title: "RAIN: Your Language Models Can Align Themselves without Finetuning", arxiv: "2309.07124" },
  parameters: {
    iterations: integer({ min: 0, max: 10_000, default: 30, doc: "descents into the tree for each segment; 0 is the plain answer" }),
    judge: choice<JudgeChoice>({
      choices: judgeChoices,
      takesFunction: true,
      default: "options",
      doc: "who says how good an answer under way is: the model given two options, asked whether it would start over, a reward model, a function",
    }),
    ...rewardParameters,
    good: text({ default: defaultWording.good, doc: "what the first option says an answer is, such as harmless" }),
    bad: text({ default: defaultWording.bad, doc: "what the second one says, such as harmful" }),
    children: integer({ min: 2, max: mostChildren, default: 10, doc: "ways in which each segment is continued at first" }),
    explore: number({
      min: 0,
      max: 100,
      default: 2,
      doc: "weight of a segment's probability and rareness against what was found beneath it",
    }),
    alike: number({ min: -1, max: 1, default: 0.95, doc: "likeness from which on segments share what is found; 1 is hardly ever" }),
    share: number({ min: 0, max: 1, default: 0.2, doc: "what a visit counts for a segment that is alike, times the likeness; 0 is off" }),
    enough: number({ min: -1, max: 1, default: 0.8, doc: "value above which a segment is settled on before the iterations are used up" }),
    ...budgetParameters(),
  },
  draws: true,
  example: { iterations: 4, children: 3 },
  neutral: { iterations: 0 },
  needs: ["input", "want.logits", "want.top", "want.scores", "want.hidden", "fork", "rewind"],
  create(settings) {
    checkJudge("rewind", settings);
    return (run) => Rewind.search(run, settings);
  },
});
