import type { Message } from "../../chat/index.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { DecodingModel, SequenceOptions } from "../model.ts";
import { type ToyDistribution, ToySequence } from "./toy-sequence.ts";

/** A {@link DecodingModel} over a toy distribution. `sequences` are those it gave out, `asked` with which options. */
export function toyModel(
  tokenizer: Tokenizer,
  toy: Omit<ToyDistribution, "vocabSize">,
): DecodingModel & {
  readonly sequences: ToySequence[];
  readonly asked: SequenceOptions[];
  readonly chat: NonNullable<DecodingModel["chat"]>;
} {
  const sequences: ToySequence[] = [];
  const asked: SequenceOptions[] = [];
  const { vocabSize } = tokenizer;
  return {
    hash: "toy",
    vocabSize,
    contextLength: toy.contextLength ?? 1024,
    tokenizer,
    sequences,
    chat: {
      /** `<bos>` once, then each message as its role's first letter, its text and "|"; the assistant's opening is "a". */
      async render(messages: readonly Message[], { addGenerationPrompt }) {
        const turns = messages.map(({ role, content }) => `${role[0]}${content}|`);
        return `<bos>${turns.join("")}${addGenerationPrompt ? "a" : ""}`;
      },
    },
    asked,
    sequence(options) {
      asked.push(options);
      const sequence = new ToySequence({ ...toy, vocabSize });
      sequences.push(sequence);
      return sequence;
    },
  };
}

/** For guides that are started outside a run. */
export const outsideRun = {
  companion(): never {
    throw new Error("this test has no other model");
  },
  within: <T>(work: (signal: undefined) => Promise<T>) => work(undefined),
};
