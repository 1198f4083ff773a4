export { updateAverage } from "./average.ts";
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
export { learningRate, type Schedule } from "./schedule.ts";
