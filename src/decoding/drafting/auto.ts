import type { ChoiceFact, CostCurve } from "../../engine/index.ts";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { model as modelParameter, optional, ours } from "../method.ts";
import { AdaptiveState } from "./adaptive.ts";
import { type DraftContext, type DraftLimits, type DraftState, type DraftTree, defineDraft, noDraft, type WeighedTree } from "./draft.ts";
import { startModelDraft } from "./model.ts";
import { startExitDraft } from "./nested.ts";
import { NgramState } from "./ngram.ts";
import { chainGain } from "./worth.ts";

/** Numbers of tokens that a draft may have: one less than the rows at which passes are cheapest for their size. */
const widths = [1, 2, 3, 5, 7, 11, 15];
const maxWidth = widths.at(-1)!;
/** What a measurement weighs when the next one comes: about the last 32 count. */
const decay = 31 / 32;
/** Measurements that a method's own estimate counts as. */
const trust = 2;
/** A draft must promise so much more than a pass alone, since the estimate is one. */
const margin = 1.05;
/** A draft model that does not pay is measured at every so manieth token: its guesses are passes. */
const idleStride = 4;
/** Tokens that a draft of a model's chain has. */
const chainDepth = 4;
/** So many proposals of a draft model that promise nothing end its part in the run: even to be measured it must read along. */
const maxIdleTrials = 6;
/** Estimates that are told apart. */
const numClasses = 8;

/** What a method's estimates are worth: how often the tokens came that it gave like chances, where those before them had come. */
class Calibration {
  readonly #agreement: number | undefined;
  readonly #came = new Array<number>(numClasses).fill(0);
  readonly #count = new Array<number>(numClasses).fill(0);

  /** @param agreement  the chance of any token, where that was measured before: it goes before the method's estimates */
  constructor(agreement: number | undefined) {
    this.#agreement = agreement;
  }

  add(estimate: number, hasCome: boolean): void {
    const place = classOf(estimate);
    this.#came[place] = this.#came[place]! * decay + Number(hasCome);
    this.#count[place] = this.#count[place]! * decay + 1;
  }

  /** The chance of a token, by the estimate and what became of those like it. */
  chance(estimate: number): number {
    const place = classOf(estimate);
    return (trust * (this.#agreement ?? estimate) + this.#came[place]!) / (trust + this.#count[place]!);
  }
}

const classOf = (estimate: number) => Math.min(Math.floor(estimate * numClasses), numClasses - 1);

/** A proposal, verified or not, on the way of the tokens that come: its tokens after the last one that came tell what estimates are worth. */
interface Trial {
  readonly tree: WeighedTree;
  /** The last token that came, -1 before the first. */
  readonly at: number;
}

interface Candidate {
  readonly name: string;
  readonly state: DraftState<WeighedTree>;
  readonly calibration: Calibration;
  trial: Trial | undefined;
  /** What a proposed token costs, in passes of one row. */
  readonly price: number;
  /** @see Calibration */
  readonly agreement: number | undefined;
  isPaying: boolean;
  idleTrials: number;
}

/** A method that auto considers. */
type Proposer = Pick<Candidate, "name" | "state"> & Partial<Pick<Candidate, "price" | "agreement">>;

/**
 * Chooses method and width for each pass: the largest (1 + expected accepted tokens) / (T(rows) / T(1)), or no draft where that does
 * not reach {@link margin}. Each method gives its tokens chances; what such chances are worth here is measured without a pass: every
 * proposal, verified or not, is compared with the tokens that then come. So "off" costs nothing but the guessing, and is left as soon
 * as guesses begin to hold.
 */
export class AutoState implements DraftState {
  readonly #curve: CostCurve;
  readonly #candidates: readonly Candidate[];
  #step = 0;
  readonly #chosen = new Map<string, number>();
  readonly #notes: readonly ChoiceFact[];

  /** @param notes  what was decided before the run, for its facts */
  constructor(curve: CostCurve, candidates: readonly Proposer[], notes: readonly ChoiceFact[] = []) {
    this.#curve = curve;
    this.#notes = notes;
    this.#candidates = candidates.map((candidate) => ({
      ...{ price: 0, agreement: undefined, trial: undefined, idleTrials: 0, isPaying: false },
      ...candidate,
      calibration: new Calibration(candidate.agreement),
    }));
  }

  async propose(limits: DraftLimits): Promise<DraftTree> {
    let best: { gain: number; tree: DraftTree; name: string } = { gain: margin, tree: noDraft, name: "off" };
    for (const candidate of this.#candidates) {
      if (candidate.price > 0 && candidate.idleTrials >= maxIdleTrials) continue;
      if (candidate.price > 0 && !candidate.isPaying && this.#step % idleStride !== 0) continue;
      const tree = await candidate.state.propose({ maxNodes: maxWidth, maxDepth: maxWidth });
      if (tree.tokens.length === 0) continue;
      candidate.trial = { tree, at: -1 };
      candidate.isPaying = false;
      const accepted = expectedAccepted(tree, candidate);
      for (const width of widths) {
        if (width > Math.min(tree.tokens.length, limits.maxNodes)) break;
        const gain =
          (1 + Math.min(accepted[width - 1]!, limits.maxDepth)) / (this.#curve.ratio(1 + width) + candidate.price * tree.tokens.length);
        candidate.isPaying ||= gain > 1;
        if (gain > best.gain) best = { gain, tree: firstOf(tree, width), name: `${candidate.name},nodes=${width}` };
      }
      candidate.idleTrials = candidate.isPaying ? 0 : candidate.idleTrials + 1;
    }
    this.#chosen.set(best.name, (this.#chosen.get(best.name) ?? 0) + 1);
    return best.tree;
  }

  advance(token: TokenId): void {
    this.#step++;
    for (const candidate of this.#candidates) {
      judge(candidate, token);
      candidate.state.advance(token);
    }
  }

  rewind(length: number): void {
    for (const candidate of this.#candidates) {
      candidate.trial = undefined; // what it waits for will not come
      candidate.state.rewind(length);
    }
  }

  /** Measures anew: a branch's prospects are its own. */
  fork(): AutoState {
    return new AutoState(
      this.#curve,
      this.#candidates.map(({ name, state, price, agreement }) => ({ name, state: state.fork(), price, agreement })),
      this.#notes,
    );
  }

  [Symbol.dispose](): void {
    for (const { state } of this.#candidates) state[Symbol.dispose]?.();
  }

  report() {
    const passes = [...this.#chosen.values()].reduce((sum, count) => sum + count, 0);
    const [most] = [...this.#chosen].sort((a, b) => b[1] - a[1]);
    if (most === undefined) return { choices: this.#notes };
    const [chosen, count] = most;
    const because = `largest expected tokens per time in ${count} of ${passes} passes; T(4)/T(1) is ${this.#curve.ratio(4).toFixed(2)}`;
    const isOff = [...this.#chosen.keys()].every((name) => name === "off");
    return {
      choices: [{ what: "draft", chosen, because }, ...this.#notes],
      curve: this.#curve,
      ...(isOff ? { offBecause: "no draft promised more tokens for its time than a pass alone" } : {}),
    };
  }
}

/** Counts what a token that came says of the proposal it was in, or was not in. */
function judge(candidate: Candidate, token: TokenId): void {
  const { trial, calibration } = candidate;
  if (trial === undefined) return;
  const { tree, at } = trial;
  candidate.trial = undefined;
  for (const [node, guess] of tree.tokens.entries()) {
    if (tree.parents[node] !== at) continue;
    calibration.add(tree.chances[node]!, guess === token);
    if (guess === token) candidate.trial = { tree, at: node };
  }
}

/** Tokens to be accepted of a tree's first one, of its first two, and so on. */
function expectedAccepted({ tokens, parents, chances }: WeighedTree, { calibration }: Candidate): number[] {
  const paths: number[] = [];
  let sum = 0;
  return tokens.map((_, node) => {
    const before = parents[node] === -1 ? 1 : paths[parents[node]!]!;
    paths.push(before * calibration.chance(chances[node]!));
    sum += paths[node]!;
    return sum;
  });
}

function firstOf({ tokens, parents }: DraftTree, count: number): DraftTree {
  return { tokens: tokens.slice(0, count), parents: parents.slice(0, count) };
}

export const auto = defineDraft({
  name: "auto",
  summary:
    "ngram, adaptive, a draft model or the model's own first blocks, and how many tokens: by what they are measured to be worth, and by the cost curve; or off",
  source: ours,
  parameters: { model: optional(modelParameter({ doc: "a draft model to be considered; what its passes cost counts against it" })) },
  needs: ["parents", "keep"],
  create: ({ model }) => ({
    name: "auto",
    async start(prompt: readonly TokenId[], context: DraftContext) {
      const { rules, costCurve, companion } = context;
      if (costCurve === undefined) throw new OptionError("draft", "auto needs the model's cost curve, and this model has none");
      const curve = await costCurve(prompt.length);
      const candidates: Proposer[] = [
        { name: "ngram", state: new NgramState({ nodes: maxWidth, longest: 16, shortest: 1 }, prompt) },
        { name: "adaptive", state: new AdaptiveState({ nodes: 7, depth: 3, iterations: 60 }, rules.seed, prompt) },
      ];
      if (model !== undefined) {
        const other = companion(model);
        const theirs = await other.model.costCurve?.({ entries: prompt.length });
        if (theirs === undefined) throw new OptionError("draft", `auto needs the cost curve of ${other.name}, and this model has none`);
        const state = await startModelDraft(model, { depth: chainDepth, width: 1, confidence: 0.4 }, prompt, context);
        candidates.push({ name: "model", state, price: theirs.singleRowMs / curve.singleRowMs });
      }
      const exits = (await context.companion(undefined).model.exits?.({})) ?? [];
      const worths = exits.map((exit) => ({ exit, ...chainGain(curve, exit, chainDepth) })).sort((a, b) => b.gain - a.gain);
      const notes: ChoiceFact[] = [];
      if (worths[0] !== undefined) {
        const { exit, gain } = worths[0];
        const { blocks, agreement, price } = exit;
        if (gain >= margin) {
          const settings = { depth: chainDepth, width: 1, confidence: 0.4 };
          candidates.push({ name: "nested", state: await startExitDraft(blocks, settings, prompt, context), price, agreement });
        }
        const agrees = `left after ${blocks} blocks it says what it says whole of ${(100 * agreement).toFixed(0)} % of a text's tokens`;
        const because = `${agrees}: at best ${gain.toFixed(2)} times as fast as without a draft`;
        notes.push({ what: "draft of the model itself", chosen: gain >= margin ? "nested, considered" : "none", because });
      }
      return new AutoState(curve, candidates, notes);
    },
  }),
});
