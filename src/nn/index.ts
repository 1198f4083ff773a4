export { type NormWeights, norm, type Projection, project } from "./layers.ts";
