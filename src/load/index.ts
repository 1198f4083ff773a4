export { type LoadOptions, type LoadProgress, load, loadVocabulary, type VocabularyOptions } from "./load.ts";
export { type AdapterFacts, Model } from "./model.ts";
export { Vocabulary } from "./vocabulary.ts";
