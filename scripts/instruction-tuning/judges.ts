import type { Model } from "../../src/index.ts";

/** A judge gives an answer a score; higher is better. */
export interface RecipeJudge {
  readonly name: string;
  score(question: string, answer: string): Promise<number>;
}

/**
 * Judges that a small model without a chat template can be. Which of them tells good from bad is measured before any is believed.
 *
 * - rating: the mean of the digits 1 to 9 that it would write as the answer's mark, after an example of a good and of a bad one.
 * - relevance: by how much the question makes the answer more probable, in nats per token. A likelihood ratio needs no understanding of marks,
 *   and no liking for short answers or common words gains anything.
 */
export function judgesOf(model: Model): readonly RecipeJudge[] {
  const logprob = async (before: string, answer: string): Promise<number> => {
    const prefix = model.tokenize(before, { bos: true });
    const tokens = model.tokenize(` ${answer}`, { bos: false });
    if (tokens.length === 0) return Number.NaN;
    const { logprobs } = await model.score([...prefix, ...tokens]);
    return logprobs.slice(-tokens.length).reduce((sum: number, one) => sum + one!, 0) / tokens.length;
  };
  return [
    {
      name: "rating",
      async score(question, answer) {
        const prompt = `Rate how well each answer fits its question, from 1 (bad) to 9 (good).\n\nQuestion: How many days has a week?\nAnswer: Seven.\nMark: 9\n\nQuestion: How many days has a week?\nAnswer: The dog the dog.\nMark: 1\n\nQuestion: ${question}\nAnswer: ${answer}\nMark:`;
        const digits = Array.from({ length: 9 }, (_, i) => i + 1);
        const base = model.tokenize(`${prompt} `, { bos: true });
        const tokens = digits.map((digit) => model.tokenize(`${digit}`, { bos: false }));
        const totals = await Promise.all(
          tokens.map(async (token) =>
            Math.exp((await model.score([...base, ...token])).logprobs.slice(-token.length).reduce((a: number, b) => a + b!, 0)),
          ),
        );
        const mass = totals.reduce((sum, one) => sum + one, 0);
        return totals.reduce((sum, one, i) => sum + one * digits[i]!, 0) / mass;
      },
    },
    {
      name: "relevance",
      async score(question, answer) {
        if (answer.trim() === "") return 0; // nothing was said that the question could have made more probable
        return (await logprob(`Question: ${question}\nAnswer:`, answer)) - (await logprob("Answer:", answer));
      },
    },
  ];
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
