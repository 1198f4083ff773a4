import { UnsupportedError } from "../errors.ts";
import type { VocabularyFacts } from "../weights/index.ts";

/**
 * Pre-tokenizers whose patterns libllama of the pinned build matches with code of its own, or one character at a time. All
 * others go through the C++ library's regular expressions, which recurse once per matched character: about 6,000 letters
 * without a space overflow the stack and end the process (measured with a stack of 2 MiB, 352 bytes per character).
 * @see src/llama-vocab.cpp (`llm_tokenizer_bpe`) and src/unicode.cpp (`unicode_regex_split_custom`) of llama.cpp
 */
const withoutRecursion: ReadonlySet<string> = new Set([
  // Llama 3's pattern
  ...["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
  ...["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
  // GPT-2's
  ...["gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0", "mellum", "modern-bert", "jina-v1-en"],
  ...["jina-v2-code", "roberta-bpe", "exaone4", "mpt", "olmo", "jais", "trillion", "granite-docling"],
  // single digits, then GPT-2's
  ...["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
  // Qwen's
  ...["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2", "qwen35"],
  // lines
  ...["gemma4", "granite-embed-multi-311m", "sarvam-moe", "laguna"],
]);

/** Its pattern matches whole sentences of single letters, so that no bound on words makes it safe. */
const unsafe: ReadonlySet<string> = new Set(["exaone-moe"]);

/** A third of what overflows the stack. */
const longestStretch = 2048;
const tooLong = new RegExp(`[^\\t-\\r ]{${longestStretch + 1}}|[\\s\\u0085]{${longestStretch + 1}}`);

/** Whether a text's long words must be refused before libllama sees them. @throws UnsupportedError if that would not suffice */
export function recursesOnWords({ model, preTokenizer }: VocabularyFacts): boolean {
  if (model !== "gpt2" && model !== "gemma4") return false; // no patterns
  const name = preTokenizer ?? (model === "gemma4" ? "gemma4" : "default");
  if (unsafe.has(name)) {
    throw new UnsupportedError(`the pre-tokenizer ${name} is not supported: a short hostile text overflows the native stack`);
  }
  return !withoutRecursion.has(name);
}

/** @throws RangeError if `text` has a stretch without white space, or of nothing else, that a recursing pattern can't take */
export function refuseLongStretches(text: string): void {
  const match = tooLong.exec(text);
  if (match !== null) {
    const what = /^\s/.test(match[0]) ? "white space" : "text without a space";
    throw new RangeError(
      `more than ${longestStretch} characters of ${what} at ${match.index}: this model's tokenizer would overflow the native stack`,
    );
  }
}
