import type { DraftFacts, RowResult, Sequence, TokenFact } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { DraftState } from "../drafting/draft.ts";
import { Verifier } from "../drafting/verifier.ts";
import type { StepSampler } from "../sampling/step.ts";
import { AnswerText, type Ending } from "../stop.ts";
import { tokenFact } from "./read-prompt.ts";
import type { Run } from "./search.ts";

/** A token that a walk took, and the text that became certain with it. */
export interface Step {
  readonly fact: TokenFact;
  readonly text: string;
}

/**
 * One answer under way: a token is chosen, appended, evaluated, and so on until something stops it. With a draft, a pass evaluates
 * several. Owns its sampler and its draft's state, not its sequence.
 */
export class Walk {
  readonly sequence: Sequence;
  readonly sampler: StepSampler;
  readonly tokens: TokenFact[] = [];
  /** Text that is certain. */
  text = "";
  /** What ended the answer. */
  ending: Ending | undefined;
  readonly #run: Run;
  readonly #stream: number;
  readonly #answer: AnswerText;
  readonly #draft: DraftState | undefined;
  readonly #verifier: Verifier;
  /** The row after the last token, once it was evaluated; before the first one the prompt's last. */
  #row: RowResult | undefined;

  private constructor(run: Run, sequence: Sequence, sampler: StepSampler, stream: number, draft: DraftState | undefined) {
    const { endTokens, stopTokens, maxTokens } = run.stop;
    this.#run = run;
    this.sequence = sequence;
    this.sampler = sampler;
    this.#stream = stream;
    this.#draft = draft;
    this.#answer = AnswerText.start(run.tokenizer, run.stop);
    this.#verifier = new Verifier({
      ...{ sequence, sampler, maxTokens, top: run.logprobs ?? 0 },
      ...(draft === undefined ? {} : { draft: { name: run.draft!.name, state: draft } }),
      isEnd: (token) => endTokens.has(token) || stopTokens.has(token),
      forward: (request) => run.forward(sequence, request),
    });
  }

  /**
   * @param sequence  the prompt will be or is in it
   * @param stream    which random numbers decide
   */
  static async start(run: Run, sequence: Sequence, sampler: StepSampler, stream: number): Promise<Walk> {
    const { draft, prompt, rules, costCurve, companion } = run;
    const state = await draft?.start(prompt, { rules, stream, companion, ...(costCurve === undefined ? {} : { costCurve }) });
    return new Walk(run, sequence, sampler, stream, state);
  }

  /** Says what the prompt's last row is, before the first step. */
  begin(row: RowResult): void {
    this.#row = row;
  }

  /** One token more; undefined once the deadline has passed. Not after the end. */
  async step(): Promise<Step | undefined> {
    const index = this.tokens.length;
    const last = (this.tokens.at(-1)?.id ?? this.#run.prompt.at(-1)!) as TokenId;
    let row = index === 0 ? this.#row : await this.#verifier.after(last);
    if (row === undefined) return undefined;
    const point = { stream: this.#stream, index };
    let chosen = this.sampler.choose(row, point);
    if (chosen === undefined) {
      row = await this.#verifier.again(last);
      if (row === undefined) return undefined;
      chosen = this.sampler.choose(row, point)!;
    }
    this.sampler.measure(chosen);
    const { text, ending } = this.#answer.push(chosen.token);
    const fact = { ...tokenFact(row, chosen.token, chosen.logit, this.#run.logprobs), ...this.#verifier.sourceOf(chosen.token) };
    this.tokens.push(fact);
    this.text += text;
    this.ending = ending;
    return { fact, text };
  }

  /** The text held back so far, when the answer ends without more tokens. */
  flush(): string {
    return this.#answer.flush();
  }

  /** Leaves in the sequence the prompt and the answer without its last token, and nothing that was only drafted. */
  settle(): void {
    this.#verifier.settle();
  }

  draftFacts(): DraftFacts | undefined {
    return this.#verifier.facts();
  }

  draftReport() {
    return this.#draft?.report?.();
  }

  [Symbol.dispose](): void {
    this.settle();
    this.#draft?.[Symbol.dispose]?.();
    this.sampler[Symbol.dispose]();
  }
}
