export { type CurvePoints, costCurve, curveAt, curveEntries, measureCostCurve } from "./cost-curve.ts";
export { Engine, type EngineOptions } from "./engine.ts";
export { type Exit, measureExits } from "./exits.ts";
export type {
  AttributionFacts,
  BranchFact,
  ChoiceFact,
  DraftFacts,
  EffortFact,
  Facts,
  TokenAttribution,
  TokenFact,
} from "./facts.ts";
export { type InvarianceFinding, probeDivision, probeInvariance, rowWiseKinds } from "./invariance.ts";
export type {
  BlockPlan,
  Candidates,
  Cost,
  CostCurve,
  Embeddings,
  ForwardRequest,
  ForwardResult,
  Injection,
  RowResult,
  RowStatistics,
  Sequence,
  SkipRule,
  Visibility,
  Want,
} from "./sequence.ts";
