import type { Candidates } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { RandomNumbers } from "../sampling/random.ts";

/** What a token of a prompt may be replaced by, with the chance of each; never the token itself. */
export interface Replacements {
  draw(index: number, random: RandomNumbers): TokenId;
}

/** Tokens that the model itself expects at each place, by its probabilities; of those it ranks first. */
export function modelReplacements(
  prompt: readonly TokenId[],
  /** Of each token given those before it; undefined where nothing predicts it. */
  expected: readonly (Candidates | undefined)[],
  vocabulary: Replacements,
  isUsable: (token: TokenId) => boolean,
): Replacements {
  const tables = prompt.map((own, index) => {
    const candidates = expected[index];
    if (candidates === undefined) return undefined;
    const ids = Array.from(candidates.ids, (id) => id as TokenId);
    const weights = ids.map((id, place) => (id === own || !isUsable(id) ? 0 : Math.exp(candidates.logits[place]! - candidates.logSumExp)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return total > 0 ? { ids, weights, total } : undefined;
  });
  return {
    draw(index, random) {
      const table = tables[index];
      if (table === undefined) return vocabulary.draw(index, random);
      let left = random.next() * table.total;
      const place = table.weights.findIndex((weight) => {
        left -= weight;
        return left < 0;
      });
      return table.ids[place === -1 ? table.weights.findLastIndex((weight) => weight > 0) : place]!;
    },
  };
}

/** Any token with a text, all alike. */
export function vocabularyReplacements(prompt: readonly TokenId[], vocabSize: number, isUsable: (token: TokenId) => boolean): Replacements {
  const usable = Array.from({ length: vocabSize }, (_, id) => id as TokenId).filter(isUsable);
  return {
    draw(index, random) {
      for (;;) {
        const token = usable[Math.floor(random.next() * usable.length)]!;
        if (token !== prompt[index] || usable.length === 1) return token;
      }
    },
  };
}
