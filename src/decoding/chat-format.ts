import { type ChatRenderer, layOutTools } from "../chat/index.ts";
import { TemplateError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { ChatFormat } from "./model.ts";

/** Of a model file what says how it writes conversations. */
interface TemplateFile {
  readonly path: string;
  readonly metadata: { getString(key: string): string | undefined };
}

/** A file's chat template as decoding wants it. Without one, messages are refused by a TemplateError that names the file. */
export function chatFormat({ path, metadata }: TemplateFile, tokenizer: Tokenizer, renderer: ChatRenderer): ChatFormat {
  const template = metadata.getString("tokenizer.chat_template");
  const written = (token: TokenId | undefined) =>
    token === undefined ? "" : Buffer.from(tokenizer.piece(token, { special: true })).toString();
  return {
    async render(messages, { addGenerationPrompt, tools, signal }) {
      if (template === undefined) throw new TemplateError(`${path} has no chat template: give the prompt as text`);
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
