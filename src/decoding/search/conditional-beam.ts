import { NotFoundError, OptionError } from "../../errors.ts";
import { callable, integer, number, text } from "../method.ts";
import { ofLength, withoutRepeated } from "./attribute.ts";
import { headLogprob } from "./attribute-head.ts";
import { BeamSearch, type Condition, type ConditionedAnswer } from "./beam-search.ts";
import type { Judged } from "./judge.ts";
import { defineSearch, type Run, type SearchEvent, type SearchResult } from "./search.ts";

/** log P(the finished answer has the attribute | the answer so far), <= 0; -Infinity lets the hypothesis go. */
export type AttributeFunction = (answer: Judged) => number | Promise<number>;

interface Settings {
  readonly width: number;
  readonly length: number;
  readonly best: number;
  readonly min: number;
  readonly max: number;
  readonly ngram: number;
  readonly head: string;
  readonly attribute: AttributeFunction | undefined;
  readonly weight: number;
  readonly look: number;
}

const none = { min: 0, max: 2 ** 31, ngram: 0, head: "" };

/**
 * Beam search for argmax p(answer | prompt, attribute): hypotheses are ranked by log p(answer so far) + weight · log P(attribute | answer
 * so far), the second term computed anew at every step, never summed. Attributes that a token can make unattainable are masks, which
 * lose no probability but that of answers without the attribute: with a beam that holds every answer the result is the conditional mode.
 */
async function* search(run: Run, settings: Settings): AsyncGenerator<SearchEvent, SearchResult> {
  const { min, max, ngram, width, length, best } = settings;
  const guides = [...run.rules.guides];
  if (min > none.min || max < none.max) {
    if (run.stop.endTokens.size + run.stop.stopTokens.size === 0)
      throw new OptionError("search", "conditional-beam: min and max are about answers that end, and end tokens are ignored here");
    if (max < none.max && max >= run.stop.maxTokens)
      throw new OptionError(
        "search",
        `conditional-beam: max must be below maxTokens (${run.stop.maxTokens}), which counts the end token, got ${max}`,
      );
    guides.push(ofLength(min, max));
  }
  if (ngram > 0) guides.push(withoutRepeated(ngram));
  const condition = await conditionOf(run, settings);
  const given = { ...run, rules: { ...run.rules, guides } };
  return yield* BeamSearch.search(given, { width, groups: 1, diversity: 0, length, best }, condition);
}

/** What is weighed, beside what is ruled out. */
async function conditionOf(run: Run, { head: name, attribute, weight, look }: Settings): Promise<Condition | undefined> {
  if (weight === 0 || (name === "" && attribute === undefined)) return undefined;
  const head = name === "" ? undefined : await run.attributeHead?.(name);
  if (name !== "" && head === undefined)
    throw new NotFoundError(`this model has no head "${name}" yet: fit one by chainrule calibrate --attribute ${name}`);
  if (head !== undefined) {
    const { auc, numHeldOut } = head.facts;
    const because = `it orders ${(100 * auc).toFixed(1)} % of pairs of ${numHeldOut} held-out states rightly${auc < 0.6 ? ": hardly more than chance" : ""}`;
    run.reportChoices([{ what: `attribute ${name}`, chosen: "a linear head on last states", because }]);
  }
  return {
    ...{ weight, look, readsState: head !== undefined },
    async logprob(answer: ConditionedAnswer) {
      const byHead = head === undefined ? 0 : headLogprob(head, answer.state!);
      if (attribute === undefined) return byHead;
      const { text, tokens, isComplete } = answer;
      const value = await attribute({ text, tokens, isComplete });
      if (!(value <= 0)) throw new OptionError("attribute", `must give a log-probability, at most 0, gave ${String(value)}`);
      return byHead + value;
    },
  };
}

export const conditionalBeam = defineSearch({
  name: "conditional-beam",
  summary: "a beam for the most probable answer that has an attribute: a length, no repetition, a fitted head, a function",
  source: { title: "Making the Most of your Model; MAP's not dead yet", arxiv: "2311.08817" },
  parameters: {
    width: integer({ min: 1, max: 64, default: 4, doc: "answers kept side by side" }),
    length: number({ min: -4, max: 4, default: 0, doc: "scores are divided by the number of tokens to this power" }),
    best: integer({ min: 1, max: 64, default: 1, doc: "answers given; those after the first are the result's alternatives" }),
    min: integer({ min: 0, max: 2 ** 31, default: none.min, doc: "fewest tokens of the answer, its end token not counted" }),
    max: integer({ min: 0, max: 2 ** 31, default: none.max, doc: "most tokens of an answer that ends" }),
    ngram: integer({ min: 0, max: 64, default: none.ngram, doc: "no sequence of so many tokens stands in the answer twice; 0 is off" }),
    head: text({ default: none.head, doc: "a head that chainrule calibrate --attribute fitted for this model, such as fluent" }),
    attribute: callable<AttributeFunction>({ doc: "gives log P(attribute | answer so far), at most 0" }),
    weight: number({ min: 0, max: 100, default: 1, doc: "of head and attribute; 0 leaves them out" }),
    look: integer({
      min: 1,
      max: 1024,
      default: 8,
      doc: "continuations weighed at each step, those of all hypotheses together, at least width",
    }),
  },
  example: { width: 2, ngram: 2 },
  neutral: { width: 1, weight: 0 },
  needs: ["input", "want.logits", "want.top", "want.hidden", "fork", "rewind"],
  refuses: { draft: "its branches fill the pass that a draft would fill, and a draft is lost wherever a branch forks" },
  create(settings) {
    const { width, best, min, max, look } = settings;
    if (best > width) throw new OptionError("search", `conditional-beam: best must be at most width (${width}), got ${best}`);
    if (min > max) throw new OptionError("search", `conditional-beam: min must be at most max (${max}), got ${min}`);
    return (run) => search(run, { ...settings, look: Math.max(look, width) });
  },
});
