import { expect, test } from "vitest";
import { parseAdapters } from "./adapters.ts";

const model = { adapters: () => ["legal", "terse"] };

test("adapters by name, with the strength 1 unless said otherwise", () => {
  expect(parseAdapters("legal", model)).toEqual([{ name: "legal", scale: 1 }]);
  expect(parseAdapters(["legal,scale=0.8", { name: "terse", scale: -1 }], model)).toEqual([
    { name: "legal", scale: 0.8 },
    { name: "terse", scale: -1 },
  ]);
  expect(parseAdapters(undefined, {})).toEqual([]);
});

test.each([
  ["other", 'adapter: no method "other"; there are legal, terse'],
  ["legal,weight=1", 'adapter: legal has no parameter "weight"; it has scale'],
  ["legal,scale=much", 'adapter: legal: scale must be a number, got "much"'],
  [["legal", "legal,scale=2"], "adapter: names legal twice"],
] as const)("%j is refused", (spec, message) => {
  expect(() => parseAdapters(spec, model)).toThrow(message);
});

test("a model that takes none refuses all", () => {
  expect(() => parseAdapters("legal", {})).toThrow("adapter: this model takes no adapters");
});
