export type { JsonValue, Message, Role, TextPart, Tool, ToolCall } from "./messages.ts";
export { type ChatPrompt, ChatRenderer, type ChatRendererOptions, type RenderLimits } from "./renderer.ts";
export { type AnswerDelta, layOutTools, ToolCallReader, type ToolChoice, toolGrammar } from "./tool-calls.ts";
