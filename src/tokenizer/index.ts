export { Detokenizer } from "./detokenizer.ts";
export type { Tokenizer } from "./tokenizer.ts";
