import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Model } from "../../src/index.ts";

/** A judge gives an answer a score; higher is better. */
export interface RecipeJudge {
  readonly name: string;
  score(question: string, answer: string): Promise<number>;
}

/**
 * Judges that a small model without a chat template can be. Which of them tells good from bad is measured before any is believed.
 *
 * - relevance: by how much the question makes the answer more probable, in nats per token. A likelihood ratio needs no understanding of marks,
 *   and no liking for short answers or common words gains anything.
 * - rating: the mean of the digits 1 to 9 that it would write as the answer's mark, after an example of a good and of a bad one.
 */
export function judgesOf(model: Pick<Model, "scoreChoices">): readonly RecipeJudge[] {
  return [
    {
      name: "relevance",
      async score(question, answer) {
        if (answer.trim() === "") return 0; // nothing was said that the question could have made more probable
        const options = { rule: "unconditional", without: "Answer:" } as const;
        const [choice] = (await model.scoreChoices(`Question: ${question}\nAnswer:`, [` ${answer}`], options)).choices;
        return choice!.score / choice!.tokens.length;
      },
    },
    {
      name: "rating",
      async score(question, answer) {
        const prompt = `Rate how well each answer fits its question, from 1 (bad) to 9 (good).\n\nQuestion: How many days has a week?\nAnswer: Seven.\nMark: 9\n\nQuestion: How many days has a week?\nAnswer: The dog the dog.\nMark: 1\n\nQuestion: ${question}\nAnswer: ${answer}\nMark:`;
        const digits = Array.from({ length: 9 }, (_, i) => i + 1);
        const { choices } = await model.scoreChoices(
          prompt,
          digits.map((digit) => ` ${digit}`),
        );
        const weights = choices.map(({ total }) => Math.exp(total));
        const mass = weights.reduce((sum, one) => sum + one, 0);
        return weights.reduce((sum, one, i) => sum + one * digits[i]!, 0) / mass;
      },
    },
  ];
}

/** Scores that a file keeps, so that a run which was stopped is gone on with and nothing is asked twice. */
export class Judgements {
  readonly #path: string;
  readonly #scores = new Map<string, number>();

  constructor(path: string) {
    this.#path = path;
    if (!existsSync(path)) return;
    // the last line may have been cut short by a kill
    const whole = readFileSync(path, "utf8").split("\n").slice(0, -1);
    writeFileSync(path, whole.map((line) => `${line}\n`).join(""));
    for (const line of whole) {
      const { judge, question, answer, score } = JSON.parse(line);
      this.#scores.set(JSON.stringify([judge, question, answer]), score);
    }
  }

  /** @param model  what the judge is a prompt of */
  of({ name, score }: RecipeJudge, model: string): RecipeJudge {
    return {
      name,
      score: async (question, answer) => {
        const judge = `${name} of ${model}`;
        const key = JSON.stringify([judge, question, answer]);
        const known = this.#scores.get(key);
        if (known !== undefined) return known;
        const found = await score(question, answer);
        appendFileSync(this.#path, `${JSON.stringify({ judge, question, answer, score: found })}\n`);
        this.#scores.set(key, found);
        return found;
      },
    };
  }

  get count(): number {
    return this.#scores.size;
  }
}

/** How often a judge prefers the good one of two answers, with a 95 % interval; a tie counts half. */
export async function reliability(
  judge: RecipeJudge,
  pairs: readonly { readonly question: string; readonly good: string; readonly bad: string }[],
): Promise<{ readonly share: number; readonly low: number; readonly high: number; readonly count: number }> {
  const points: number[] = [];
  for (const { question, good, bad } of pairs) {
    const [first, second] = [await judge.score(question, good), await judge.score(question, bad)];
    points.push(first > second ? 1 : first === second ? 0.5 : 0);
  }
  const share = points.reduce((sum, one) => sum + one, 0) / points.length;
  // Wilson's interval
  const [z, n] = [1.96, points.length];
  const middle = (share + z ** 2 / (2 * n)) / (1 + z ** 2 / n);
  const half = (z * Math.sqrt((share * (1 - share)) / n + z ** 2 / (4 * n ** 2))) / (1 + z ** 2 / n);
  return { share, low: middle - half, high: middle + half, count: n };
}
