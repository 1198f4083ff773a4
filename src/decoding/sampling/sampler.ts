import type { TokenId } from "../../token.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";
import type { Distribution } from "./distribution.ts";
import type { DrawPoint } from "./random.ts";

/**
 * A value of the sample axis. A *shape* changes the distribution (temperature, truncation); a *choice* takes a token from it.
 * A list of samplers is any number of shapes and at most one choice, which comes last; without one the token is drawn at random.
 */
export type Sampler = Shape | ChoiceRule;

export interface Shape {
  readonly kind: "shape";
  /** How many candidates it decides on, when it knows; rows come with at least as many. */
  readonly numCandidates?: number;
  /** Changes the distribution in place. False when its entries do not suffice: it is then called again on the full row. */
  apply(distribution: Distribution): boolean;
}

export interface ChoiceRule {
  readonly kind: "choice";
  /** Whether the choice leaves out every other token whatever the shapes before it, so that they have no effect. */
  readonly isGreedy: boolean;
  /** Whether it uses the run's random numbers; a seed is unused otherwise. */
  readonly isRandom: boolean;
  /** How many candidates it looks at, when it knows; rows come with at least as many. */
  readonly numCandidates?: number;
  start(prompt: readonly TokenId[]): Choice;
}

/** A choice within one run. Its state moves with the sequence: it advances, rewinds and forks. */
export interface Choice {
  /**
   * Places of the first `count` entries that it takes, each as if those before it were ruled out; fewer when nothing more can be
   * taken, undefined when the entries do not suffice. The first place depends on no `count`.
   */
  choose(distribution: Distribution, point: DrawPoint, count: number): readonly number[] | undefined;
  advance(token: TokenId): void;
  /** Forgets every generated token from `length` on. */
  rewind(length: number): void;
  fork(): Choice;
}

/** A choice that keeps nothing between tokens. */
export function statelessChoice(choose: Choice["choose"]): Choice {
  const choice: Choice = { choose, advance() {}, rewind() {}, fork: () => choice };
  return choice;
}

export function defineSampler<Table extends ParameterTable>(definition: Definition<Sampler, Table>): Method<Sampler> {
  return defineMethod("sample", definition);
}
