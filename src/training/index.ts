export { type Forward, type ForwardOptions, forward, type Rows, setRows } from "./forward.ts";
export {
  type AdamWOptions,
  adamW,
  clipByGlobalNorm,
  type Optimizer,
  type OptimizerState,
  type Parameter,
  type SgdOptions,
  sgd,
  type WeightDecay,
} from "./optimizers.ts";
