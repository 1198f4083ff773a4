/** One entry of a path: a token id where it stands at its index and sees all before it, otherwise a text that says how it stands. */
export type PathSymbol = number | string;

interface Node<S> {
  /** Symbols from the parent to here. */
  label: readonly PathSymbol[];
  parent: Node<S> | undefined;
  readonly children: Map<PathSymbol, Node<S>>;
  /** Who holds the whole path from the root to here. */
  readonly holders: Set<S>;
}

/** A radix tree over paths, each of which has a holder; a holder of a path holds each of its prefixes. */
export class PrefixTree<S> {
  readonly #root: Node<S> = { label: [], parent: undefined, children: new Map(), holders: new Set() };

  get isEmpty(): boolean {
    return this.#root.children.size === 0;
  }

  /** Enters a holder's path. It must hold no other: `remove` that first. */
  insert(path: readonly PathSymbol[], holder: S): void {
    let node = this.#root;
    let at = 0;
    while (at < path.length) {
      let child = node.children.get(path[at]!);
      if (child === undefined) {
        child = { label: path.slice(at), parent: node, children: new Map(), holders: new Set() };
        node.children.set(path[at]!, child);
      } else {
        const shared = commonLength(child.label, 0, path, at);
        if (shared < child.label.length) child = this.#split(child, shared);
      }
      child.holders.add(holder);
      at += child.label.length;
      node = child;
    }
  }

  /** Takes a holder's path out, with what nobody else holds. */
  remove(path: readonly PathSymbol[], holder: S): void {
    let node: Node<S> | undefined = this.#root;
    for (let at = 0; at < path.length; at += node.label.length) {
      node = node.children.get(path[at]!);
      if (node === undefined || !node.holders.delete(holder)) throw new RangeError("internal: a path that is not in the prefix tree");
    }
    // upwards: what nobody holds goes, and a node with a single child that the same holders share is joined with it
    for (let at: Node<S> = node; at.parent !== undefined; ) {
      const { parent } = at;
      if (at.holders.size === 0) parent.children.delete(at.label[0]!);
      else this.#joinChild(at);
      at = parent;
    }
  }

  /**
   * The longest prefix of a path that somebody holds.
   * @param isUsable  leaves out holders
   */
  match(path: readonly PathSymbol[], isUsable: (holder: S) => boolean = () => true): { length: number; holder: S } | undefined {
    let best: { length: number; holder: S } | undefined;
    let node = this.#root;
    for (let at = 0; at < path.length; ) {
      const child = node.children.get(path[at]!);
      if (child === undefined) break;
      const shared = commonLength(child.label, 0, path, at);
      const holder = [...child.holders].find(isUsable);
      if (holder === undefined) break; // who holds more holds this as well
      at += shared;
      best = { length: at, holder };
      if (shared < child.label.length) break;
      node = child;
    }
    return best;
  }

  /** Whether somebody else holds the whole of this path. */
  isHeldByOthers(path: readonly PathSymbol[], holder: S): boolean {
    return this.match(path, (other) => other !== holder)?.length === path.length;
  }

  #split(node: Node<S>, at: number): Node<S> {
    const upper: Node<S> = { label: node.label.slice(0, at), parent: node.parent, children: new Map(), holders: new Set(node.holders) };
    node.parent!.children.set(upper.label[0]!, upper);
    node.label = node.label.slice(at);
    node.parent = upper;
    upper.children.set(node.label[0]!, node);
    return upper;
  }

  #joinChild(node: Node<S>): void {
    const [child] = node.children.values();
    if (child === undefined || node.children.size > 1 || child.holders.size !== node.holders.size) return;
    child.label = [...node.label, ...child.label];
    child.parent = node.parent;
    node.parent!.children.set(child.label[0]!, child);
  }
}

function commonLength(a: readonly PathSymbol[], fromA: number, b: readonly PathSymbol[], fromB: number): number {
  const most = Math.min(a.length - fromA, b.length - fromB);
  let length = 0;
  while (length < most && a[fromA + length] === b[fromB + length]) length += 1;
  return length;
}
