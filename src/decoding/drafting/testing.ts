import type { TokenId } from "../../token.ts";
import { decode, type GenerateResult } from "../generate.ts";
import type { DecodingModel } from "../model.ts";
import { type GenerateOptions, resolveMaxTokens, resolveOptions } from "../options.ts";
import type { Draft, DraftLimits, DraftState, DraftTree } from "./draft.ts";

/** A draft that proposes whatever `propose` says of the tokens so far, good or bad. */
export function scriptedDraft(propose: (tokens: readonly TokenId[], limits: DraftLimits) => DraftTree): Draft {
  class Scripted implements DraftState {
    readonly #tokens: TokenId[];
    readonly #numPrompt: number;
    constructor(tokens: readonly TokenId[], numPrompt: number) {
      this.#tokens = [...tokens];
      this.#numPrompt = numPrompt;
    }
    propose(limits: DraftLimits): DraftTree {
      return propose(this.#tokens, limits);
    }
    advance(token: TokenId): void {
      this.#tokens.push(token);
    }
    rewind(length: number): void {
      this.#tokens.length = this.#numPrompt + length;
    }
    fork(): Scripted {
      return new Scripted(this.#tokens, this.#numPrompt);
    }
  }
  return { name: "scripted", start: (prompt) => new Scripted(prompt, prompt.length) };
}

/** A tree of up to `count` tokens that depends on nothing but `random`: branches, twins and tokens that end the answer. */
export function randomTree(random: () => number, count: number, vocabSize: number): DraftTree {
  const size = Math.floor(random() * (count + 1));
  return {
    tokens: Array.from({ length: size }, () => Math.floor(random() * vocabSize) as TokenId),
    parents: Array.from({ length: size }, (_, node) => Math.floor(random() * (node + 1)) - 1),
  };
}

/** An answer with a draft that is no registered method. */
export async function generateWith(
  draft: Draft | undefined,
  model: DecodingModel,
  prompt: readonly TokenId[],
  options: GenerateOptions,
): Promise<GenerateResult> {
  const plan = { ...resolveOptions(options, model), draft };
  const maxTokens = resolveMaxTokens(plan.maxTokens, prompt.length, model.contextLength);
  const events = decode(model, {
    ...{ plan, startMs: performance.now(), layout: { kind: "laid-out", tokens: prompt }, maxTokens, numCached: 0 },
    open: () => model.sequence({ maxLength: prompt.length + maxTokens }),
    close: (sequence) => {
      lengths.set(model, sequence.length);
      sequence[Symbol.dispose]();
    },
  });
  for await (const event of events) if (event.kind === "finish") return event.result;
  throw new Error("no finish");
}

/** How many entries a model's sequence held when its last answer by {@link generateWith} ended. */
export const lengths = new WeakMap<DecodingModel, number>();
