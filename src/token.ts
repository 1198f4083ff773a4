declare const tokenIdBrand: unique symbol;

/** The index of an entry of a vocabulary: an integer in [0, vocabSize). Made by tokenizers and by {@link tokenId} only. */
export type TokenId = number & { readonly [tokenIdBrand]: true };

/** Checks that `value` is a token of a vocabulary of `vocabSize` entries. @throws RangeError otherwise */
export function tokenId(value: number, vocabSize: number): TokenId {
  if (!Number.isInteger(value) || value < 0 || value >= vocabSize) {
    throw new RangeError(`token id ${value} is outside the vocabulary [0, ${vocabSize})`);
  }
  return value as TokenId;
}

/** {@link tokenId} for a whole list; the message names the index of the first bad entry. @throws RangeError */
export function tokenIds(values: ArrayLike<number>, vocabSize: number): TokenId[] {
  return Array.from(values, (value, index) => {
    if (!Number.isInteger(value) || value < 0 || value >= vocabSize) {
      throw new RangeError(`token id ${value} at index ${index} is outside the vocabulary [0, ${vocabSize})`);
    }
    return value as TokenId;
  });
}
