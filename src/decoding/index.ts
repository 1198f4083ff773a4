export { type GenerateEvent, type GenerateResult, generate, generateText, type TokenLogprob } from "./generate.ts";
export { describeRange, type Method, type MethodSpec, type Parameter } from "./method.ts";
export type { ChatFormat, DecodingModel } from "./model.ts";
export type { GenerateOptions } from "./options.ts";
export { encodePrompt, type Prompt } from "./prompt.ts";
export type { Timings } from "./record.ts";
export { registry } from "./registry.ts";
export type { FinishReason, StoppedBy } from "./stop.ts";
