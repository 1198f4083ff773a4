export type * from "./engine/index.ts";
export * from "./errors.ts";
export type { TokenId } from "./token.ts";
