import type { Message } from "../../chat/index.ts";
import type { ChoiceFact } from "../../engine/index.ts";
import { OptionError } from "../../errors.ts";
import { boolean, type Example, examples, integer, optional, show, text } from "../method.ts";
import { philox4x32 } from "../sampling/random.ts";
import { defineLayout, type LaidOut, type LayoutContext } from "./layout.ts";
import { encodePlain, isMessages } from "./plain.ts";
import { encodeParts, layOutParts, type Part } from "./set.ts";

export type { Example };

interface Settings {
  readonly examples: readonly Example[];
  readonly k: number | undefined;
  readonly template: string;
  readonly separator: string;
  readonly description: string;
  readonly seed: number | undefined;
  readonly anyOrder: boolean;
}

export const fewShot = defineLayout({
  name: "few-shot",
  summary: "k solved examples before the question, by a template; before messages they are turns of the conversation",
  source: { title: "Language Models are Few-Shot Learners", arxiv: "2005.14165" },
  parameters: {
    examples: examples({ doc: "what the model is shown" }),
    k: optional(integer({ min: 0, max: 10_000, doc: "how many are shown; left out all; 0 is the question alone" })),
    template: text({
      default: "Q: {input}\nA: {output}",
      doc: "of an example; the question is laid out by what stands before {output}, without the space at its end",
    }),
    separator: text({ default: "\n\n", doc: "stands between examples" }),
    description: text({ default: "", doc: "of the task, before the examples; before messages a system message" }),
    seed: optional(integer({ min: 0, max: Number.MAX_SAFE_INTEGER, doc: "draws which k, and their order; left out the first in theirs" })),
    anyOrder: boolean({ default: false, doc: "lay the examples out as a set, so that their order can't matter" }),
  },
  example: {
    examples: [
      { input: "the quick brown", output: "fox" },
      { input: "the lazy", output: "dog" },
    ],
  },
  neutral: { examples: [], template: "{input}{output}" },
  needs: ["input", "positions", "visible"],
  create(settings) {
    const { template, k, examples } = settings;
    if (template.split("{input}").length !== 2 || template.split("{output}").length !== 2)
      throw new OptionError("layout", `few-shot: template must hold {input} once and {output} once, got ${show(template)}`);
    if (template.indexOf("{output}") < template.indexOf("{input}"))
      throw new OptionError(
        "layout",
        `few-shot: template must have {input} before {output}, which the model is to write, got ${show(template)}`,
      );
    if (k !== undefined && k > examples.length)
      throw new OptionError("layout", `few-shot: k must be an integer in [0, ${examples.length}], the number of examples, got ${k}`);
    return { name: "few-shot", layOut: (context) => layOutExamples(context, settings) };
  },
});

async function layOutExamples(context: LayoutContext, settings: Settings): Promise<Omit<LaidOut, "kind">> {
  const { input, maxPromptTokens = Number.POSITIVE_INFINITY } = context;
  if (typeof input !== "string" && !isMessages(input)) throw new OptionError("prompt", "few-shot lays out text or messages");
  const chosen = choose(settings);
  // whole examples are left out from the first on, as long as the prompt is too long
  for (let from = 0; ; from++) {
    const shown = chosen.slice(from);
    const laidOut = isMessages(input) ? await asTurns(context, input, shown, settings) : asText(context, input, shown, settings);
    if (laidOut.tokens.length <= maxPromptTokens || shown.length === 0)
      return { ...laidOut, choices: choiceOf(shown.length, settings, from) };
  }
}

function choose({ examples, k, seed }: Settings): readonly Example[] {
  const count = k ?? examples.length;
  if (seed === undefined) return examples.slice(0, count);
  const order = [...examples.keys()];
  for (let index = 0; index < count; index++) {
    const [word] = philox4x32([index, 0, 0, 0], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);
    const other = index + (word! % (order.length - index));
    [order[index], order[other]] = [order[other]!, order[index]!];
  }
  return order.slice(0, count).map((index) => examples[index]!);
}

function asText(context: LayoutContext, question: string, shown: readonly Example[], settings: Settings) {
  const { template, separator, description, anyOrder } = settings;
  const { encoder, parseSpecial = false } = context;
  const solved = shown.map((example) => render(template, example) + separator);
  const head = description === "" ? "" : description + separator;
  // the space before an answer belongs to the answer: a prompt that ends with it would be cut where no tokenizer cuts
  const asked = render(template.slice(0, template.indexOf("{output}")).trimEnd(), { input: question, output: "" });
  if (!anyOrder || shown.length === 0) {
    const whole = [head, ...solved, asked].join("");
    return { tokens: encoder.tokenizer.encode(whole, { special: parseSpecial }) };
  }
  const parts: Part<string>[] = [head, solved, asked];
  return layOutParts(encodeParts(context, parts, { special: parseSpecial, bos: encoder.tokenizer.addBos }));
}

/** The values are put in as they stand: what they hold of `{input}` or `$&` means nothing. */
function render(template: string, { input, output }: Example): string {
  return template
    .split(/(\{input\}|\{output\})/)
    .map((piece) => ({ "{input}": input, "{output}": output })[piece] ?? piece)
    .join("");
}

async function asTurns(context: LayoutContext, messages: readonly Message[], shown: readonly Example[], settings: Settings) {
  if (settings.anyOrder) throw new OptionError("layout", "few-shot: anyOrder needs a text prompt; turns of a conversation have an order");
  const turns = shown.flatMap(({ input, output }): Message[] => [
    { role: "user", content: input },
    { role: "assistant", content: output },
  ]);
  const isSystem = ({ role }: Message) => role === "system" || role === "developer";
  const numSystem = messages.findIndex((message) => !isSystem(message));
  const own = numSystem === -1 ? messages.length : numSystem;
  if (settings.description !== "" && own > 0)
    throw new OptionError("layout", "few-shot: description and a system message say the same twice; leave one out");
  const description: Message[] = settings.description === "" ? [] : [{ role: "system", content: settings.description }];
  const { encoder, input: _, maxPromptTokens: __, ...options } = context;
  const tokens = await encodePlain(encoder, [...description, ...messages.slice(0, own), ...turns, ...messages.slice(own)], options);
  return { tokens };
}

function choiceOf(numShown: number, { k, examples }: Settings, numLeftOut: number): ChoiceFact[] {
  if (numLeftOut === 0) return [];
  const asked = k ?? examples.length;
  const because = `the prompt with ${asked} examples and the answer exceed the context`;
  return [{ what: "few-shot", chosen: `${numShown} examples, without the first ${numLeftOut}`, because }];
}
