export {
  type AdamWOptions,
  adamW,
  clipByGlobalNorm,
  learningRate,
  type Optimizer,
  type OptimizerState,
  type Parameter,
  type Schedule,
  type SgdOptions,
  sgd,
  type WeightDecay,
} from "../optimizers/index.ts";
export { type ActionOptions, ActionSource } from "./action-batches.ts";
export { adapterMethods, parseAdapter } from "./adapter-methods.ts";
export { AdapterTrainee, type AdapterTraining } from "./adapter-trainee.ts";
export { withBackspace, writeModelWithBackspace } from "./backspace-vocabulary.ts";
export type { SampleOptions } from "./continuation.ts";
export { type Batch, type Documents, Packing, type PackingOptions, type PassRows } from "./data/batches.ts";
export { type PairBatch, PairSource } from "./data/pairs.ts";
export type { Preference } from "./data/preferences.ts";
export { type DataFormat, dataFormats, type RowKind, readSamples, type Sample, type Segment } from "./data/samples.ts";
export { type PrepareOptions, TokenFile } from "./data/token-file.ts";
export { type DistillationBatch, DistillationSource, distillation } from "./distillation.ts";
export {
  buildDraftModel,
  type DraftModel,
  type DraftModelFacts,
  type DraftModelHooks,
  type DraftModelOptions,
  smollm2DraftOptions,
} from "./draft-model.ts";
export { exportModel } from "./export.ts";
export { type Forward, type ForwardOptions, forward, type Rows, setRows } from "./forward.ts";
export { type ModelShape, vocabularyMetadata, vocabularyOf, writeRandomModel } from "./from-scratch.ts";
export {
  checkTransfer,
  readTransferMaps,
  type TransferMaps,
  type TransferResult,
  type TransferTraining,
  trainTransferMaps,
  transferFolder,
  transferMapsPath,
  writeTransferMaps,
} from "./hidden-transfer.ts";
export { heldOutRanking } from "./metrics-file.ts";
export { nextToken, type Objective } from "./objective.ts";
export { objectiveMethods, parseObjective, type TrainingObjective } from "./objective-methods.ts";
export { answerLogProbabilities, fillAnswers, type PreferenceOptions, preference } from "./preference.ts";
export { type AnswerLogProbabilities, referenceLogProbabilities } from "./reference.ts";
export { lossCurve, trainingReport } from "./report.ts";
export {
  type ActionBatch,
  type ActionRows,
  type SequenceMatchOptions,
  sequenceMatch,
  unrollActions,
  withMistakes,
} from "./sequence-match.ts";
export { type Start, type TrainFileHooks, type TrainFileOptions, trainFile } from "./train-file.ts";
export {
  type BatchSource,
  type Metrics,
  type RunHooks,
  type Trainee,
  type TrainingMemory,
  type TrainOptions,
  type TrainProgress,
  type TrainResult,
  train,
} from "./trainer.ts";
export { readTexts, type Writer, type WriteTextsOptions, type WritingProgress, type WrittenText, writeTexts } from "./write-texts.ts";
