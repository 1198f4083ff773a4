export type { BranchFact, ChoiceFact, DraftFacts, Facts, TokenFact } from "./facts.ts";
export type {
  BlockPlan,
  Candidates,
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
