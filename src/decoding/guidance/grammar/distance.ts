import type { CompiledGrammar } from "./network.ts";

/** Longer completions than this (bytes) count as none: sums stay exact, and nobody would wait for them. */
const farthest = 2 ** 40;

/**
 * For every state the smallest number of bytes after which its rule may end, Infinity if it can't.
 *
 * Dijkstra's algorithm on the network: a call costs its rule's own distance times the least number of turns, so a state is
 * settled once the states that its best path needs are.
 *
 * @param isWritable  [K] which byte classes hold a byte that a completion may use
 * @returns [S]
 * @see Knuth 1977, A generalization of Dijkstra's algorithm
 */
export function completionDistances(grammar: CompiledGrammar, isWritable: readonly boolean[]): Float64Array {
  const { numStates, numClasses, next, edgeOffset, edgeCall, edgeTarget, calls, rules } = grammar;
  const distance = new Float64Array(numStates).fill(Number.POSITIVE_INFINITY);
  const bytesInto: number[][] = Array.from({ length: numStates }, () => []);
  const callsInto: (readonly [source: number, call: number])[][] = Array.from({ length: numStates }, () => []);
  const callsOfRule: (readonly [source: number, call: number, target: number])[][] = rules.map(() => []);
  for (let state = 0; state < numStates; state++) {
    const targets = new Set<number>();
    for (let symbol = 0; symbol < numClasses; symbol++) {
      const target = next[state * numClasses + symbol]!;
      if (target >= 0 && isWritable[symbol]) targets.add(target);
    }
    for (const target of targets) bytesInto[target]!.push(state);
    for (let edge = edgeOffset[state]!; edge < edgeOffset[state + 1]!; edge++) {
      callsInto[edgeTarget[edge]!]!.push([state, edgeCall[edge]!]);
      callsOfRule[calls[edgeCall[edge]!]!.rule]!.push([state, edgeCall[edge]!, edgeTarget[edge]!]);
    }
  }
  const ruleOfStart = new Map(rules.map(({ start }, index) => [start, index]));
  const isSettled = new Uint8Array(numStates);
  const queue = new MinHeap();
  const offer = (state: number, value: number): void => {
    if (value >= distance[state]! || value > farthest) return;
    distance[state] = value;
    queue.push(value, state);
  };
  const offerCall = (source: number, call: number, target: number): void => {
    const { rule, min } = calls[call]!;
    const start = rules[rule]!.start;
    if (isSettled[start] === 1 && isSettled[target] === 1) offer(source, min * distance[start]! + distance[target]!);
  };
  for (let state = 0; state < numStates; state++) if (grammar.accepting[state] === 1) offer(state, 0);
  for (let state = queue.pop(); state !== undefined; state = queue.pop()) {
    if (isSettled[state] === 1) continue;
    isSettled[state] = 1;
    for (const source of bytesInto[state]!) offer(source, distance[state]! + 1);
    for (const [source, call] of callsInto[state]!) offerCall(source, call, state);
    const rule = ruleOfStart.get(state);
    if (rule !== undefined) for (const [source, call, target] of callsOfRule[rule]!) offerCall(source, call, target);
  }
  return distance;
}

class MinHeap {
  readonly #keys: number[] = [];
  readonly #values: number[] = [];

  push(key: number, value: number): void {
    let at = this.#keys.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#keys[parent]! <= key) break;
      this.#keys[at] = this.#keys[parent]!;
      this.#values[at] = this.#values[parent]!;
      at = parent;
    }
    this.#keys[at] = key;
    this.#values[at] = value;
  }

  pop(): number | undefined {
    const top = this.#values[0];
    const key = this.#keys.pop();
    const value = this.#values.pop();
    const size = this.#keys.length;
    if (size === 0 || key === undefined || value === undefined) return top;
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && this.#keys[child + 1]! < this.#keys[child]!) child++;
      if (this.#keys[child]! >= key) break;
      this.#keys[at] = this.#keys[child]!;
      this.#values[at] = this.#values[child]!;
      at = child;
    }
    this.#keys[at] = key;
    this.#values[at] = value;
    return top;
  }
}
