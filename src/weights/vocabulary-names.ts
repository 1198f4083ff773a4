/**
 * The names that libllama's vocabulary loader of the pinned build knows, as far as they are safe to use.
 * @see src/llama-vocab.cpp, `llama_vocab::impl::load`; fixtures/vocabulary-names.py reads them out of it
 */

/** What `tokenizer.ggml.model` may say, and how such vocabularies behave. Default ids apply where they lie inside the vocabulary. */
export const vocabularyModels = {
  /** SentencePiece byte-pair encoding (Llama 1 and 2, Mistral, Gemma 1 to 3). A byte outside every token becomes a byte token. */
  llama: { kind: "spm", addBos: true, addEos: false, defaultIds: { bos: 1, eos: 2, unknown: 0 } },
  /** Byte-pair encoding with merges (GPT-2, Llama 3, Qwen, SmolLM). */
  gpt2: { kind: "bpe", addBos: false, addEos: false, defaultIds: { bos: 11, eos: 11 } },
  /** Byte-pair encoding with merges on raw UTF-8 (Gemma 4). */
  gemma4: { kind: "bpe", addBos: true, addEos: false, defaultIds: {} },
  /** WordPiece (BERT). */
  bert: { kind: "wpm", addBos: true, addEos: false, defaultIds: { bos: 101, unknown: 100, separator: 102 } },
  /** Unigram (T5, XLM-RoBERTa). */
  t5: { kind: "ugm", addBos: false, addEos: true, defaultIds: { eos: 1, unknown: 2 } },
} as const;

/**
 * Models of that loader which we refuse, with what its code does with bad data: `rwkv` loops for ever on a text no token begins,
 * `plamo2` takes time and memory of the third power of a token's length, `test` divides by a vocabulary's size; `hybriddna` and
 * `whitespace` abort on spaces or are for embeddings only; `no_vocab` and `none` can't tokenize.
 */
export const refusedVocabularyModels = ["hybriddna", "no_vocab", "none", "plamo2", "rwkv", "test", "whitespace"] as const;

export interface PreTokenizer {
  /** BOS is put before a text unless the file says otherwise. */
  readonly addBos?: boolean;
  /** There is no default BOS. */
  readonly noDefaultBos?: boolean;
  /** Tokens are raw UTF-8 with U+2581 for a space, not GPT-2's alphabet of 256 characters for bytes. */
  readonly rawUtf8?: boolean;
}

const plain = [
  "a.x-4.0",
  "afmoe",
  "bailingmoe",
  "bailingmoe2",
  "bloom",
  "codeshell",
  "cohere2moe",
  "command-r",
  "dbrx",
  "deepseek-coder",
  "deepseek-llm",
  "deepseek-r1-qwen",
  "deepseek-v3",
  "default",
  "exaone",
  "exaone-moe",
  "exaone4",
  "f2llmv2",
  "falcon",
  "gigachat",
  "gpt-2",
  "gpt-4o",
  "gpt3-finnish",
  "granite-docling",
  "granite-embed-multi-97m",
  "grok-2",
  "hunyuan",
  "hunyuan-dense",
  "hy_v4",
  "jais",
  "jais-2",
  "jina-de",
  "jina-es",
  "jina-v1-en",
  "jina-v2-code",
  "jina-v2-de",
  "jina-v2-es",
  "joyai-llm",
  "kanana2",
  "kimi-k2",
  "kormo",
  "laguna",
  "llada-moe",
  "llama4",
  "megrez",
  "mellum",
  "mellum2",
  "minerva-7b",
  "minicpm5",
  "minimax-m2",
  "modern-bert",
  "mpt",
  "olmo",
  "phi-2",
  "poro-chat",
  "qwen2",
  "qwen35",
  "refact",
  "roberta-bpe",
  "seed-coder",
  "smaug-bpe",
  "smollm",
  "solar-open",
  "spark2_5",
  "stablelm2",
  "starcoder",
  "superbpe",
  "talkie",
  "tiny_aya",
  "trillion",
  "ufakzeka",
  "viking",
  "youtu",
] as const;
const withBos = [
  "chameleon",
  "falcon-h1",
  "falcon3",
  "jina-v5-nano",
  "lfm2",
  "llama-bpe",
  "llama-v3",
  "llama3",
  "midm-2.0",
  "pixtral",
  "tekken",
] as const;

/**
 * What `tokenizer.ggml.pre` may say for byte-pair encodings. `whitespace` is left out: with it the loader's tokenizer aborts on
 * the first space.
 */
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map<string, PreTokenizer>([
  ...plain.map((name) => [name, {}] as const),
  ...withBos.map((name) => [name, { addBos: true }] as const),
  ["chatglm-bpe", { noDefaultBos: true }],
  ["glm4", { noDefaultBos: true }],
  ["gemma4", { addBos: true, rawUtf8: true }],
  ["granite-embed-multi-311m", { addBos: true, rawUtf8: true }],
  ["sarvam-moe", { rawUtf8: true }],
]);
