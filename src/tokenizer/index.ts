export { type BpeVocabulary, trainBpe } from "./bpe-trainer.ts";
export { Detokenizer, pieceText } from "./detokenizer.ts";
export { backspaceKey, LlamaVocabulary, type LlamaVocabularyOptions } from "./llama-vocabulary.ts";
export type { Tokenizer } from "./tokenizer.ts";
