import fc from "fast-check";
import { expect, test } from "vitest";
import type { TokenId } from "../token.ts";
import type { Companion } from "./companions.ts";
import type { DraftTree } from "./drafting/draft.ts";
import { ReadAlong } from "./read-along.ts";
import { toyModel } from "./testing/toy-model.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const tokenizer = toyTokenizer([..."abc"]);
const { vocabSize } = tokenizer;
const law = (tokens: readonly TokenId[]) => {
  const hash = tokens.reduce((sum: number, token) => (sum * 31 + token * 7 + 1) % 9973, 5);
  return Array.from({ length: vocabSize }, (_, id) => ((hash * (id + 3)) % 41) / 8);
};
const prompt = [0, 1] as TokenId[];

function companion(contextLength = 64): { one: Companion; passes: () => number } {
  const model = toyModel(tokenizer, { logits: law, contextLength });
  let passes = 0;
  const one: Companion = {
    ...{ name: "toy", model },
    sequence: () => model.sequence({ maxLength: contextLength }),
    forward(sequence, request) {
      passes++;
      return sequence.forward(request);
    },
  };
  return { one, passes: () => passes };
}
const reading = { want: { top: 1, fullLogits: true } };
const rowOf = (tokens: readonly TokenId[]) => Float32Array.from(law(tokens));

type Step = { kind: "advance" | "rewind" | "prepare" | "fork" | "follow"; number: number; tree: DraftTree };
const trees = fc.array(fc.tuple(fc.nat(vocabSize - 1), fc.nat(20)), { maxLength: 6 }).map((nodes) => ({
  tokens: nodes.map(([token]) => token as TokenId),
  parents: nodes.map(([, number], node) => (number % (node + 1)) - 1),
}));
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    kind: fc.constantFrom("advance", "rewind", "prepare", "fork", "follow"),
    number: fc.nat(20),
    tree: trees,
  }) as fc.Arbitrary<Step>,
  { maxLength: 25 },
);

test("whatever is advanced, rewound, forked and looked ahead at, its row is that of the text so far", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 12, max: 40 }), async (list, contextLength) => {
      const { one } = companion(contextLength);
      let reader = await ReadAlong.start(one, prompt, reading);
      let tokens = [...prompt];
      let ahead: DraftTree = { tokens: [], parents: [] };
      const advance = (token: TokenId) => {
        if (tokens.length >= contextLength - 1) return;
        reader.advance(token);
        tokens.push(token);
      };
      for (const { kind, number, tree } of list) {
        if (kind === "advance") advance((number % vocabSize) as TokenId);
        else if (kind === "rewind") {
          const length = number % (tokens.length - prompt.length + 1);
          reader.rewind(length);
          tokens = tokens.slice(0, prompt.length + length);
        } else if (kind === "prepare") {
          expect(await reader.prepare(tree)).toBe(true);
          ahead = tree;
          expect(reader.row.logits).toEqual(rowOf(tokens));
        } else if (kind === "fork") {
          const fork = reader.fork();
          reader.advance(2 as TokenId); // what the other does is its own business
          reader[Symbol.dispose]();
          reader = fork;
        } else {
          // along a path of the tree that was looked at
          const path: TokenId[] = [];
          for (let node = number % (ahead.tokens.length + 1); node < ahead.tokens.length && node >= 0; node = ahead.parents[node]!)
            path.unshift(ahead.tokens[node]!);
          for (const token of path) advance(token);
        }
        if (kind !== "prepare" && number % 3 === 0) {
          await reader.prepare();
          expect(reader.row.logits).toEqual(rowOf(tokens));
        }
      }
    }),
    { numRuns: process.env.CHAINRULE_SOAK ? 5000 : 150 },
  );
});

test("tokens that were looked ahead at need no further pass, others one for all of them", async () => {
  const { one, passes } = companion();
  const reader = await ReadAlong.start(one, prompt, reading);
  await reader.prepare();
  // 2 1 and 2 0 after each other
  await reader.prepare({ tokens: [2, 1, 0] as TokenId[], parents: [-1, 0, 0] });
  expect(passes()).toBe(2);
  for (const token of [2, 0] as TokenId[]) {
    reader.advance(token);
    await reader.prepare();
  }
  expect(reader.row.logits).toEqual(rowOf([...prompt, 2, 0] as TokenId[]));
  reader.rewind(1);
  await reader.prepare();
  expect(reader.row.logits).toEqual(rowOf([...prompt, 2] as TokenId[]));
  expect(passes()).toBe(2);
  for (const token of [0, 0, 1, 1] as TokenId[]) reader.advance(token);
  await reader.prepare();
  expect(passes()).toBe(3);
});
