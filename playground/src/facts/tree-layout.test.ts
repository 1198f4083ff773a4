import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chunksOf, emptyRun, runOf } from "../../test/recorded.ts";
import type { BranchFact } from "../api/wire.ts";
import { applyChunks } from "../run/run.ts";
import { layoutTree, type TreeLayout } from "./tree-layout.ts";

const branch = (id: number, parent: number | undefined, from: number, tokens: number[], end: BranchFact["end"] = "pruned"): BranchFact => ({
  ...{ id, parent, from, tokens, score: -1, end },
});

/** No two branches on the same columns of a lane, and each below what it left. */
function expectReadable({ branches, lanes, columns }: TreeLayout): void {
  for (const [index, a] of branches.entries()) {
    const end = a.from + Math.max(a.tokens.length, 1);
    expect(a.lane).toBeLessThan(lanes);
    expect(a.from + a.tokens.length).toBeLessThanOrEqual(columns);
    if (a.parentLane !== undefined) expect(a.parentLane).toBeLessThan(a.lane);
    for (const b of branches.slice(index + 1)) {
      if (a.lane === b.lane) expect(end <= b.from || b.from + Math.max(b.tokens.length, 1) <= a.from).toBe(true);
    }
  }
}

test("the answer runs through lane 0, whatever branches it is made of; the rest of a branch that it left hangs below", () => {
  const { branches, lanes } = layoutTree([branch(0, undefined, 0, [1, 2, 9]), branch(1, 0, 2, [3, 8]), branch(2, 1, 3, [4, 5], "won")], []);
  expect(branches.map(({ id, from, tokens, lane, isAnswer }) => ({ id, from, tokens, lane, isAnswer }))).toEqual([
    { id: 2, from: 0, tokens: [1, 2, 3, 4, 5], lane: 0, isAnswer: true },
    { id: 1, from: 3, tokens: [8], lane: 1, isAnswer: false },
    { id: 0, from: 2, tokens: [9], lane: 2, isAnswer: false },
  ]);
  expect(lanes).toBe(3);
});

test("a branch that left the rest of another stays with it", () => {
  const { branches } = layoutTree([branch(0, undefined, 0, [1, 7, 8]), branch(1, 0, 1, [2, 3], "won"), branch(2, 0, 2, [9])], []);
  const rest = branches.find(({ id }) => id === 0)!;
  expect(branches.find(({ id }) => id === 2)!.parentLane).toBe(rest.lane);
  expect(rest).toMatchObject({ from: 1, tokens: [7, 8], parentLane: 0 });
});

test("branches that go on are drawn, also under a parent that isn't known", () => {
  const layout = layoutTree(
    [branch(3, 0, 1, [5])],
    [
      { id: 0, from: 0, tokens: [1, 2] },
      { id: 9, parent: 4, from: 2, tokens: [6] },
    ],
  );
  expect(layout.branches.map(({ id, fact }) => [id, fact !== undefined])).toEqual([
    [0, false],
    [3, true],
    [9, false],
  ]);
  expectReadable(layout);
});

describe.each(["beam", "contrastive"])("the recorded search %s", (name) => {
  test("its answer is the run's, and every branch's tokens are in the picture", () => {
    const { facts, branches } = runOf(name);
    const layout = layoutTree(branches, []);
    expectReadable(layout);
    const answer = layout.branches.find(({ isAnswer }) => isAnswer)!;
    expect(answer.tokens).toEqual(facts!.tokens.map(({ id }) => id));
    // a token of a branch stands in its own column, whether on the answer or below it
    for (const { id, from, tokens } of branches) {
      tokens.forEach((token, index) => {
        const places = layout.branches.filter((one) => one.isAnswer || one.id === id);
        expect(places.some((one) => one.tokens[from + index - one.from] === token)).toBe(true);
      });
    }
  });

  test("is readable after each of its events", () => {
    let run = emptyRun();
    for (const chunk of chunksOf(name)) {
      run = applyChunks(run, [chunk]);
      expectReadable(layoutTree(run.branches, run.growing));
    }
  });
});

test("random trees are readable and lose no branch", () => {
  const tree = fc
    .array(fc.record({ parent: fc.nat(), from: fc.nat(), length: fc.integer({ min: 1, max: 6 }) }), { minLength: 1, maxLength: 24 })
    .map((list) => {
      const branches: BranchFact[] = [];
      for (const [id, { parent, from, length }] of list.entries()) {
        const of = branches[parent % Math.max(id, 1)];
        const at = of === undefined ? 0 : of.from + (from % (of.tokens.length + 1));
        branches.push(
          branch(
            id,
            of?.id,
            at,
            Array.from({ length }, (_, index) => 100 * id + index),
          ),
        );
      }
      return branches;
    });
  fc.assert(
    fc.property(tree, fc.nat(), (branches, winner) => {
      const facts = branches.map((fact, id) => (id === winner % branches.length ? { ...fact, end: "won" as const } : fact));
      const layout = layoutTree(facts, []);
      expectReadable(layout);
      const shown = new Set(layout.branches.flatMap(({ tokens }) => tokens));
      for (const { tokens } of facts) for (const token of tokens) expect(shown.has(token)).toBe(true);
    }),
  );
});
