import type { EffortFact } from "../../engine/index.ts";
import { integer, number } from "../method.ts";
import type { Run, SearchEvent } from "./search.ts";

export interface SearchBudget {
  readonly passes: number;
  readonly seconds: number;
}

/** What no search reaches: these limits are none. */
const unbounded: SearchBudget = { passes: 2 ** 31, seconds: 86_400 };

/**
 * Parameters of every search that spends many passes. Without a default nothing is bounded: another parameter is the search's limit. No
 * search has seconds by default, since a seed would then give another answer on a slower machine.
 */
export const budgetParameters = ({ passes = unbounded.passes }: Partial<Pick<SearchBudget, "passes">> = {}) => ({
  passes: integer({
    min: 0,
    max: unbounded.passes,
    default: passes,
    doc: "most passes of the search, after the prompt; then the best so far is finished plainly",
  }),
  seconds: number({
    min: 0,
    max: unbounded.seconds,
    default: unbounded.seconds,
    doc: "most seconds of the search, after the prompt; then the same",
  }),
});

interface EffortPlan {
  readonly method: string;
  readonly unit: string;
  readonly planned: number;
  /** What these units are expected to cost: so many passes of so many rows each. */
  readonly work: readonly { readonly passes: number; readonly rows: number }[];
  /** What that rests on. */
  readonly basis: string;
  /** The paper's setting, in units of this method. */
  readonly paper: { readonly setting: string; readonly units: number };
}

/** What a search spends beyond a plain answer: it asks before each part whether there is anything left. */
export class Effort {
  readonly #run: Run;
  readonly #limits: SearchBudget;
  readonly #plan: EffortPlan;
  readonly #start: { readonly passes: number; readonly ms: number };
  readonly #expected: NonNullable<EffortFact["expected"]>;
  #endedBy: "passes" | "seconds" | undefined;
  done = 0;

  private constructor(run: Run, limits: SearchBudget, plan: EffortPlan, expected: NonNullable<EffortFact["expected"]>) {
    this.#run = run;
    this.#limits = limits;
    this.#plan = plan;
    this.#start = run.spent();
    this.#expected = expected;
  }

  /** Begins once the prompt was read. */
  static async start(run: Run, limits: SearchBudget, plan: EffortPlan): Promise<Effort> {
    const curve = limits.passes === 0 || limits.seconds === 0 ? undefined : await run.costCurve?.(run.prompt.length);
    const passes = plan.work.reduce((sum, part) => sum + part.passes, 0);
    const singles = curve && plan.work.reduce((sum, { passes, rows }) => sum + passes * curve.ratio(Math.max(rows, 1)), 0);
    const ms = singles === undefined ? {} : { ms: singles * curve!.singleRowMs };
    return new Effort(run, limits, plan, { passes, basis: plan.basis, ...ms });
  }

  /** Whether the budget is used up. Once it is, it stays so. */
  get isSpent(): boolean {
    const { passes, ms } = this.#spent();
    if (passes >= this.#limits.passes) this.#endedBy ??= "passes";
    else if (ms >= 1000 * this.#limits.seconds) this.#endedBy ??= "seconds";
    return this.#endedBy !== undefined;
  }

  /** How far it is. */
  event(): SearchEvent {
    const { method, unit, planned, paper } = this.#plan;
    const { passes, ms } = this.#spent();
    const scale = this.done === 0 ? undefined : paper.units / this.done;
    const fact: EffortFact = {
      ...{ method, unit, done: this.done, planned: Math.max(planned, this.done), passes, ms, expected: this.#expected },
      ...limitsOf(this.#limits),
      ...(this.#endedBy === undefined || this.done >= planned ? {} : { endedBy: this.#endedBy }),
      ...(scale === undefined ? {} : { paper: { setting: paper.setting, passes: Math.round(passes * scale), ms: ms * scale } }),
    };
    return { kind: "effort", fact };
  }

  #spent() {
    const { passes, ms } = this.#run.spent();
    return { passes: passes - this.#start.passes, ms: ms - this.#start.ms };
  }
}

/** The limits that bound anything. */
function limitsOf({ passes, seconds }: SearchBudget): Pick<EffortFact, "limits"> {
  const limits = {
    ...(passes < unbounded.passes ? { passes } : {}),
    ...(seconds < unbounded.seconds ? { seconds } : {}),
  };
  return Object.keys(limits).length === 0 ? {} : { limits };
}
