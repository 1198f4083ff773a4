import { expect, test } from "vitest";
import { tokenId, tokenIds } from "./token.ts";

test("a token id is an integer below the vocabulary's size", () => {
  expect(tokenId(0, 3)).toBe(0);
  for (const bad of [-1, 3, 1.5, Number.NaN]) expect(() => tokenId(bad, 3)).toThrow(RangeError);
});

test("the message for a list names the first bad index", () => {
  expect(() => tokenIds([0, 1, 9], 3)).toThrow("token id 9 at index 2 is outside the vocabulary [0, 3)");
});
