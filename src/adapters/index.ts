export {
  type Activation,
  type Adapter,
  type AdapterOptions,
  type AdapterPart,
  type AdapterPlan,
  activations,
  adapterSize,
  planAdapter,
} from "./adapter.ts";
export { type AdapterBase, type AdapterForm, adapterBase, adapterForms } from "./base.ts";
export { adapterDeltas, type Deltas, downName, noDeltas, upName } from "./deltas.ts";
export { readAdapter } from "./files.ts";
export { writeGgufLora } from "./gguf-lora.ts";
export { type MergeOptions, mergeAdapter } from "./merge.ts";
export { writePeft } from "./peft.ts";
export { AdapterStacks, type AppliedAdapter, inputNames, type StackUse } from "./stacks.ts";
