import { type ByteSet, hasByte } from "./expression.ts";
import type { Budget } from "./limits.ts";

/** A deterministic automaton over symbols [0, numSymbols); it starts in state 0. `next` is [numStates, numSymbols], -1 = none. */
export interface Dfa {
  readonly numSymbols: number;
  readonly numStates: number;
  readonly next: Int32Array;
  /** [numStates], 1 where a text may end */
  readonly accepting: Uint8Array;
}

/** The bytes by the class that no set of a grammar tells apart; symbols are classes. */
export interface ByteClasses {
  /** [256] */
  readonly classOf: Uint8Array;
  readonly numClasses: number;
}

/** A deterministic automaton over bytes: its symbols are the classes. */
export interface ByteDfa extends Dfa, ByteClasses {}

/** A nondeterministic automaton. It starts in state 0 and accepts in state 1. */
export interface Nfa {
  readonly epsilon: readonly (readonly number[])[];
  readonly edges: readonly (readonly NfaEdge[])[];
}

export interface NfaEdge {
  readonly symbols: readonly number[];
  readonly target: number;
}

export const nfaStart = 0;
export const nfaAccept = 1;

/** The coarsest partition of the bytes that every set is a union of. */
export function byteClasses(sets: Iterable<ByteSet>): ByteClasses {
  const classOf = new Uint8Array(256);
  let numClasses = 1;
  for (const set of sets) {
    const split = new Map<number, number>(); // 2 · old class + membership -> new class
    for (let byte = 0; byte < 256; byte++) {
      const key = 2 * classOf[byte]! + (hasByte(set, byte) ? 1 : 0);
      let id = split.get(key);
      if (id === undefined) {
        id = split.size;
        split.set(key, id);
      }
      classOf[byte] = id;
    }
    numClasses = split.size;
  }
  return { classOf, numClasses };
}

/** The classes whose union is `set`. */
export function classesOf(set: ByteSet, { classOf }: ByteClasses): number[] {
  const members = new Set<number>();
  for (let byte = 0; byte < 256; byte++) if (hasByte(set, byte)) members.add(classOf[byte]!);
  return [...members];
}

/** Collects the rows of a Dfa whose size is not known beforehand. */
class DfaRows {
  readonly numSymbols: number;
  numStates = 0;
  next: Int32Array;
  readonly accepting: number[] = [];
  readonly #budget: Budget;

  constructor(numSymbols: number, budget: Budget) {
    this.numSymbols = numSymbols;
    this.next = new Int32Array(64 * numSymbols);
    this.#budget = budget;
  }

  add(isAccepting: boolean): number {
    this.#budget.state();
    const state = this.numStates++;
    if (this.next.length < this.numStates * this.numSymbols) {
      const grown = new Int32Array(2 * this.next.length);
      grown.set(this.next);
      this.next = grown;
    }
    this.next.fill(-1, state * this.numSymbols, this.numStates * this.numSymbols);
    this.accepting.push(isAccepting ? 1 : 0);
    return state;
  }

  finish(): Dfa {
    const { numSymbols, numStates } = this;
    return { numSymbols, numStates, next: this.next.slice(0, numStates * numSymbols), accepting: Uint8Array.from(this.accepting) };
  }
}

/** Subset construction. @throws OptionError when the budget ends */
export function determinize(nfa: Nfa, numSymbols: number, budget: Budget): Dfa {
  const rows = new DfaRows(numSymbols, budget);
  const subsets: number[][] = [];
  const stateOfSubset = new Map<string, number>();
  const stateOfTargets = new Map<string, number>();
  const mark = new Uint32Array(nfa.edges.length);
  let stamp = 0;

  const enter = (targets: readonly number[]): number => {
    const targetsKey = targets.join();
    const known = stateOfTargets.get(targetsKey);
    if (known !== undefined) return known;
    stamp++;
    const pending = [...targets];
    const subset: number[] = [];
    for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
      if (mark[state] === stamp) continue;
      mark[state] = stamp;
      budget.work(1);
      if (state === nfaAccept || nfa.edges[state]!.length > 0) subset.push(state);
      for (const target of nfa.epsilon[state]!) pending.push(target);
    }
    subset.sort((a, b) => a - b);
    const key = subset.join();
    let id = stateOfSubset.get(key);
    if (id === undefined) {
      id = rows.add(mark[nfaAccept] === stamp);
      stateOfSubset.set(key, id);
      subsets.push(subset);
    }
    stateOfTargets.set(targetsKey, id);
    return id;
  };

  enter([nfaStart]);
  for (let state = 0; state < subsets.length; state++) {
    const targetsOf = new Map<number, number[]>();
    for (const member of subsets[state]!) {
      for (const edge of nfa.edges[member]!) {
        budget.work(edge.symbols.length);
        for (const symbol of edge.symbols) {
          const targets = targetsOf.get(symbol);
          if (targets) targets.push(edge.target);
          else targetsOf.set(symbol, [edge.target]);
        }
      }
    }
    for (const [symbol, targets] of targetsOf) {
      const target = enter(targets); // may move rows.next
      rows.next[state * numSymbols + symbol] = target;
    }
  }
  return rows.finish();
}

/**
 * The smallest automaton of the same language, by partition refinement; states that can't be reached must not be there.
 * Missing transitions need no sink: all first blocks are splitters, and a block is always inside or outside the preimage of a
 * splitter that was processed, so the smaller half of a later split suffices.
 *
 * @see Hopcroft 1971, An n log n algorithm for minimizing states in a finite automaton
 */
export function minimize(dfa: Dfa, budget: Budget): Dfa {
  const { numStates, numSymbols, next } = dfa;
  // Inverse transitions, grouped by (target, symbol): sources[offsets[i] .. offsets[i + 1])
  const offsets = new Int32Array(numStates * numSymbols + 1);
  for (let i = 0; i < next.length; i++) {
    if (next[i]! >= 0) offsets[next[i]! * numSymbols + (i % numSymbols) + 1]!++;
  }
  for (let i = 0; i < numStates * numSymbols; i++) offsets[i + 1]! += offsets[i]!;
  const fill = offsets.slice();
  const sources = new Int32Array(offsets[numStates * numSymbols]!);
  for (let i = 0; i < next.length; i++) {
    if (next[i]! >= 0) sources[fill[next[i]! * numSymbols + (i % numSymbols)]!++] = Math.floor(i / numSymbols);
  }

  // Blocks are ranges of `order`: block b holds order[from[b] .. to[b]), its first marked[b] entries are those being split off.
  const order = Int32Array.from({ length: numStates }, (_, state) => state).sort((a, b) => dfa.accepting[a]! - dfa.accepting[b]!);
  const place = new Int32Array(numStates);
  const blockOf = new Int32Array(numStates);
  const numRejecting = numStates - dfa.accepting.reduce((sum, value) => sum + value, 0);
  const from: number[] = [];
  const to: number[] = [];
  const marked: number[] = [];
  const pending: number[] = [];
  const isPending: boolean[] = [];
  for (const [first, last] of [
    [0, numRejecting],
    [numRejecting, numStates],
  ] as const) {
    if (first === last) continue;
    for (let i = first; i < last; i++) {
      place[order[i]!] = i;
      blockOf[order[i]!] = from.length;
    }
    pending.push(from.length);
    isPending.push(true);
    from.push(first);
    to.push(last);
    marked.push(0);
  }

  for (let splitter = pending.pop(); splitter !== undefined; splitter = pending.pop()) {
    isPending[splitter] = false;
    const members = order.slice(from[splitter], to[splitter]);
    budget.work(members.length);
    for (let symbol = 0; symbol < numSymbols; symbol++) {
      const touched: number[] = [];
      for (const member of members) {
        const row = member * numSymbols + symbol;
        for (let i = offsets[row]!; i < offsets[row + 1]!; i++) {
          const source = sources[i]!;
          const block = blockOf[source]!;
          const boundary = from[block]! + marked[block]!;
          if (place[source]! < boundary) continue; // marked before
          if (marked[block] === 0) touched.push(block);
          const other = order[boundary]!;
          order[place[source]!] = other;
          place[other] = place[source]!;
          order[boundary] = source;
          place[source] = boundary;
          marked[block]!++;
        }
      }
      for (const block of touched) {
        const middle = from[block]! + marked[block]!;
        marked[block] = 0;
        if (middle === to[block]) continue;
        const fresh = from.length; // takes the smaller part, so that relabelling costs n log n in all
        const takesMarked = middle - from[block]! <= to[block]! - middle;
        from.push(takesMarked ? from[block]! : middle);
        to.push(takesMarked ? middle : to[block]!);
        if (takesMarked) from[block] = middle;
        else to[block] = middle;
        marked.push(0);
        for (let i = from[fresh]!; i < to[fresh]!; i++) blockOf[order[i]!] = fresh;
        // If `block` still waits, both halves must; if not, the smaller one suffices.
        isPending.push(true);
        pending.push(fresh);
        budget.work(to[fresh]! - from[fresh]!);
      }
    }
  }

  // Number the blocks from the start state on.
  const idOf = new Int32Array(from.length).fill(-1);
  const rows = new DfaRows(numSymbols, budget);
  const visit = (state: number): number => {
    const block = blockOf[state]!;
    if (idOf[block] === -1) {
      idOf[block] = rows.add(dfa.accepting[state] === 1);
      queue.push(state);
    }
    return idOf[block]!;
  };
  const queue: number[] = [];
  visit(0);
  for (let id = 0; id < queue.length; id++) {
    for (let symbol = 0; symbol < numSymbols; symbol++) {
      const target = next[queue[id]! * numSymbols + symbol]!;
      if (target < 0) continue;
      const targetId = visit(target);
      rows.next[id * numSymbols + symbol] = targetId;
    }
  }
  return rows.finish();
}

/** A copy whose start state does not accept: the same language without the empty text. */
export function withoutEmpty(dfa: Dfa, budget: Budget): Dfa {
  if (dfa.accepting[0] === 0) return dfa;
  budget.state();
  // State 0 becomes the new start; the old one, which loops may come back to, moves to the end.
  const { numSymbols, numStates } = dfa;
  const next = new Int32Array((numStates + 1) * numSymbols);
  for (let i = 0; i < dfa.next.length; i++) next[i] = dfa.next[i] === 0 ? numStates : dfa.next[i]!;
  next.copyWithin(numStates * numSymbols, 0, numSymbols);
  const accepting = new Uint8Array(numStates + 1);
  accepting.set(dfa.accepting);
  accepting[numStates] = 1;
  accepting[0] = 0;
  return { numSymbols, numStates: numStates + 1, next, accepting };
}

/** Texts of both automata. */
export function intersection(a: ByteDfa, b: ByteDfa, budget: Budget): ByteDfa {
  return product(a, b, budget, (inA, inB) => inA && inB, false);
}

/** Texts of `a` that are not texts of `b`. */
export function difference(a: ByteDfa, b: ByteDfa, budget: Budget): ByteDfa {
  return product(a, b, budget, (inA, inB) => inA && !inB, true);
}

function product(
  a: ByteDfa,
  b: ByteDfa,
  budget: Budget,
  accepts: (inA: boolean, inB: boolean) => boolean,
  survivesB: boolean, // whether a pair is of use after b has stopped
): ByteDfa {
  const { classOf, numClasses, representative } = jointClasses(a, b);
  const rows = new DfaRows(numClasses, budget);
  const pairs: (readonly [number, number])[] = [];
  const idOf = new Map<number, number>();
  const visit = (x: number, y: number): number => {
    const key = x * (b.numStates + 1) + y + 1;
    let id = idOf.get(key);
    if (id === undefined) {
      id = rows.add(accepts(a.accepting[x] === 1, y >= 0 && b.accepting[y] === 1));
      idOf.set(key, id);
      pairs.push([x, y]);
    }
    return id;
  };
  visit(0, 0);
  for (let id = 0; id < pairs.length; id++) {
    const [x, y] = pairs[id]!;
    budget.work(numClasses);
    for (let symbol = 0; symbol < numClasses; symbol++) {
      const byte = representative[symbol]!;
      const nextX = a.next[x * a.numSymbols + a.classOf[byte]!]!;
      const nextY = y < 0 ? -1 : b.next[y * b.numSymbols + b.classOf[byte]!]!;
      if (nextX < 0 || (nextY < 0 && !survivesB)) continue;
      const target = visit(nextX, nextY);
      rows.next[id * numClasses + symbol] = target;
    }
  }
  return { ...trim(rows.finish(), budget), classOf, numClasses };
}

/**
 * Texts of `a` made of `min` to `max` texts of `unit`, which must be a prefix code (no unit begins another), as characters are.
 * @param max  may be Infinity
 */
export function countUnits(a: ByteDfa, unit: ByteDfa, min: number, max: number, budget: Budget): ByteDfa {
  const { classOf, numClasses, representative } = jointClasses(a, unit);
  const rows = new DfaRows(numClasses, budget);
  const triples: (readonly [number, number, number])[] = [];
  const idOf = new Map<string, number>();
  const ceiling = max === Number.POSITIVE_INFINITY ? min : max; // counts above `min` need not be told apart without a maximum
  const visit = (x: number, y: number, count: number): number => {
    const key = `${x},${y},${count}`;
    let id = idOf.get(key);
    if (id === undefined) {
      id = rows.add(a.accepting[x] === 1 && y === 0 && count >= min);
      idOf.set(key, id);
      triples.push([x, y, count]);
    }
    return id;
  };
  visit(0, 0, 0);
  for (let id = 0; id < triples.length; id++) {
    const [x, y, count] = triples[id]!;
    budget.work(numClasses);
    for (let symbol = 0; symbol < numClasses; symbol++) {
      const byte = representative[symbol]!;
      const nextX = a.next[x * a.numSymbols + a.classOf[byte]!]!;
      const nextY = unit.next[y * unit.numSymbols + unit.classOf[byte]!]!;
      if (nextX < 0 || nextY < 0 || (y === 0 && count === max)) continue;
      const ends = unit.accepting[nextY] === 1;
      const target = visit(nextX, ends ? 0 : nextY, ends ? Math.min(count + 1, ceiling) : count);
      rows.next[id * numClasses + symbol] = target;
    }
  }
  return { ...trim(rows.finish(), budget), classOf, numClasses };
}

/** Whether the automaton accepts no text at all; it must be trimmed, as every function here returns it. */
export function isEmptyLanguage(dfa: Dfa): boolean {
  return !dfa.accepting.includes(1);
}

/** Whether the automaton accepts `bytes`. */
export function accepts(dfa: ByteDfa, bytes: Uint8Array): boolean {
  let state = 0;
  for (const byte of bytes) {
    state = dfa.next[state * dfa.numSymbols + dfa.classOf[byte]!]!;
    if (state < 0) return false;
  }
  return dfa.accepting[state] === 1;
}

/** Drops transitions into states from which no text can end, then minimizes. */
function trim(dfa: Dfa, budget: Budget): Dfa {
  const predecessors: number[][] = Array.from({ length: dfa.numStates }, () => []);
  for (let i = 0; i < dfa.next.length; i++) {
    if (dfa.next[i]! >= 0) predecessors[dfa.next[i]!]!.push(Math.floor(i / dfa.numSymbols));
  }
  budget.work(dfa.numStates);
  const isLive = dfa.accepting.slice();
  const pending = [...isLive.keys()].filter((state) => isLive[state] === 1);
  for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
    for (const source of predecessors[state]!) {
      if (isLive[source] === 1) continue;
      isLive[source] = 1;
      pending.push(source);
    }
  }
  return minimize({ ...dfa, next: dfa.next.map((target) => (target >= 0 && isLive[target] === 1 ? target : -1)) }, budget);
}

function jointClasses(a: ByteClasses, b: ByteClasses): ByteClasses & { readonly representative: readonly number[] } {
  const classOf = new Uint8Array(256);
  const idOf = new Map<number, number>();
  const representative: number[] = [];
  for (let byte = 0; byte < 256; byte++) {
    const key = 256 * a.classOf[byte]! + b.classOf[byte]!;
    let id = idOf.get(key);
    if (id === undefined) {
      id = idOf.size;
      idOf.set(key, id);
      representative.push(byte);
    }
    classOf[byte] = id;
  }
  return { classOf, numClasses: idOf.size, representative };
}
