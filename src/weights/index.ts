export { AtomicFile } from "./atomic-file.ts";
export { dequantize, readRows, type ToFloat } from "./dequantize.ts";
export { FloatTensors } from "./float-tensors.ts";
export { GgufFile, openGguf, type TensorInfo } from "./gguf-reader.ts";
export { type TensorType, type TensorTypeLayout, tensorBytes, tensorTypeById, tensorTypes } from "./gguf-types.ts";
export { type GgufToWrite, headerOnlyBytes, headerOnlyCopy, type TensorToWrite, writeGguf } from "./gguf-writer.ts";
export { type InspectedValue, type Inspection, inspectFile, type MemoryPlan, planMemory } from "./inspect.ts";
export { multipliesIn, Weights } from "./load.ts";
export { Metadata, type MetadataValue, type NumberArray, StringArray } from "./metadata.ts";
export { Parameters } from "./parameters.ts";
export { type QuantizedTensor, type QuantizeOptions, type QuantizeTarget, quantize, quantizeTargets, toFloat } from "./quantize.ts";
export {
  openSafetensors,
  SafetensorsFile,
  type SafetensorsInfo,
  type SafetensorsToWrite,
  type SafetensorsType,
  safetensorsTypes,
  writeSafetensors,
} from "./safetensors.ts";
export { TrainingWeights, type TrainingWeightsOptions } from "./training-weights.ts";
export { checkVocabulary, type VocabularyFacts } from "./vocabulary-check.ts";
