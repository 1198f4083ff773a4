export { type AdapterScale, type AdapterSpec, parseAdapters } from "./adapters.ts";
export { Chat, type ChatEvent, type ChatOptions } from "./chat.ts";
export { chatFormat } from "./chat-format.ts";
export { cannotCompose, type DescribedMethod, describeRegistry, listAxes } from "./describe.ts";
export { describeEffort, duration } from "./describe-effort.ts";
export { clairvoyantGain, expectedGain } from "./drafting/worth.ts";
export { type EmbedOptions, type EmbedResult, embed } from "./embed.ts";
export { type ExplainOptions, type Explanation, explain } from "./explaining/explain.ts";
export { describeToken, heat, heatMapHtml } from "./explaining/heat-map.ts";
export { type GenerateEvent, type GenerateResult, generate, generateText, type TokenLogprob } from "./generate.ts";
export { type IsotropyOptions, type IsotropyReport, isotropy } from "./isotropy.ts";
export {
  compactParts,
  defineMethod,
  describeRange,
  type Example,
  integer,
  type Method,
  type MethodSpec,
  number,
  type Parameter,
  parseMethod,
  text,
} from "./method.ts";
export { type ChatFormat, type DecodingModel, decodingModel, type ModelSource } from "./model.ts";
export { type GenerateOptions, knownOptions as generateOptionNames } from "./options.ts";
export type { LaidOut } from "./prompting/layout.ts";
export { type PromptEncoder, renderMessages } from "./prompting/plain.ts";
export { encodePrompt, type LayoutPrompt, layOutPrompt, type Prompt, withLayout } from "./prompting/prompt.ts";
export type { Timings } from "./record.ts";
export { anyAdapter, methodsByAxis, registry } from "./registry.ts";
export { philox4x32 } from "./sampling/random.ts";
export { type ScoreOptions, type ScoreResult, score } from "./score.ts";
export { type ScoreChoicesOptions, type ScoredChoice, type ScoredChoices, scoreChoices } from "./score-choices.ts";
export { type AttributeHead, isAttributeHead } from "./search/attribute-head.ts";
export type { AttributeFunction } from "./search/conditional-beam.ts";
export { type FitAttributeOptions, fitAttribute } from "./search/fit-attribute.ts";
export type { Judged, JudgeFunction, JudgeName } from "./search/judge.ts";
export { isJudgeQuality, type JudgeQuality, measureJudge } from "./search/judge-quality.ts";
export type { Alternative } from "./search/search.ts";
export type { SkipPart } from "./skipping/skip.ts";
export { measureSkipOrder, type SkipOrder } from "./skipping/skip-order.ts";
export type { FinishReason, StoppedBy } from "./stop.ts";
