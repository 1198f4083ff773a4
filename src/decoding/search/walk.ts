import type { DraftFacts, RowResult, Sequence, TokenFact } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { DraftState } from "../drafting/draft.ts";
import { Verifier } from "../drafting/verifier.ts";
import type { StepSampler } from "../sampling/step.ts";
import { AnswerText, type Ending } from "../stop.ts";
import type { Branch } from "./branch.ts";
import { tokenFact } from "./read-prompt.ts";
import type { Run } from "./search.ts";

/** A token that a walk took, and the text that became certain with it. */
export interface Step {
  readonly fact: TokenFact;
  readonly text: string;
}

/**
 * One answer under way: a token is chosen, appended, evaluated, and so on until something stops it. With a draft, a pass evaluates
 * several. Owns its draft's state, not its sequence and sampler.
 */
export class Walk {
  readonly sequence: Sequence;
  readonly sampler: StepSampler;
  readonly tokens: TokenFact[];
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
  /** Whether the next token is taken of {@link #row}, and nothing need be evaluated before. */
  #isAtRow: boolean;

  private constructor(run: Run, parts: WalkParts) {
    const { sequence, sampler, stream, draft, answer, tokens, row } = parts;
    const { endTokens, stopTokens, maxTokens } = run.stop;
    this.#run = run;
    this.sequence = sequence;
    this.sampler = sampler;
    this.#stream = stream;
    this.#draft = draft;
    this.#answer = answer;
    this.#row = row;
    this.tokens = [...tokens];
    this.#isAtRow = row !== undefined;
    this.#verifier = new Verifier({
      ...{ sequence, sampler, maxTokens, length: tokens.length, top: run.logprobs ?? 0 },
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
    const answer = AnswerText.start(run.tokenizer, run.stop);
    return new Walk(run, { sequence, sampler, stream, draft: await startDraft(run, stream), answer, tokens: [], row: undefined });
  }

  /** Goes on from a branch that was read to its end, on its sequence and sampler, with the plain answer's random numbers. */
  static async from(run: Run, { sequence, sampler, answer, tokens, row }: Branch): Promise<Walk> {
    const draft = await startDraft(run, 0);
    for (const { id } of tokens) draft?.advance(id as TokenId);
    return new Walk(run, { sequence, sampler, stream: 0, draft, answer: answer.fork(), tokens, row });
  }

  /** Says what the prompt's last row is, before the first step. */
  begin(row: RowResult): void {
    this.#row = row;
    this.#isAtRow = true;
  }

  /** One token more; undefined once the deadline has passed. Not after the end. */
  async step(): Promise<Step | undefined> {
    const index = this.tokens.length;
    const last = (this.tokens.at(-1)?.id ?? this.#run.prompt.at(-1)!) as TokenId;
    let row = this.#isAtRow ? this.#row : await this.#verifier.after(last);
    this.#isAtRow = false;
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
  }
}

interface WalkParts {
  readonly sequence: Sequence;
  readonly sampler: StepSampler;
  readonly stream: number;
  readonly draft: DraftState | undefined;
  readonly answer: AnswerText;
  /** Of the answer so far. */
  readonly tokens: readonly TokenFact[];
  readonly row: RowResult | undefined;
}

async function startDraft(
  { draft, prompt, rules, costCurve, transferMaps, companion }: Run,
  stream: number,
): Promise<DraftState | undefined> {
  return draft?.start(prompt, {
    ...{ rules, stream, companion },
    ...(costCurve === undefined ? {} : { costCurve }),
    ...(transferMaps === undefined ? {} : { transferMaps }),
  });
}
