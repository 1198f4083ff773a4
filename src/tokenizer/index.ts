export type { Tokenizer } from "./tokenizer.ts";
