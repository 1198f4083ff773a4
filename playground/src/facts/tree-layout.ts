import type { BranchFact } from "../api/wire.ts";
import type { GrowingBranch } from "../run/run.ts";

/** A stretch of tokens in the picture: the answer, a branch that left it or another, or the rest of a branch that the answer left. */
export interface PlacedBranch {
  readonly id: number;
  /** Column of its first token: index in the answer. */
  readonly from: number;
  readonly tokens: readonly number[];
  readonly lane: number;
  /** Lane of what it left; undefined for what begins at the prompt. */
  readonly parentLane: number | undefined;
  /** Absent while the branch goes on. */
  readonly fact?: BranchFact;
  readonly isAnswer: boolean;
}

export interface TreeLayout {
  readonly branches: readonly PlacedBranch[];
  readonly lanes: number;
  readonly columns: number;
}

interface Node {
  readonly key: string;
  readonly id: number;
  readonly parent: string | undefined;
  readonly from: number;
  readonly tokens: readonly number[];
  readonly fact?: BranchFact;
  readonly isAnswer: boolean;
}

/**
 * Places branches on lanes; columns are indices in the answer. The answer, once there is one, runs straight through lane 0, whatever
 * branches it is made of; everything else hangs below what it left, a later fork nearer than an earlier one, so that no line crosses
 * another's words, and no two branches hold the same columns of a lane. A branch whose parent is not known begins at the prompt.
 */
export function layoutTree(ended: readonly BranchFact[], growing: readonly GrowingBranch[]): TreeLayout {
  const nodes = nodesOf(ended, growing);
  const keys = new Set(nodes.map(({ key }) => key));
  const placed: PlacedBranch[] = [];
  const taken: (readonly [from: number, to: number])[][] = [];
  const isFree = (lane: number, from: number, to: number) => (taken[lane] ?? []).every(([start, end]) => to <= start || from >= end);
  const place = (node: Node, parentLane: number | undefined): void => {
    const { key, parent: _, ...shown } = node;
    const from = node.from - (parentLane === undefined ? 0 : 1); // the line from the parent takes the column before
    const to = node.from + Math.max(node.tokens.length, 1);
    let lane = parentLane === undefined ? 0 : parentLane + 1;
    while (!isFree(lane, from, to)) lane++;
    taken[lane] ??= [];
    taken[lane]!.push([from, to]);
    placed.push({ ...shown, lane, parentLane });
    const children = nodes.filter(({ parent }) => parent === key).toSorted((a, b) => b.from - a.from || a.id - b.id);
    for (const child of children) place(child, lane);
  };
  const roots = nodes.filter(({ parent }) => parent === undefined || !keys.has(parent));
  for (const root of roots.toSorted((a, b) => Number(b.isAnswer) - Number(a.isAnswer) || a.id - b.id)) place(root, undefined);
  return {
    branches: placed,
    lanes: placed.reduce((most, { lane }) => Math.max(most, lane + 1), 0),
    columns: placed.reduce((most, { from, tokens }) => Math.max(most, from + tokens.length), 0),
  };
}

const trunk = "answer";

function nodesOf(ended: readonly BranchFact[], growing: readonly GrowingBranch[]): Node[] {
  const all = [
    ...ended.map((fact) => ({ ...fact, fact })),
    ...growing.map((branch) => ({ ...branch, fact: undefined })),
  ] as readonly (GrowingBranch & { readonly fact: BranchFact | undefined })[];
  const byId = new Map(all.map((branch) => [branch.id, branch]));
  const plain = (branch: (typeof all)[number]): Node => ({
    ...{ key: String(branch.id), id: branch.id, from: branch.from, tokens: branch.tokens, isAnswer: false },
    parent: branch.parent == null ? undefined : String(branch.parent),
    ...(branch.fact === undefined ? {} : { fact: branch.fact }),
  });
  const winner = ended.find(({ end }) => end === "won");
  if (winner === undefined) return all.map(plain);

  const answer: number[] = [];
  /** Where the answer left each branch that it is made of. */
  const leftAt = new Map<number, number>();
  let until = winner.from + winner.tokens.length;
  for (let at = byId.get(winner.id); at !== undefined && !leftAt.has(at.id); at = byId.get(at.parent ?? -1)) {
    answer.unshift(...at.tokens.slice(0, Math.max(until - at.from, 0)));
    leftAt.set(at.id, until);
    until = Math.min(until, at.from);
  }
  const nodes: Node[] = [{ key: trunk, id: winner.id, parent: undefined, from: until, tokens: answer, fact: winner, isAnswer: true }];
  for (const branch of all) {
    const left = leftAt.get(branch.id);
    const parentLeft = branch.parent == null ? undefined : leftAt.get(branch.parent);
    const parent =
      parentLeft !== undefined && branch.from <= parentLeft ? trunk : branch.parent == null ? undefined : String(branch.parent);
    if (left === undefined) nodes.push({ ...plain(branch), parent });
    else {
      const rest = branch.tokens.slice(Math.max(left - branch.from, 0));
      if (rest.length > 0) nodes.push({ ...plain(branch), parent: trunk, from: left, tokens: rest });
    }
  }
  return nodes;
}
