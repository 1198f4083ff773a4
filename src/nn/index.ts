export { type NormWeights, norm, type Projection, project } from "./layers.ts";
export { crossEntropy, logProbabilities, targetIndices } from "./losses.ts";
export type { ModuleName, ModuleNames } from "./module-names.ts";
