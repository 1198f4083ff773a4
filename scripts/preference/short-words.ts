import type { GenerateOptions, Model } from "../../src/index.ts";

/** How continuations are written that are compared. */
export const sampling = { temperature: 1, topP: 0.95, maxTokens: 40 } satisfies GenerateOptions;

const subjects = [
  ...["the sea", "a garden", "an old bridge", "the moon", "bread", "a lost dog", "a train", "the first snow", "a lighthouse", "music"],
  ...["bees", "a market", "the mountains", "a river", "a broken clock", "a teacher", "the desert", "horses", "a long journey", "the stars"],
  ...["a library", "a storm", "a map", "an island", "a village school", "money", "winter", "birds", "the city at night", "apples"],
];
const forms = [
  ...[
    "Once upon a time there was a child who dreamed of *.",
    "She looked up and began to speak about *.",
    "The king wrote a letter about *.",
  ],
  ...[
    "In those days people said of * that",
    "He told his brother a story about *.",
    "The old woman remembered *.",
    "This is what I know about *:",
  ],
  ...["Everyone in the house was talking about *.", "My father once spoke to me of *.", "It was the day of *, and"],
];
const openings = forms.flatMap((form) => subjects.map((subject) => form.replace("*", subject)));
/** Of the subjects the last six are held out. */
const isHeldOut = (opening: string) => subjects.slice(-6).some((subject) => opening.includes(subject));
const learned = openings.filter((one) => !isHeldOut(one));
export const heldOut = openings.filter(isHeldOut);

/** The rule: letters per word, of which fewer are preferred. */
export function wordLength(text: string): number {
  const words = text.match(/\p{L}+/gu) ?? [];
  return words.length === 0 ? 0 : words.reduce((sum, word) => sum + word.length, 0) / words.length;
}

/** The part of the texts with shorter words than their rivals'; equal ones count half. */
export function preferredShare(texts: readonly string[], rivals: readonly string[]): number {
  const points = texts.map((text, i): number => {
    const [mine, other] = [wordLength(text), wordLength(rivals[i]!)];
    return mine < other ? 1 : mine === other ? 0.5 : 0;
  });
  return points.reduce((sum, point) => sum + point, 0) / points.length;
}

/** Work on many things, 16 at a time. */
export async function each<T, R>(list: readonly T[], use: (one: T, index: number) => Promise<R>): Promise<R[]> {
  const done: R[] = [];
  for (let from = 0; from < list.length; from += 16)
    done.push(...(await Promise.all(list.slice(from, from + 16).map((one, i) => use(one, from + i)))));
  return done;
}

/** A model goes on from openings, four times each; the continuation with the shortest words is preferred to the one with the longest. One JSON line for each pair. */
export async function writePairs(
  model: Model,
  count: number,
  { maxTokens = sampling.maxTokens, onWritten = () => {} }: { maxTokens?: number; onWritten?: (count: number) => void } = {},
): Promise<string> {
  const asked = Array.from({ length: count }, (_, i) => learned[(i * 7) % learned.length]!);
  const rows = await each(asked, async (prompt, index) => {
    const texts: string[] = [];
    for (let draw = 0; draw < 4; draw++)
      texts.push((await model.generate(prompt, { ...sampling, maxTokens, seed: 4 * index + draw })).text);
    const byLength = texts.filter((text) => wordLength(text) > 0).sort((a, b) => wordLength(a) - wordLength(b));
    onWritten(index + 1);
    return { prompt, chosen: byLength[0] ?? "", rejected: byLength.at(-1) ?? "" };
  });
  const usable = rows.filter(({ chosen, rejected }) => chosen !== rejected);
  return `${usable.map((row) => JSON.stringify(row)).join("\n")}\n`;
}
