import { type ChatRenderer, layOutTools } from "../chat/index.ts";
import type { TokenId } from "../token.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { ChatFormat } from "./model.ts";

/** Of a model file what says how it writes conversations. */
interface TemplateFile {
  readonly metadata: { getString(key: string): string | undefined };
}

/** A file's chat template as decoding wants it; undefined for a model that is no chat model. */
export function chatFormat({ metadata }: TemplateFile, tokenizer: Tokenizer, renderer: ChatRenderer): ChatFormat | undefined {
  const template = metadata.getString("tokenizer.chat_template");
  if (template === undefined) return undefined;
  const written = (token: TokenId | undefined) =>
    token === undefined ? "" : Buffer.from(tokenizer.piece(token, { special: true })).toString();
  return {
    async render(messages, { addGenerationPrompt, tools, signal }) {
      return renderer.render(
        {
          template,
          ...layOutTools(template, messages, tools),
          addGenerationPrompt,
          bosToken: written(tokenizer.bos),
          eosToken: written(tokenizer.eos),
        },
        signal === undefined ? {} : { signal },
      );
    },
  };
}
