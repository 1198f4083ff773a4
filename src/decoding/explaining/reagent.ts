import type { AttributionFacts, EffortFact, ForwardRequest, ForwardResult, TokenAttribution } from "../../engine/index.ts";
import { NativeError, OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { pieceText } from "../../tokenizer/index.ts";
import { boolean, choice, integer, number } from "../method.ts";
import { layoutOfRows } from "../prompting/layout.ts";
import { RandomNumbers } from "../sampling/random.ts";
import { defineExplainer, type ExplainContext } from "./explainer.ts";
import { SoftFaithfulness } from "./faithfulness.ts";
import { modelReplacements, type Replacements, vocabularyReplacements } from "./replacements.ts";
import { drawReplaced, largest, ReplacementScores } from "./scores.ts";

interface Settings {
  readonly replaced: number;
  readonly tokens: number;
  readonly seconds: number;
  readonly ratio: number;
  readonly by: "model" | "vocabulary";
  readonly rationale: number;
  readonly k: number;
  readonly seed: number;
  readonly faithfulness: boolean;
}

export const reagent = defineExplainer({
  name: "reagent",
  summary: "what each token of the answer owes to the prompt's, by replacing random subsets of these and watching its probability",
  source: { title: "ReAGent: A Model-agnostic Feature Attribution Method for Generative Language Models", arxiv: "2402.00794" },
  parameters: {
    replaced: integer({ min: 1, max: 1_000_000, default: 300, doc: "replaced prompts; each counts for all tokens explained" }),
    tokens: integer({ min: 1, max: 100_000, default: 8, doc: "tokens of the answer that are explained: those the prompt says most about" }),
    seconds: number({ min: 0, isMinOpen: true, max: 86_400, default: 60, doc: "ends it, with what there is" }),
    ratio: number({ min: 0, isMinOpen: true, max: 1, default: 0.3, doc: "chance of a token to be replaced" }),
    by: choice<"model" | "vocabulary">({
      choices: ["model", "vocabulary"],
      default: "model",
      doc: "what replaces a token: what the model expects in its place, or any token",
    }),
    rationale: integer({ min: 1, max: 100_000, default: 5, doc: "the most important tokens, which are tested for whether they suffice" }),
    k: integer({ min: 1, max: 64, default: 3, doc: "they suffice if the explained token is among the model's first k" }),
    seed: integer({ min: 0, max: Number.MAX_SAFE_INTEGER, default: 0, doc: "of all that is drawn" }),
    faithfulness: boolean({ default: false, doc: "also measure Soft-NS and Soft-NC, beside a random attribution" }),
  },
  example: { replaced: 12, tokens: 2 },
  needs: ["input", "want.logits", "want.scores"],
  create: (settings) => ({ name: "reagent", explain: (context) => new ReAGent(context, settings).run() }),
});

/** Replaced prompts in flight at once, for the scheduler to fuse. */
const concurrency = 4;
/** Wholly replaced prompts by which the tokens are chosen. */
const numBaselines = 4;
/** Passes of the paper's setting: 5 chains of at most 3,000 replacements, each with a test of the rationale, token by token. */
const paperPasses = 5 * 3000 * 2;

interface Target {
  readonly index: number;
  readonly id: TokenId;
  readonly probability: number;
  readonly information: number;
  readonly scores: ReplacementScores;
}

/**
 * One explanation. A replaced prompt with the answer behind it is one request, whose rows give the probability of every explained token: so a
 * replacement counts for all of them, where the paper runs each token by itself.
 */
class ReAGent {
  readonly #context: ExplainContext;
  readonly #settings: Settings;
  readonly #random: RandomNumbers;
  readonly #isReplaceable: readonly boolean[];
  #passes = 0;
  #startMs = 0;
  #msPerPrompt = 0;

  constructor(context: ExplainContext, settings: Settings) {
    this.#context = context;
    this.#settings = settings;
    this.#random = new RandomNumbers(settings.seed);
    this.#isReplaceable = context.layout.tokens.map((token) => this.#isText(token));
    if (!this.#isReplaceable.includes(true))
      throw new OptionError("explain", "the prompt has no token with a text, so none can be replaced");
  }

  async *run(): AsyncGenerator<EffortFact, AttributionFacts> {
    const { replaced, seconds } = this.#settings;
    const { answer, layout, model } = this.#context;
    this.#startMs = performance.now();
    const { replacements, logprobs } = await this.#readWhole();
    const targets = await this.#choose(replacements, logprobs);
    // the prompts read for the choice are as long as all that follow: what one of them took says what is to come
    const perPrompt = this.#msPerPrompt;
    const planned = {
      ...{ passes: replaced + targets.length, ms: (replaced + targets.length) * perPrompt },
      basis: `${perPrompt.toFixed(0)} ms per prompt, as the ${numBaselines} before took`,
    };
    const effort = (done: number, endedBy?: "seconds"): EffortFact => ({
      ...{ method: "reagent", unit: "replaced prompts", done, planned: replaced, passes: this.#passes, ms: this.#elapsed() },
      ...{ expected: planned, limits: { seconds }, ...(endedBy === undefined ? {} : { endedBy }) },
      paper: {
        setting: `5 chains of up to 3,000 replacements with a test each, for each of ${answer.length} tokens`,
        ...{ passes: paperPasses * answer.length, ms: paperPasses * answer.length * perPrompt },
      },
    });
    yield effort(0);
    let done = 0;
    let batchMs = perPrompt * concurrency;
    // the tests of the rationales have their share of the time, too; the first batch runs in any case, or there would be nothing to say
    const hasTime = () => this.#elapsed() + (done === 0 ? 0 : batchMs + targets.length * (batchMs / concurrency)) < 1000 * seconds;
    while (done < replaced && hasTime()) {
      const count = Math.min(concurrency, replaced - done);
      const before = performance.now();
      await this.#replace(targets, replacements, count);
      batchMs = Math.max(performance.now() - before, 0.5 * batchMs);
      done += count;
      yield effort(done);
    }
    const tokens: TokenAttribution[] = [];
    for (const target of targets) tokens.push(await this.#attribute(target, replacements));
    const text = (token: TokenId) => pieceText(model.tokenizer, token);
    return {
      ...{ method: "reagent", prompt: layout.tokens.map(text), tokens },
      effort: effort(done, done < replaced ? "seconds" : undefined),
    };
  }

  /** The answer's log-probabilities, and what may stand in place of each token of the prompt. */
  async #readWhole(): Promise<{ replacements: Replacements; logprobs: readonly number[] }> {
    const { layout, answer, model } = this.#context;
    const { tokens } = layout;
    const isUsable = (token: TokenId) => this.#isText(token);
    const vocabulary = vocabularyReplacements(tokens, Math.min(model.vocabSize, model.tokenizer.vocabSize), isUsable);
    const first = tokens.length - 1;
    const isByModel = this.#settings.by === "model";
    const rows = isByModel ? Array.from({ length: first + answer.length }, (_, row) => row) : answer.map((_, row) => first + row);
    const scores = rows.map((row) => (row < first ? [] : [answer[row - first]!]));
    const result = await this.#forward(tokens, { logits: rows, top: Math.min(64, model.vocabSize), scores });
    const byRow = new Map(result.rows.map((row) => [row.row, row]));
    const logprobs = answer.map((_, index) => {
      const { scores, candidates } = byRow.get(first + index)!;
      return scores![0]! - candidates!.logSumExp;
    });
    if (!logprobs.every((value) => !Number.isNaN(value))) throw new NativeError("the model returned logits that are not finite");
    if (!isByModel) return { replacements: vocabulary, logprobs };
    // where a token does not follow the one before it, as in a set, that one's row still says what may come next
    const expected = tokens.map((_, index) => byRow.get(index - 1)?.candidates);
    return { replacements: modelReplacements(tokens, expected, vocabulary, isUsable), logprobs };
  }

  /** The tokens that lose most when the whole prompt is replaced, in the order of the answer. */
  async #choose(replacements: Replacements, logprobs: readonly number[]): Promise<Target[]> {
    const { answer } = this.#context;
    const all = [...answer.keys()];
    const prompts = Array.from({ length: numBaselines }, () => this.#replacedPrompt(this.#isReplaceable, replacements));
    const before = performance.now();
    const baselines = await this.#probabilities(all, prompts);
    this.#msPerPrompt = (performance.now() - before) / numBaselines;
    const information = logprobs.map(
      (logprob, index) =>
        logprob - Math.log(Math.max(baselines.reduce((sum, row) => sum + row[index]!, 0) / numBaselines, Number.MIN_VALUE)),
    );
    return largest(
      information,
      this.#settings.tokens,
      all.map(() => true),
    )
      .sort((a, b) => a - b)
      .map((index) => ({
        ...{ index, id: answer[index]!, probability: Math.exp(logprobs[index]!), information: information[index]! },
        scores: new ReplacementScores(this.#isReplaceable),
      }));
  }

  async #replace(targets: readonly Target[], replacements: Replacements, count: number): Promise<void> {
    const masks = Array.from({ length: count }, () => drawReplaced(this.#isReplaceable, this.#settings.ratio, this.#random));
    const prompts = masks.map((mask) => this.#replacedPrompt(mask, replacements));
    const rows = await this.#probabilities(
      targets.map(({ index }) => index),
      prompts,
    );
    for (const [place, mask] of masks.entries())
      for (const [number, { scores, probability }] of targets.entries()) scores.add(mask, probability - rows[place]![number]!);
  }

  async #attribute(target: Target, replacements: Replacements): Promise<TokenAttribution> {
    const { model, layout } = this.#context;
    const { index, id, probability, information } = target;
    const importance = target.scores.importance();
    const rationale = largest(importance, this.#settings.rationale, this.#isReplaceable);
    const outside = this.#isReplaceable.map((own, place) => own && !rationale.includes(place));
    const kept = this.#replacedPrompt(outside, replacements);
    const { rows } = await this.#forward(kept, { logits: [layout.tokens.length - 1 + index], top: this.#settings.k });
    const faithfulness = this.#settings.faithfulness
      ? await new SoftFaithfulness(this.#context, this.#random).measure(index, importance, this.#isReplaceable)
      : undefined;
    return {
      ...{ index, id, text: pieceText(model.tokenizer, id), probability, information },
      ...{ scores: target.scores.means(), importance, rationale, isSufficient: rows[0]!.candidates!.ids.includes(id) },
      ...(faithfulness === undefined ? {} : { faithfulness }),
    };
  }

  #replacedPrompt(isReplaced: readonly boolean[], replacements: Replacements): TokenId[] {
    const { tokens } = this.#context.layout;
    return tokens.map((token, index) => (isReplaced[index] ? replacements.draw(index, this.#random) : token));
  }

  /** [prompts][indices] probabilities of tokens of the answer after each prompt. */
  async #probabilities(indices: readonly number[], prompts: readonly (readonly TokenId[])[]): Promise<number[][]> {
    const { layout, answer } = this.#context;
    const want = {
      logits: indices.map((index) => layout.tokens.length - 1 + index),
      top: 1,
      scores: indices.map((index) => [answer[index]!]),
    };
    const results = await Promise.all(prompts.map((prompt) => this.#forward(prompt, want)));
    return results.map(({ rows }) => rows.map(({ scores, candidates }) => Math.exp(scores![0]! - candidates!.logSumExp)));
  }

  async #forward(prompt: readonly TokenId[], want: NonNullable<ForwardRequest["want"]>): Promise<ForwardResult> {
    const { open, layout, answer, signal } = this.#context;
    const abort = signal === undefined ? {} : { signal };
    const last = (want.logits as readonly number[]).at(-1)!;
    const input = [...prompt, ...answer].slice(0, last + 1);
    const sequence = await open(input.length);
    try {
      // rows of the answer stand where they would as it is written: one after the other behind the prompt
      const { positions, ...visible } = layoutOfRows(layout, 0, Math.min(input.length, prompt.length));
      const after = positions?.at(-1) ?? 0;
      const placed =
        positions === undefined ? {} : { positions: [...positions, ...input.slice(prompt.length).map((_, index) => after + 1 + index)] };
      const result = await sequence.forward({ input, ...placed, ...visible, want, ...abort });
      this.#passes += 1;
      return result;
    } finally {
      sequence[Symbol.dispose]();
    }
  }

  /** Whether a token has a text: others (BOS, a template's marks) are never replaced and replace none. */
  #isText(token: TokenId): boolean {
    const { tokenizer } = this.#context.model;
    return token < tokenizer.vocabSize && tokenizer.piece(token, { special: false }).length > 0;
  }

  #elapsed(): number {
    return performance.now() - this.#startMs;
  }
}
