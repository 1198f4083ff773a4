import type { Entry, Family } from "./family.ts";
import { type PathSymbol, PrefixTree } from "./prefix-tree.ts";
import type { CheckedRequest } from "./request.ts";

/** What of a request its keys and values depend on, beside its tokens, positions and visibility. */
export type RootRequest = Pick<CheckedRequest, "contents" | "isChain" | "isWhole" | "skipped" | "rule" | "taps" | "exits" | "adapters"> & {
  readonly original: Pick<CheckedRequest["original"], "inject">;
};

/**
 * The key under which the keys and values of a request's rows may be handed to another one that has the same; undefined where they may not:
 * input embeddings, trees, injected states, holes, and whatever runs by other arithmetic. What is the same for a whole engine (model file, type of the
 * cache, mode, grid) needs no place in it: each engine has a cache of its own.
 *
 * @param tenant  who may be served from it: how fast a prompt is read tells whether somebody sent it before
 */
export function rootKeyOf(request: RootRequest, tenant: string): string | undefined {
  const { contents, isChain, isWhole, skipped, rule, taps, exits, adapters, original } = request;
  const isPlain =
    isChain && !isWhole && rule === undefined && taps.length === 0 && exits.length === 0 && (original.inject ?? []).length === 0;
  if (!isPlain || skipped.some((half) => half.endsWith(".attn"))) return undefined;
  if (!contents.every((content) => typeof content === "number")) return undefined;
  return JSON.stringify([tenant, skipped, adapters.map(({ id, scale }) => [id, scale])]);
}

/** An entry as a symbol of the tree: its token, and where it doesn't stand at its index or doesn't see everything before it, also how. */
export function symbolOf({ content, position, sees }: Pick<Entry, "content" | "position" | "sees">, index: number): PathSymbol {
  if (sees === undefined && position === index) return content as number;
  return `${content as number}@${position}:${sees === undefined ? "all" : JSON.stringify(sees)}`;
}

/** A family whose stream holds a path from the root: of a sequence that lives, or kept after the last one has ended. */
interface Source {
  readonly family: Family;
  readonly key: string;
  readonly path: PathSymbol[];
}

/**
 * The prefix cache's book: which family's stream holds which prefix. It retains the cells it points to. A family is kept when its last
 * sequence has ended and nobody else holds the whole of what it holds; kept families go, the least recently used first, when a stream is
 * needed or when they hold more cells than they may.
 */
export class PrefixCache {
  readonly #trees = new Map<string, PrefixTree<Source>>();
  readonly #sources = new Map<Family, Source>();
  readonly #maxCells: number;
  /** Changes whenever something is entered: who found nothing need not look again before. */
  version = 0;
  /** Prompts that found a prefix, and entries that they need not compute. */
  hits = 0;
  tokensSaved = 0;

  /** @param maxCells  most cells that families hold which nobody but the cache needs; 0 turns it off */
  constructor(maxCells: number) {
    this.#maxCells = maxCells;
  }

  get isOn(): boolean {
    return this.#maxCells > 0;
  }

  /** Families that nobody but the cache needs, the least recently used first. */
  get kept(): Family[] {
    return [...this.#sources.keys()].filter(({ memberCount }) => memberCount === 0).sort((a, b) => a.lastUsed - b.lastUsed);
  }

  /** Cells that kept families hold. */
  get keptCells(): number {
    return this.kept.reduce((sum, { held }) => sum + held.length, 0);
  }

  /**
   * Points to what a family's stream holds: of these entries those in front that have a key. In place of what it pointed to before,
   * as far as that is something else.
   */
  enter(family: Family, entries: readonly Entry[]): void {
    const key = entries[0]?.root;
    if (!this.isOn || key === undefined) return;
    const end = entries.findIndex(({ root }) => root !== key);
    const own = end === -1 ? entries : entries.slice(0, end);
    const known = this.#sources.get(family);
    const { held } = family;
    if (known?.key === key && held.length >= own.length && own.every((entry, index) => entry === held[index])) return;
    let same = 0;
    if (known?.key === key) while (same < held.length && own[same] === held[same]) same += 1;
    this.truncate(family, same);
    const path = own.map(symbolOf);
    if (same > 0) this.#tree(key).remove(known!.path, known!);
    const source = { family, key, path };
    for (const entry of own.slice(same)) {
      family.retain(entry.cell);
      held.push(entry);
    }
    this.#sources.set(family, source);
    this.#tree(key).insert(path, source);
    this.version += 1;
  }

  /** Forgets what a family holds from entry `length` on. */
  truncate(family: Family, length: number): void {
    const source = this.#sources.get(family);
    if (source === undefined || source.path.length <= length) return;
    const tree = this.#tree(source.key);
    tree.remove(source.path, source);
    for (const { cell } of family.held.slice(length)) family.release(cell);
    family.held.length = length;
    source.path.length = length;
    if (length > 0) tree.insert(source.path, source);
    else this.#sources.delete(family);
    if (tree.isEmpty) this.#trees.delete(source.key);
  }

  drop(family: Family): void {
    this.truncate(family, 0);
  }

  /** Decides whether a family that nobody needs any more is kept; others may have to go for it. */
  keep(family: Family): { isKept: boolean; dropped: Family[] } {
    const source = this.#sources.get(family);
    const dropped: Family[] = [];
    if (source === undefined) return { isKept: false, dropped };
    const tooMany = family.slot === undefined || source.path.length > this.#maxCells;
    if (tooMany || this.#tree(source.key).isHeldByOthers(source.path, source)) {
      this.drop(family);
      return { isKept: false, dropped };
    }
    for (const other of this.kept) {
      const { key, path } = this.#sources.get(other)!;
      const isCovered =
        other !== family &&
        key === source.key &&
        path.length < source.path.length &&
        path.every((symbol, at) => symbol === source.path[at]);
      if (isCovered) dropped.push(other);
    }
    for (const other of dropped) this.drop(other);
    for (const other of this.kept) {
      if (this.keptCells <= this.#maxCells) break;
      if (other === family) continue;
      this.drop(other);
      dropped.push(other);
    }
    return { isKept: true, dropped };
  }

  /**
   * The longest prefix of a path that some stream holds.
   * @param own  the family that asks, which is no answer
   */
  match(key: string, path: readonly PathSymbol[], own: Family): { length: number; family: Family } | undefined {
    const found = this.#trees.get(key)?.match(path, ({ family }) => family !== own && family.slot !== undefined);
    return found === undefined ? undefined : { length: found.length, family: found.holder.family };
  }

  #tree(key: string): PrefixTree<Source> {
    let tree = this.#trees.get(key);
    if (tree === undefined) {
      tree = new PrefixTree();
      this.#trees.set(key, tree);
    }
    return tree;
  }
}
