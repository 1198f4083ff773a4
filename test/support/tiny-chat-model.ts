import { trainBpe } from "../../src/tokenizer/index.ts";
import { vocabularyMetadata } from "../../src/training/from-scratch.ts";
import { type TinyOptions, writeTinyModel } from "./tiny-model.ts";

const template =
  "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const text = "The quick brown fox jumps over the lazy dog while a hundred clients ask the server for one more answer. ".repeat(8);

/** A tiny random checkpoint that speaks: a byte-level vocabulary of 320 tokens and a ChatML template. */
export async function writeTinyChatModel(path: string, options: TinyOptions & { readonly vocabulary?: string } = {}): Promise<void> {
  const vocabulary = await trainBpe([options.vocabulary?.repeat(8) ?? text], {
    vocabSize: 320,
    specialTokens: ["<|im_end|>", "<|im_start|>"],
  });
  await writeTinyModel(path, {
    vocabSize: vocabulary.tokens.length,
    hiddenSize: 64,
    blocks: 2,
    ...options,
    metadata: {
      ...Object.fromEntries(vocabularyMetadata(vocabulary)),
      "tokenizer.ggml.add_bos_token": { type: "bool", value: false },
      "tokenizer.chat_template": { type: "string", value: template },
      ...options.metadata,
    },
  });
}
