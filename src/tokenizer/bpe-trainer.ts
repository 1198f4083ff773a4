import { OptionError } from "../errors.ts";

// Byte-level byte-pair encoding as GPT-2 does it: text is cut into words, a word's bytes are written as printable characters, and the pair of
// neighbours that is most frequent over all words becomes a token, again and again.

/** GPT-2's pattern of a word: a contraction, or letters, digits or other signs with the space before them, or white space. */
const word = /'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** A trained vocabulary, as GGUF files and Hugging Face's `tokenizer.json` write it. */
export interface BpeVocabulary {
  /** In the order of their ids: special tokens, the 256 bytes as printable characters in the order of these, then merges. */
  readonly tokens: readonly string[];
  /** In the order in which they were learned: two tokens with a space between. */
  readonly merges: readonly string[];
  readonly specialTokens: readonly string[];
}

/**
 * Learns a byte-level vocabulary. Ties are broken by the smaller ids, so the same texts give the same vocabulary on every machine.
 *
 * @param texts      read once; only the counts of their words are kept
 * @param vocabSize  tokens in all, at least 256 + special tokens; fewer come out where the text has no pair left that stands twice
 * @see Sennrich et al. 2015, https://arxiv.org/abs/1508.07909; Radford et al. 2019 for the bytes
 */
export async function trainBpe(
  texts: Iterable<string> | AsyncIterable<string>,
  { vocabSize, specialTokens = ["<|endoftext|>"] }: { readonly vocabSize: number; readonly specialTokens?: readonly string[] },
): Promise<BpeVocabulary> {
  const base = specialTokens.length + 256;
  if (!Number.isInteger(vocabSize) || vocabSize < base || vocabSize > 2 ** 20)
    throw new OptionError("vocabSize", `must be a whole number in [${base}, ${2 ** 20}], got ${vocabSize}`);
  const counts = new Map<string, number>();
  for await (const text of texts) for (const [one] of text.matchAll(word)) counts.set(one, (counts.get(one) ?? 0) + 1);
  const tokens = [...specialTokens, ...[...byteCharacters].sort()];
  const words = [...counts].map(([text, count]) => ({
    ids: Array.from(Buffer.from(text), (byte) => specialTokens.length + byteOrder[byte]!),
    count,
  }));

  const pairCounts = new Map<number, number>();
  const places = new Map<number, Set<number>>(); // pair -> words that may have it
  const key = (left: number, right: number) => left * 2 ** 20 + right;
  const countPairs = (index: number, sign: 1 | -1): void => {
    const { ids, count } = words[index]!;
    for (let i = 0; i + 1 < ids.length; i += 1) {
      const pair = key(ids[i]!, ids[i + 1]!);
      pairCounts.set(pair, (pairCounts.get(pair) ?? 0) + sign * count);
      if (sign === -1) continue;
      const known = places.get(pair);
      if (known === undefined) places.set(pair, new Set([index]));
      else known.add(index);
    }
  };
  words.forEach((_, index) => {
    countPairs(index, 1);
  });

  const merges: string[] = [];
  while (tokens.length < vocabSize) {
    let best = -1;
    let bestCount = 1; // a pair that stands once is not worth a token
    for (const [pair, count] of pairCounts) {
      if (count > bestCount || (count === bestCount && best !== -1 && pair < best)) {
        best = pair;
        bestCount = count;
      }
    }
    if (best === -1) break;
    const [left, right] = [Math.floor(best / 2 ** 20), best % 2 ** 20];
    const merged = tokens.length;
    tokens.push(tokens[left]! + tokens[right]!);
    merges.push(`${tokens[left]} ${tokens[right]}`);
    for (const index of places.get(best)!) {
      countPairs(index, -1);
      words[index]!.ids = mergePair(words[index]!.ids, left, right, merged);
      countPairs(index, 1);
    }
    pairCounts.delete(best);
    places.delete(best);
  }
  return { tokens, merges, specialTokens };
}

function mergePair(ids: readonly number[], left: number, right: number, merged: number): number[] {
  const result: number[] = [];
  for (let i = 0; i < ids.length; i += 1) {
    if (ids[i] === left && ids[i + 1] === right) {
      result.push(merged);
      i += 1;
    } else result.push(ids[i]!);
  }
  return result;
}

/** The character that stands for each byte: itself where it is printable, otherwise one of those from U+0100 on. */
const byteCharacters: readonly string[] = (() => {
  const isPrintable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
})();

/** Place of a byte among the bytes, ordered as their characters are. */
const byteOrder: readonly number[] = byteCharacters.map((character) => byteCharacters.filter((other) => other < character).length);
