import type { AttributionFacts, EffortFact, Sequence } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";
import type { DecodingModel } from "../model.ts";
import type { LaidOut } from "../prompting/layout.ts";

/** A value of the explain axis: says after an answer what its tokens owe to the prompt's. The answer does not change. */
export interface Explainer {
  readonly name: string;
  explain(context: ExplainContext): AsyncGenerator<EffortFact, AttributionFacts>;
}

export interface ExplainContext {
  readonly model: DecodingModel;
  /** An empty sequence of it, as the run has it: with its adapters, its priority and its part of the prefix cache. */
  open(maxLength: number): Sequence | Promise<Sequence>;
  readonly layout: LaidOut;
  /** At least one token. */
  readonly answer: readonly TokenId[];
  readonly signal?: AbortSignal;
}

export function defineExplainer<Table extends ParameterTable>(definition: Definition<Explainer, Table>): Method<Explainer> {
  return defineMethod("explain", definition);
}
