import type { TokenFact } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { AnswerText, type StopRules } from "../stop.ts";
import type { SearchEvent } from "./search.ts";

/** Shows an answer while several are under way: each token as soon as all of them agree on it. */
export class AgreedText {
  readonly #text: AnswerText;
  #count = 0;

  constructor(tokenizer: Tokenizer, stop: StopRules) {
    this.#text = AnswerText.start(tokenizer, stop);
  }

  /** @param answers  every answer that may still win */
  *show(answers: readonly (readonly TokenFact[])[]): Generator<SearchEvent> {
    const [first, ...others] = answers;
    if (first === undefined) return;
    let count = this.#count;
    while (count < first.length && others.every((tokens) => tokens[count]?.id === first[count]!.id)) count++;
    yield* this.#showUpTo(first, count);
  }

  /** The rest of the answer that won. */
  showAll(winner: readonly TokenFact[]): Generator<SearchEvent> {
    return this.#showUpTo(winner, winner.length);
  }

  /** The text held back, when the answer ends without more tokens. */
  flush(): string {
    return this.#text.flush();
  }

  *#showUpTo(tokens: readonly TokenFact[], count: number): Generator<SearchEvent> {
    for (; this.#count < count; this.#count++) {
      const fact = tokens[this.#count]!;
      yield { kind: "token", index: this.#count, fact, text: this.#text.push(fact.id as TokenId).text };
    }
  }
}
