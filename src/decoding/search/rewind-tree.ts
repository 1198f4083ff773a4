import type { Candidate } from "../sampling/step.ts";

/** A segment of the answer in the tree of what was tried. */
export interface SegmentNode {
  readonly id: number;
  readonly parent: SegmentNode | undefined;
  readonly children: SegmentNode[];
  /** The segment's tokens, as they were taken; empty for the root. */
  readonly segment: readonly Candidate[];
  /** Index in the answer of the segment's first token. */
  readonly start: number;
  /** Visits: one for each time it lay on the path, and a share for each time that a segment like it did. */
  visits: number;
  /** Times it lay on the path. */
  ownVisits: number;
  /** Mean of what was found beneath it, in [-1, 1]. */
  value: number;
  prior: number;
  /** Mean of the embeddings of the paths through it, from its segment on, [C]; undefined before the first. */
  embedding: Float64Array | undefined;
  /** The segments' tokens, to know one when it is drawn again. */
  readonly key: string;
}

export interface TreeRules {
  /** Weight of prior and rareness against the value. */
  readonly explore: number;
  /** Cosine from which on a sibling's segment counts as alike. */
  readonly alike: number;
  /** What a visit of a segment counts for one alike, times the cosine. */
  readonly share: number;
}

/** Values lie in [-1, 1]: the range by which they are scaled to [0, 1]. */
const [lowest, highest] = [-1, 1];

/**
 * Of a node's children the one with the largest value, scaled to [0, 1] (0 where it was never visited), + explore · prior ·
 * √(visits of the parent) / (1 + visits); the first of equals.
 */
export function select(node: SegmentNode, { explore }: TreeRules): SegmentNode {
  const promise = ({ value, visits, prior }: SegmentNode) => {
    const scaled = visits === 0 ? 0 : (value - lowest) / (highest - lowest + 1e-5);
    return scaled + (explore * prior * Math.sqrt(node.visits)) / (1 + visits);
  };
  return node.children.reduce((best, child) => (promise(child) > promise(best) ? child : best));
}

/**
 * Takes a value to every node of a path. A sibling whose embedding is like that of the node on the path gets a share of the visit.
 *
 * @param path       from the root's child to the leaf; the root counts the visit, too
 * @param embedding  of the text from the beginning of a node's segment to where the value was found, [C]
 */
export function backUp(
  root: SegmentNode,
  path: readonly SegmentNode[],
  value: number,
  embedding: (node: SegmentNode) => Float64Array,
  { alike, share }: TreeRules,
): void {
  for (const node of [...path].reverse()) {
    node.visits += 1;
    node.ownVisits += 1;
    const found = embedding(node);
    node.embedding =
      node.embedding === undefined ? found : node.embedding.map((mean, channel) => mean + (found[channel]! - mean) / node.ownVisits);
    for (const sibling of node.parent!.children) {
      if (sibling === node || sibling.embedding === undefined) continue;
      const likeness = cosine(node.embedding, sibling.embedding);
      if (likeness < alike) continue;
      const weight = likeness * share;
      sibling.value = (sibling.value * sibling.visits + weight * value) / (sibling.visits + weight);
      sibling.visits += weight;
    }
    node.value += (value - node.value) / node.visits;
  }
  root.visits += 1;
  root.ownVisits += 1;
  root.value += (value - root.value) / root.visits;
}

/** The most visited child; of equals the one with the larger value, then the first. */
export function mostVisited(node: SegmentNode): SegmentNode | undefined {
  return node.children.reduce<SegmentNode | undefined>(
    (best, child) =>
      best === undefined || child.visits > best.visits || (child.visits === best.visits && child.value > best.value) ? child : best,
    undefined,
  );
}

/** Priors that sum to 1; at the root a quarter is spread evenly. */
export function normalizePriors(children: readonly SegmentNode[], isRoot: boolean): void {
  const total = children.reduce((sum, { prior }) => sum + prior, 0);
  for (const child of children) {
    const share = total > 0 ? child.prior / total : 1 / children.length;
    child.prior = isRoot ? 0.75 * share + 0.25 / children.length : share;
  }
}

export function cosine(a: Float64Array, b: Float64Array): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (let channel = 0; channel < a.length; channel++) {
    dot += a[channel]! * b[channel]!;
    aa += a[channel]! ** 2;
    bb += b[channel]! ** 2;
  }
  return aa === 0 || bb === 0 ? 0 : dot / Math.sqrt(aa * bb);
}

/** Whether a node's children are all looked at, none is any good, and they are all alike: then another one is worth drawing. */
export function wantsAnother(node: SegmentNode, most: number): boolean {
  const { children } = node;
  if (children.length === 0 || children.length >= most) return false;
  if (children.some(({ embedding }) => embedding === undefined)) return false;
  if (children.some(({ value }) => value >= 0)) return false;
  const size = children[0]!.embedding!.length;
  let squares = 0;
  for (let channel = 0; channel < size; channel++) {
    const values = children.map(({ embedding }) => embedding![channel]!);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    squares += (values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(values.length - 1, 1)) ** 2;
  }
  return Math.sqrt(squares) < 0.03 * children[0]!.segment.length;
}
