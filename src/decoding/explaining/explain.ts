import type { AttributionFacts, EffortFact } from "../../engine/index.ts";
import { ContextOverflowError, OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { type GenerateResult, generate } from "../generate.ts";
import { type MethodSpec, parseMethod } from "../method.ts";
import type { DecodingModel } from "../model.ts";
import { type GenerateOptions, resolveOptions, sequencesOf } from "../options.ts";
import { layOutPrompt, type Prompt } from "../prompting/prompt.ts";
import { registry } from "../registry.ts";

export interface ExplainOptions extends Omit<GenerateOptions, "explain"> {
  /** How. Default "reagent". */
  readonly method?: MethodSpec;
  /** An answer to explain, as text that follows the prompt or as tokens. Default: the model's own. Only options about the model and the prompt go with it. */
  readonly answer?: string | readonly TokenId[];
  /** Told what is expected before it begins, and how far it came. */
  readonly onEffort?: (effort: EffortFact) => void;
}

export interface Explanation {
  /** The answer that was explained. */
  readonly text: string;
  readonly tokens: readonly TokenId[];
  readonly attribution: AttributionFacts;
  /** Of the answer, where it is the model's own. */
  readonly result?: GenerateResult;
}

/**
 * What each token of an answer owes to the prompt's tokens. Ends at the method's time limit with what there is.
 *
 * @throws what `generate` throws; OptionError for an empty answer, or options about answers beside one that is given
 */
export async function explain(model: DecodingModel, prompt: Prompt, options: ExplainOptions = {}): Promise<Explanation> {
  const { method = "reagent", answer, onEffort, ...rest } = options;
  if (answer !== undefined) return explainGiven(model, prompt, { method, answer, ...(onEffort === undefined ? {} : { onEffort }) }, rest);
  for await (const event of generate(model, prompt, { ...rest, explain: method })) {
    if (event.kind === "effort" && event.fact.method === nameOf(method)) onEffort?.(event.fact);
    if (event.kind !== "finish") continue;
    const { text, tokens, facts } = event.result;
    if (facts.attribution === undefined) {
      const { because } = facts.choices.find(({ what }) => what === "explain")!;
      throw new OptionError("explain", `nothing was explained: ${because}`);
    }
    return { text, tokens, attribution: facts.attribution, result: event.result };
  }
  throw new Error("internal: a run ended without a finish event");
}

/** Options that say something where the answer is given, too. */
const optionsOfAnyAnswer: readonly string[] = ["signal", "parseSpecial", "adapter", "priority", "prefixKey"];

async function explainGiven(
  model: DecodingModel,
  prompt: Prompt,
  { method, answer, onEffort }: Required<Pick<ExplainOptions, "method" | "answer">> & Pick<ExplainOptions, "onEffort">,
  rest: GenerateOptions,
): Promise<Explanation> {
  const other = Object.keys(rest).find((option) => !optionsOfAnyAnswer.includes(option));
  if (other !== undefined) throw new OptionError(other, "is about an answer of the model's; this one is given");
  const plan = resolveOptions(rest, model);
  const { signal, parseSpecial } = plan;
  const abort = signal === undefined ? {} : { signal };
  const layout = await layOutPrompt(model, prompt, { ...(parseSpecial === undefined ? {} : { parseSpecial }), ...abort });
  const tokens = typeof answer === "string" ? model.tokenizer.encode(answer, { bos: false }) : [...answer];
  if (tokens.length === 0) throw new OptionError("answer", "is empty; it needs at least one token");
  const neededTokens = layout.tokens.length + tokens.length;
  if (neededTokens > model.contextLength) {
    const message = `prompt and answer have ${neededTokens} tokens, the context holds ${model.contextLength}`;
    throw new ContextOverflowError(message, { neededTokens, contextLength: model.contextLength });
  }
  const parsed = parseMethod(registry.explain, method, "explain");
  const open = sequencesOf(model, plan, abort);
  const efforts = parsed.method.create(parsed.values).explain({ model, open, layout, answer: tokens, ...abort });
  for (;;) {
    const next = await efforts.next();
    if (next.done === true) return { text: model.tokenizer.decode(tokens), tokens, attribution: next.value };
    onEffort?.(next.value);
  }
}

function nameOf(method: MethodSpec): string {
  return typeof method === "string" ? method.split(",")[0]!.trim() : method.name;
}
