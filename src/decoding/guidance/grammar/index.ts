export type { GrammarSource } from "./compile.ts";
export { compileGrammar, Grammar } from "./grammar.ts";
export { Grammars, grammarsOf } from "./grammars.ts";
export { defaultLimits, type GrammarLimits } from "./limits.ts";
export type { CompiledGrammar } from "./network.ts";
export { defaultJsonOptions, type JsonOptions, leastJsonOptions } from "./schema.ts";
export type { JsonValue } from "./schema-nodes.ts";
export { GrammarState, TokenGrammar } from "./state.ts";
export { type GrammarVocabulary, TokenTrie, tokenTrie } from "./trie.ts";
