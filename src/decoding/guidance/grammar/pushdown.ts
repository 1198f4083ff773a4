import { OptionError } from "../../../errors.ts";
import { completionDistances } from "./distance.ts";
import type { CompiledGrammar } from "./network.ts";

/**
 * Where a caller goes on after a called rule: `count` turns were done before the one that runs, then `target` in `parent`'s rule.
 */
interface Return {
  readonly call: number;
  readonly count: number;
  readonly target: number;
  readonly parent: Stack;
}

/**
 * An immutable stack, or several that share their top: all the places to which the running rule may return. Paths that reach
 * the same rule at the same byte share one, so an ambiguous grammar costs polynomial, not exponential, space.
 * @see Tomita 1985, the graph-structured stack
 */
interface Stack {
  readonly id: number;
  readonly returns: readonly Return[];
  /** Whether the text may end when the running rule does. */
  readonly isBottom: boolean;
  /** Fewest bytes from the end of the running rule to the end of the text. */
  readonly distance: number;
  /** Undefined until asked for. */
  signature: Signature | undefined;
}

/** Numbers that are equal for equal behaviour. */
interface Signature {
  /** Equal where no token can tell two stacks or configurations apart. */
  readonly exact: number;
  /** The same, were no repetition bounded from above. */
  readonly unbounded: number;
  /** Fewest turns that a bounded repetition has left, by its call. */
  readonly turnsLeft: ReadonlyMap<number, number>;
}

/**
 * Everything the automaton may be in after some bytes: pairs of a state and a stack, closed under calls. Immutable but for its
 * memory of successors, and one object per distinct value while it is remembered, so that it serves as a state of a DFA that is
 * built as far as it is used.
 */
export interface Configuration {
  readonly states: readonly number[];
  readonly stacks: readonly Stack[];
  /** Whether the text may end here. */
  readonly isComplete: boolean;
  /** Fewest bytes to the end of the text. */
  readonly distance: number;
  /** Undefined until asked for. */
  signature: Signature | undefined;
  /** By byte class; null = none. Asked through {@link Pushdown.step} only. */
  successors: (Configuration | null | undefined)[];
  epoch: number;
  /** Fewest tokens along the shortest text, once asked for. */
  neededTokens: number | undefined;
}

/** Byte classes that lead from a configuration to one that differs from it in counts alone. */
export interface Loop {
  /** Bits by class, 32 to a word. */
  readonly classes: Uint32Array;
  /** The most that one byte adds to the distance. */
  readonly growth: number;
  /** Whether none changes the distance. */
  readonly keepsDistance: boolean;
  /** Calls of bounded repetitions of which one of them may end a turn: others, as of an array around a string, are not touched. */
  readonly counted: ReadonlySet<number>;
}

/** Configurations remembered before all are forgotten: some 20 MB. */
const maxRemembered = 20_000;
/** More than any grammar has: pairs of state and stack are told apart by id · this + state, exact up to 2^53. */
const maxStates = 2 ** 22;
/** Distinct signatures remembered. */
const maxSignatures = 100_000;

/** The pushdown automaton of a grammar, running over bytes. */
export class Pushdown {
  readonly grammar: CompiledGrammar;
  readonly start: Configuration;
  /** [S] */
  readonly #distance: Float64Array;
  /** [S]: whether the state has byte transitions */
  readonly #readsBytes: Uint8Array;
  /** [S]: whether it has nothing else: no calls to follow, no return to take */
  readonly #isPlain: Uint8Array;
  readonly #farCount: number;
  readonly #maxThreads: number;
  readonly #configurations = new Map<string, Configuration>();
  /** Those of one state and one stack, by id of the stack · maxStates + state. */
  readonly #singles = new Map<number, Configuration>();
  readonly #stacks = new Map<string, Stack>();
  readonly #signatures = new Map<string, number>();
  /** By unbounded signature. */
  readonly #loops = new Map<number, Loop | null>();
  #nextId = 0;
  #nextSignature = 0;
  /** Successors of configurations of another epoch are to be found anew. */
  epoch = 0;

  /**
   * @param isWritable  [256] bytes that can be written one by one; texts that can't be completed with them are not offered
   * @param farCount    no token finishes more turns of a repetition than this (the length of the longest)
   * @param maxThreads  pairs of state and stack at the same time
   * @throws OptionError if no text of the grammar can be written
   */
  constructor(grammar: CompiledGrammar, isWritable: readonly boolean[], farCount: number, maxThreads: number) {
    this.grammar = grammar;
    const isClassWritable = Array.from({ length: grammar.numClasses }, () => false);
    for (let byte = 0; byte < 256; byte++) if (isWritable[byte]) isClassWritable[grammar.classOf[byte]!] = true;
    this.#distance = completionDistances(grammar, isClassWritable);
    this.#readsBytes = new Uint8Array(grammar.numStates);
    grammar.next.forEach((target, index) => {
      if (target >= 0) this.#readsBytes[Math.floor(index / grammar.numClasses)] = 1;
    });
    const { edgeOffset, accepting } = grammar;
    this.#isPlain = this.#readsBytes.map((reads, state) =>
      reads === 1 && edgeOffset[state] === edgeOffset[state + 1] && accepting[state] === 0 ? 1 : 0,
    );
    this.#farCount = farCount;
    this.#maxThreads = maxThreads;
    const bottom: Stack = { id: this.#nextId++, returns: [], isBottom: true, distance: 0, signature: undefined };
    const start = grammar.rules[grammar.root]!.start;
    if (!Number.isFinite(this.#distance[start]!) && !grammar.acceptsEmpty) {
      throw new OptionError("grammar", "there is no text that it generates and the vocabulary can write");
    }
    const threads = new Threads(this.#maxThreads);
    threads.isComplete = grammar.acceptsEmpty;
    if (Number.isFinite(this.#distance[start]!)) threads.add(start, bottom);
    this.start = this.#close(threads);
  }

  /** The configuration after one more byte; null if no text goes on with it. */
  step(from: Configuration, byteClass: number): Configuration | null {
    if (from.epoch !== this.epoch) {
      from.successors = [];
      from.epoch = this.epoch;
    }
    const known = from.successors[byteClass];
    if (known !== undefined) return known;
    const successor = this.#read(from, byteClass);
    from.successors[byteClass] = successor;
    return successor;
  }

  /** @param counted  told the calls of bounded repetitions of which a turn ends */
  #read(from: Configuration, byteClass: number, counted?: Set<number>): Configuration | null {
    const { next, numClasses, accepting } = this.grammar;
    const { states, stacks } = from;
    const targetOf = (i: number): number => {
      const target = next[states[i]! * numClasses + byteClass]!;
      return target >= 0 && this.#distance[target]! < Number.POSITIVE_INFINITY ? target : -1;
    };
    let first = 0;
    while (first < states.length && targetOf(first) < 0) first++;
    if (first === states.length) return null;
    if (first === states.length - 1 && this.#isPlain[targetOf(first)] === 1) return this.#single(targetOf(first), stacks[first]!);
    const threads = new Threads(this.#maxThreads);
    for (let i = first; i < states.length; i++) if (targetOf(i) >= 0) threads.add(targetOf(i), stacks[i]!);
    // Returns: `threads` grows while we go through it. No call is empty, so none of these is reached again by the calls below.
    for (let i = 0; i < threads.states.length; i++) {
      if (accepting[threads.states[i]!] === 0) continue;
      const stack = threads.stacks[i]!;
      if (stack.isBottom) threads.isComplete = true;
      for (const back of stack.returns) {
        const { rule, min, max } = this.grammar.calls[back.call]!;
        const done = back.count + 1;
        if (isBounded(max)) counted?.add(back.call);
        if (done >= min) threads.add(back.target, back.parent);
        if (done < max) threads.call(rule, { ...back, count: max === Number.POSITIVE_INFINITY ? Math.min(done, min) : done });
      }
    }
    if (threads.states.length === 0 && !threads.isComplete && threads.pending.size === 0) return null;
    return this.#close(threads);
  }

  /** Follows the calls of all threads, those of rules first that may call others before reading a byte. */
  #close(threads: Threads): Configuration {
    const { edgeOffset, edgeCall, edgeTarget, calls, rules, accepting } = this.grammar;
    let done = 0;
    while (true) {
      for (; done < threads.states.length; done++) {
        const state = threads.states[done]!;
        const stack = threads.stacks[done]!;
        for (let edge = edgeOffset[state]!; edge < edgeOffset[state + 1]!; edge++) {
          const call = edgeCall[edge]!;
          const target = edgeTarget[edge]!;
          const { rule, max } = calls[call]!;
          if (!Number.isFinite(this.#distance[target]! + this.#distance[rules[rule]!.start]!)) continue;
          if (max === 1 && accepting[target] === 1 && this.#isFinal(target)) threads.tailCall(rule, stack);
          else threads.call(rule, { call, count: 0, target, parent: stack });
        }
      }
      if (threads.pending.size === 0) break;
      let first = Number.POSITIVE_INFINITY;
      for (const rule of threads.pending.keys()) first = Math.min(first, rule);
      const { returns, isBottom } = threads.pending.get(first)!;
      threads.pending.delete(first);
      threads.add(rules[first]!.start, this.#stack(returns, isBottom));
    }
    return this.#configuration(threads);
  }

  /** Whether nothing goes on from the state within its rule. */
  #isFinal(state: number): boolean {
    const { edgeOffset } = this.grammar;
    return edgeOffset[state] === edgeOffset[state + 1] && this.#readsBytes[state] === 0;
  }

  #stack(returns: readonly Return[], isBottom: boolean): Stack {
    const keyOf = ({ call, count, target, parent }: Return) => `${call},${count},${target},${parent.id}`;
    const keyed = returns.length > 1 ? new Map(returns.map((back) => [keyOf(back), back])) : undefined; // without duplicates
    const keys = keyed === undefined ? returns.map(keyOf) : [...keyed.keys()].sort();
    const key = `${isBottom ? "bottom;" : ""}${keys.join(";")}`;
    let stack = this.#stacks.get(key);
    if (!stack) {
      const sorted = keyed === undefined ? returns : keys.map((entry) => keyed.get(entry)!);
      const distance = sorted.reduce((least, back) => Math.min(least, this.#returnDistance(back)), isBottom ? 0 : Number.POSITIVE_INFINITY);
      stack = { id: this.#nextId++, returns: sorted, isBottom, distance, signature: undefined };
      this.#stacks.set(key, stack);
    }
    return stack;
  }

  #returnDistance({ call, count, target, parent }: Return): number {
    const { rule, min } = this.grammar.calls[call]!;
    const turns = Math.max(0, min - count - 1);
    return turns * this.#distance[this.grammar.rules[rule]!.start]! + this.#distance[target]! + parent.distance;
  }

  /**
   * Equal for configurations that allow the same tokens, whose successors' distances also differ by the same amounts: these differ
   * only in counts so far from their bounds that no token reaches them. Distances enter relative to the configuration's own.
   */
  signature(configuration: Configuration): number {
    return this.#signature(configuration).exact;
  }

  /** For so many bytes of its loop, at least, a configuration behaves as if no repetition were bounded from above. */
  room(configuration: Configuration, { counted }: Loop): number {
    const { turnsLeft } = this.#signature(configuration);
    let room = Number.POSITIVE_INFINITY;
    for (const call of counted) room = Math.min(room, turnsLeft.get(call) ?? Number.POSITIVE_INFINITY);
    return room;
  }

  /**
   * The classes after which a configuration has its own unbounded signature again; null for none. Any bytes of these classes, as many as
   * it has {@link room} for and at most as many as the longest token has, may follow: after the first, whatever may follow is what might
   * have followed before it, and so on.
   */
  loop(from: Configuration): Loop | null {
    const { unbounded, turnsLeft } = this.#signature(from);
    const known = this.#loops.get(unbounded);
    if (known !== undefined) return known;
    for (const left of turnsLeft.values()) if (left < 1) return null; // its bound may hide what others of this signature can do
    const { numClasses } = this.grammar;
    const classes = new Uint32Array(Math.ceil(numClasses / 32));
    const changes: number[] = [];
    const counted = new Set<number>();
    for (let byteClass = 0; byteClass < numClasses; byteClass++) {
      const ended = new Set<number>();
      const to = this.#read(from, byteClass, ended);
      if (to === null || this.#signature(to).unbounded !== unbounded) continue;
      for (const call of ended) counted.add(call);
      classes[byteClass >> 5]! |= 1 << (byteClass & 31);
      changes.push(to.distance - from.distance);
    }
    const keepsDistance = changes.every((change) => change === 0);
    const loop = changes.length === 0 ? null : { classes, growth: Math.max(...changes), keepsDistance, counted };
    if (this.#loops.size >= maxSignatures) this.#loops.clear();
    this.#loops.set(unbounded, loop);
    return loop;
  }

  #signature(configuration: Configuration): Signature {
    if (configuration.signature === undefined) {
      const { states, stacks, isComplete, distance } = configuration;
      const signatures = stacks.map((stack) => this.#stackSignature(stack));
      const number = (kind: "exact" | "unbounded") => {
        const parts = states.map(
          (state, i) => `${state},${signatures[i]![kind]},${this.#distance[state]! + stacks[i]!.distance - distance}`,
        );
        return this.#numberOf(`${isComplete ? "complete;" : ""}${parts.sort().join(";")}`);
      };
      const turnsLeft = leastOf(signatures.map((signature) => signature.turnsLeft));
      configuration.signature = { exact: number("exact"), unbounded: number("unbounded"), turnsLeft };
    }
    return configuration.signature;
  }

  /** The same for stacks. Goes down without recursion: a stack may be as deep as the text is long. */
  #stackSignature(top: Stack): Signature {
    const nearOrFar = (turns: number): number => (turns > this.#farCount ? -1 : turns);
    const pending = [top];
    for (let stack = pending.at(-1); stack !== undefined; stack = pending.at(-1)) {
      const unsigned = stack.returns.filter(({ parent }) => parent.signature === undefined);
      if (unsigned.length > 0) {
        for (const { parent } of unsigned) pending.push(parent);
        continue;
      }
      pending.pop();
      if (stack.signature !== undefined) continue;
      const { returns, isBottom, distance } = stack;
      const left: ReadonlyMap<number, number>[] = [];
      const [exact, unbounded]: [string[], string[]] = [[], []];
      for (const back of returns) {
        const { min, max } = this.grammar.calls[back.call]!;
        const missing = nearOrFar(Math.max(0, min - back.count - 1));
        const allowed = max - back.count - 1;
        const below = back.parent.signature!;
        const rest = `${back.target},${this.#returnDistance(back) - distance}`;
        exact.push(`${back.call},${missing},${nearOrFar(allowed)},${rest},${below.exact}`);
        unbounded.push(`${back.call},${missing},${rest},${below.unbounded}`);
        left.push(below.turnsLeft);
        if (isBounded(max)) left.push(new Map([[back.call, allowed]]));
      }
      const bottom = isBottom ? "bottom;" : "";
      stack.signature = {
        exact: this.#numberOf(`stack;${bottom}${exact.sort().join(";")}`),
        unbounded: this.#numberOf(`unbounded stack;${bottom}${unbounded.sort().join(";")}`),
        turnsLeft: leastOf(left),
      };
    }
    return top.signature!;
  }

  #numberOf(key: string): number {
    let signature = this.#signatures.get(key);
    if (signature === undefined) {
      if (this.#signatures.size >= maxSignatures) this.#signatures.clear(); // numbers are never used twice
      signature = this.#nextSignature++;
      this.#signatures.set(key, signature);
    }
    return signature;
  }

  #configuration(threads: Threads): Configuration {
    // A state without byte transitions has done its part: its calls are followed, its return is taken.
    const order: number[] = [];
    for (let i = 0; i < threads.states.length; i++) if (this.#readsBytes[threads.states[i]!] === 1) order.push(i);
    if (order.length === 1 && !threads.isComplete) return this.#single(threads.states[order[0]!]!, threads.stacks[order[0]!]!);
    if (order.length > 1) order.sort((a, b) => threads.states[a]! - threads.states[b]! || threads.stacks[a]!.id - threads.stacks[b]!.id);
    const states = order.map((i) => threads.states[i]!);
    const stacks = order.map((i) => threads.stacks[i]!);
    let key = threads.isComplete ? "complete;" : "";
    for (let i = 0; i < states.length; i++) key += `${states[i]},${stacks[i]!.id};`;
    let configuration = this.#configurations.get(key);
    if (!configuration) {
      configuration = this.#make(states, stacks, threads.isComplete);
      this.#configurations.set(key, configuration);
    }
    return configuration;
  }

  /** The configuration of one state that reads bytes; what most bytes lead to. */
  #single(state: number, stack: Stack): Configuration {
    const key = stack.id * maxStates + state;
    let configuration = this.#singles.get(key);
    if (!configuration) {
      configuration = this.#make([state], [stack], false);
      this.#singles.set(key, configuration);
    }
    return configuration;
  }

  #make(states: readonly number[], stacks: readonly Stack[], isComplete: boolean): Configuration {
    if (this.numRemembered >= maxRemembered) this.#forget();
    const distances = states.map((state, i) => this.#distance[state]! + stacks[i]!.distance);
    const distance = isComplete ? 0 : distances.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
    return { states, stacks, isComplete, distance, signature: undefined, successors: [], epoch: this.epoch, neededTokens: undefined };
  }

  /** Configurations that are remembered now, some KiB each. */
  get numRemembered(): number {
    return this.#configurations.size + this.#singles.size;
  }

  /** Starts afresh, so that a long run holds no more than a bounded number; what is still in use stays valid. */
  #forget(): void {
    this.#configurations.clear();
    this.#singles.clear();
    this.#stacks.clear();
    this.epoch++;
  }
}

/** Whether turns of a repetition are counted towards a bound. */
const isBounded = (max: number): boolean => max !== 1 && max !== Number.POSITIVE_INFINITY;

/** The least value of each key. */
function leastOf(maps: readonly ReadonlyMap<number, number>[]): ReadonlyMap<number, number> {
  const [first, ...others] = maps;
  if (first === undefined || others.length === 0) return first ?? new Map();
  const least = new Map(first);
  for (const other of others) for (const [key, value] of other) least.set(key, Math.min(value, least.get(key) ?? value));
  return least;
}

/** Threads of one configuration under construction, without duplicates, and the calls that wait. */
class Threads {
  readonly states: number[] = [];
  readonly stacks: Stack[] = [];
  readonly pending = new Map<number, { readonly returns: Return[]; isBottom: boolean }>();
  isComplete = false;
  readonly #maxThreads: number;
  /** For many threads: a number per pair of state and stack. */
  #seen: Set<number> | undefined;
  #size = 0;

  constructor(maxThreads: number) {
    this.#maxThreads = maxThreads;
  }

  add(state: number, stack: Stack): void {
    if (this.#has(state, stack)) return;
    this.#seen?.add(stack.id * maxStates + state);
    this.states.push(state);
    this.stacks.push(stack);
    this.#count(1);
  }

  #has(state: number, stack: Stack): boolean {
    if (this.#seen) return this.#seen.has(stack.id * maxStates + state);
    for (let i = 0; i < this.states.length; i++) if (this.states[i] === state && this.stacks[i] === stack) return true;
    if (this.states.length >= 16) this.#seen = new Set(this.states.map((known, i) => this.stacks[i]!.id * maxStates + known));
    return false;
  }

  call(rule: number, back: Return): void {
    this.#pendingOf(rule).returns.push(back);
    this.#count(1);
  }

  /** The caller ends with the call: the called rule returns to where the caller would. */
  tailCall(rule: number, stack: Stack): void {
    const pending = this.#pendingOf(rule);
    pending.returns.push(...stack.returns);
    pending.isBottom ||= stack.isBottom;
    this.#count(stack.returns.length);
  }

  #pendingOf(rule: number): { readonly returns: Return[]; isBottom: boolean } {
    let pending = this.pending.get(rule);
    if (!pending) {
      pending = { returns: [], isBottom: false };
      this.pending.set(rule, pending);
    }
    return pending;
  }

  #count(added: number): void {
    this.#size += added;
    if (this.#size > this.#maxThreads) {
      throw new OptionError("maxThreads", `the grammar is so ambiguous that it needs more than ${this.#maxThreads} places at once`);
    }
  }
}
