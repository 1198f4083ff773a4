import type { AttributionFacts, EffortFact } from "../../engine/index.ts";
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
  readonly layout: LaidOut;
  /** At least one token. */
  readonly answer: readonly TokenId[];
  readonly signal?: AbortSignal;
}

export function defineExplainer<Table extends ParameterTable>(definition: Definition<Explainer, Table>): Method<Explainer> {
  return defineMethod("explain", definition);
}
