import type { TokenId } from "../../token.ts";
import { integer } from "../method.ts";
import { uniforms } from "../sampling/random.ts";
import { type DraftLimits, type DraftState, defineDraft, maxDraftTokens, noDraft, type WeighedTree } from "./draft.ts";

/** Settings of the paper's program: what an occurrence adds, the cap, how far back each step adds, successors kept per pair. */
const increment = 0.04;
const cap = 3;
const window = 16;
const maxSuccessors = 12;
/** Constants of the search's rule of choice. */
const [c1, c2] = [32, 8];

/** A node of the search tree: a token after the path to it. */
interface Node {
  readonly token: TokenId;
  readonly parent: number;
  readonly depth: number;
  /** Probability of the token after the two before it. */
  readonly prior: number;
  visits: number;
  total: number;
  /** Undefined until the node was expanded. */
  children: readonly number[] | undefined;
}

/** Weights of the tokens that followed each pair of tokens. */
export class TrigramMatrix {
  readonly #rows = new Map<string, Map<TokenId, number>>();

  /** Counts the trigrams among the last tokens: overlapping windows, so that the latest count several times. */
  update(tokens: readonly TokenId[]): void {
    for (let end = Math.max(tokens.length - window, 0) + 3; end <= tokens.length; end++) {
      const key = keyOf(tokens[end - 3]!, tokens[end - 2]!);
      const token = tokens[end - 1]!;
      const row = this.#rows.get(key) ?? new Map<TokenId, number>();
      this.#rows.set(key, row);
      row.set(token, Math.min((row.get(token) ?? 0) + increment, cap));
      if (row.size > maxSuccessors) row.delete([...row].reduce((least, entry) => (entry[1] < least[1] ? entry : least))[0]);
    }
  }

  /** P(c | a, b) of each known successor, in the order of first occurrence. */
  successors(a: TokenId, b: TokenId): readonly { readonly token: TokenId; readonly probability: number }[] {
    const row = this.#rows.get(keyOf(a, b));
    if (row === undefined) return [];
    let sum = 0;
    for (const weight of row.values()) sum += weight;
    return Array.from(row, ([token, weight]) => ({ token, probability: weight / sum }));
  }
}

/** Q/n + (c1 + ln((N + c2 + 1) / c2)) · p · √N / (1 + n): a child's return and how much it should still be tried; unvisited first. */
export function puct(child: { readonly visits: number; readonly total: number; readonly prior: number }, parentVisits: number): number {
  if (child.visits === 0) return Number.POSITIVE_INFINITY;
  const explore = c1 + Math.log((parentVisits + c2 + 1) / c2);
  return child.total / child.visits + (explore * child.prior * Math.sqrt(parentVisits)) / (1 + child.visits);
}

interface Settings {
  readonly nodes: number;
  readonly depth: number;
  readonly iterations: number;
}

/** Guesses by Monte-Carlo tree search over a matrix of trigrams that learns from the text as it comes. */
export class AdaptiveState implements DraftState<WeighedTree> {
  readonly #settings: Settings;
  readonly #seed: number;
  readonly #numPrompt: number;
  #tokens: TokenId[] = [];
  #matrix = new TrigramMatrix();
  /** Random numbers drawn so far for the draft at this length. */
  #draws = 0;

  constructor(settings: Settings, seed: number, tokens: readonly TokenId[], numPrompt = tokens.length) {
    this.#settings = settings;
    this.#seed = seed;
    this.#numPrompt = numPrompt;
    for (const token of tokens) this.advance(token);
  }

  advance(token: TokenId): void {
    this.#tokens.push(token);
    this.#matrix.update(this.#tokens.slice(-window));
  }

  rewind(length: number): void {
    const kept = this.#tokens.slice(0, this.#numPrompt + length);
    this.#tokens = [];
    this.#matrix = new TrigramMatrix(); // capped and pruned weights can't be taken back: learnt again
    for (const token of kept) this.advance(token);
  }

  fork(): AdaptiveState {
    return new AdaptiveState(this.#settings, this.#seed, this.#tokens, this.#numPrompt);
  }

  propose({ maxNodes, maxDepth }: DraftLimits): WeighedTree {
    const [before, last] = this.#tokens.slice(-2);
    if (before === undefined || last === undefined || this.#matrix.successors(before, last).length === 0) return noDraft;
    this.#draws = 0;
    const depth = Math.min(this.#settings.depth, maxDepth);
    const tree: Node[] = [{ token: last, parent: -1, depth: 0, prior: 1, visits: 0, total: 0, children: undefined }];
    for (let iteration = 0; iteration < this.#settings.iterations; iteration++) this.#iterate(tree, before, depth);
    return mostVisited(tree, Math.min(this.#settings.nodes, maxNodes));
  }

  /** Select a leaf, expand it, roll out from it by the matrix, and back up the return: 1 plus the probabilities along the path. */
  #iterate(tree: Node[], before: TokenId, depth: number): void {
    const path = [0];
    let [a, node] = [before, tree[0]!];
    let value = 1;
    const enter = (index: number) => {
      path.push(index);
      [a, node] = [node.token, tree[index]!];
      value += node.prior;
    };
    while (node.children !== undefined && node.children.length > 0) {
      const { visits } = node;
      enter(node.children.reduce((best, child) => (puct(tree[child]!, visits) > puct(tree[best]!, visits) ? child : best)));
    }
    if (node.children === undefined && node.depth < depth) {
      const parent = path.at(-1)!;
      const below = node.depth + 1;
      node.children = this.#matrix
        .successors(a, node.token)
        .map(
          ({ token, probability }) =>
            tree.push({ token, parent, depth: below, prior: probability, visits: 0, total: 0, children: undefined }) - 1,
        );
      if (node.children.length > 0) enter(node.children[0]!);
    }
    let [x, y] = [a, node.token];
    for (let at = node.depth; at < depth; at++) {
      const successors = this.#matrix.successors(x, y);
      if (successors.length === 0) break;
      const drawn = drawFrom(successors, this.#random());
      value += drawn.probability;
      [x, y] = [y, drawn.token];
    }
    for (const index of path) {
      tree[index]!.visits++;
      tree[index]!.total += value;
    }
  }

  /** A pure function of seed, length and count: drafts don't depend on what was drafted before. */
  #random(): number {
    return uniforms({ seed: this.#seed, stream: 2 ** 32 - 1 - this.#draws++, index: this.#tokens.length })[0];
  }
}

function drawFrom<Entry extends { readonly probability: number }>(entries: readonly Entry[], uniform: number): Entry {
  let sum = 0;
  for (const entry of entries) {
    sum += entry.probability;
    if (uniform < sum) return entry;
  }
  return entries.at(-1)!; // by rounding
}

/** The nodes visited most, earlier ones first where equal; a node's parent has at least its visits, so this is a tree. */
function mostVisited(tree: readonly Node[], count: number): WeighedTree {
  const order = [...tree.keys()]
    .slice(1)
    .filter((index) => tree[index]!.visits > 0)
    .sort((a, b) => tree[b]!.visits - tree[a]!.visits || a - b)
    .slice(0, count);
  const place = new Map(order.map((index, at) => [index, at]));
  return {
    tokens: order.map((index) => tree[index]!.token),
    parents: order.map((index) => place.get(tree[index]!.parent) ?? -1),
    chances: order.map((index) => tree[index]!.prior),
  };
}

const keyOf = (a: TokenId, b: TokenId): string => `${a},${b}`;

export const adaptive = defineDraft({
  name: "adaptive",
  summary: "a matrix of trigrams that learns from the text as it comes, searched by Monte-Carlo tree search (ADED)",
  source: { title: "Adaptive Draft-Verification for Efficient Large Language Model Decoding", arxiv: "2407.12021" },
  parameters: {
    nodes: integer({ min: 1, max: maxDraftTokens, default: 7, doc: "tokens of a draft" }),
    depth: integer({ min: 1, max: 16, default: 3, doc: "tokens of one path, at most" }),
    iterations: integer({ min: 1, max: 10_000, default: 150, doc: "iterations of the search for one draft" }),
  },
  example: { nodes: 4, iterations: 20 },
  needs: ["parents", "keep"],
  create: (settings) => ({ name: "adaptive", start: (prompt, { rules }) => new AdaptiveState(settings, rules.seed, prompt) }),
});
