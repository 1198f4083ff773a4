export {
  type AttributeFunction,
  type AttributeHead,
  Chat,
  type ChatEvent,
  type ChatOptions,
  type EmbedOptions,
  type EmbedResult,
  type ExplainOptions,
  type Explanation,
  type GenerateEvent,
  type GenerateOptions,
  type GenerateResult,
  heatMapHtml,
  type IsotropyReport,
  type Judged,
  type JudgeFunction,
  type JudgeQuality,
  type LayoutPrompt,
  type Prompt,
  registry,
  type ScoreOptions,
  type ScoreResult,
  withLayout,
} from "./decoding/index.ts";
export type * from "./engine/index.ts";
export * from "./errors.ts";
export { type LoadOptions, type LoadProgress, load, loadVocabulary, Model, Vocabulary, type VocabularyOptions } from "./load.ts";
export { type TokenId, tokenId, tokenIds } from "./token.ts";
