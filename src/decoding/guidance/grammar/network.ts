import { OptionError } from "../../../errors.ts";
import { byteClasses, type Dfa, determinize, minimize, withoutEmpty } from "./automaton.ts";
import type { Expression, RuleSet } from "./expression.ts";
import type { Budget } from "./limits.ts";
import { buildNfa, byteSets, type NfaContext } from "./nfa.ts";

/**
 * A grammar as plain data: one deterministic, minimal automaton per rule, over byte classes and *calls* of rules (a recursive
 * transition network, which is a pushdown automaton whose regular parts are DFAs). It can be posted between threads.
 *
 * No call reads the empty text: where a rule may be empty, the caller has the path around it. So a closure over calls never
 * returns to a caller before a byte was read.
 *
 * Axes: S states of all rules, K byte classes, E call transitions.
 */
export interface CompiledGrammar {
  /** [256] */
  readonly classOf: Uint8Array;
  readonly numClasses: number;
  readonly numStates: number;
  /** [S, K]: the state after a byte of this class, or -1 */
  readonly next: Int32Array;
  /** [S]: 1 where the rule may end */
  readonly accepting: Uint8Array;
  /** [S + 1]: state s has the call transitions edgeOffset[s] .. edgeOffset[s + 1] */
  readonly edgeOffset: Int32Array;
  /** [E]: index into `calls` */
  readonly edgeCall: Int32Array;
  /** [E]: the state after the call */
  readonly edgeTarget: Int32Array;
  /** `min` to `max` (maybe Infinity) times a rule, min >= 1. */
  readonly calls: readonly { readonly rule: number; readonly min: number; readonly max: number }[];
  /** Rules in an order in which each stands before the rules it may call without reading a byte first; `start` never accepts. */
  readonly rules: readonly { readonly name: string; readonly start: number }[];
  readonly root: number;
  /** Whether the empty text belongs to the language. */
  readonly acceptsEmpty: boolean;
}

/** A rule that is no larger than this (states of its nondeterministic automaton) is built into its callers. */
const inlineSize = 128;
/** A repetition that would be longer than this when copied is counted while running. */
const unrollSize = 96;

/** @throws OptionError for a reference to no rule, a left-recursive rule, or a grammar above its limits */
export function compileNetwork(ruleSet: RuleSet, budget: Budget): CompiledGrammar {
  const { rules } = ruleSet;
  checkReferences(ruleSet);
  const nullable = nullableRules(rules, budget);
  const { sizeOf, isInlined } = measure(ruleSet, budget);
  const classes = byteClasses(uniqueSets(rules.values()));

  // Rules that keep an automaton of their own are found while building: the root, what is called, and what is counted.
  const kept: { readonly name: string; readonly body: Expression; dfa: Dfa | undefined; symbols: number[] }[] = [];
  const keptByName = new Map<string, number>();
  const keptByBody = new Map<Expression, number>();
  const calls: { readonly rule: number; readonly min: number; readonly max: number }[] = [];
  const callIds = new Map<string, number>();

  const keep = (name: string, body: Expression): number => kept.push({ name, body, dfa: undefined, symbols: [] }) - 1;
  const callId = (target: number, min: number, max: number): number => {
    const key = `${target},${min},${max}`;
    let id = callIds.get(key);
    if (id === undefined) {
      id = calls.push({ rule: target, min, max }) - 1;
      callIds.set(key, id);
    }
    return id;
  };

  keptByName.set(ruleSet.root, keep(ruleSet.root, rules.get(ruleSet.root)!));
  for (let index = 0; index < kept.length; index++) {
    const entry = kept[index]!;
    const symbolOf = new Map<number, number>(); // call -> symbol of this automaton
    const callSymbol = (call: number): number => {
      let symbol = symbolOf.get(call);
      if (symbol === undefined) {
        symbol = classes.numClasses + symbolOf.size;
        symbolOf.set(call, symbol);
        entry.symbols.push(call);
      }
      return symbol;
    };
    const context: NfaContext = {
      ...classes,
      reference(name) {
        const body = rules.get(name)!;
        if (isInlined(name)) return { body };
        let target = keptByName.get(name);
        if (target === undefined) {
          target = keep(name, body);
          keptByName.set(name, target);
        }
        return { symbol: callSymbol(callId(target, 1, 1)), isNullable: nullable.has(name) };
      },
      counted(body, min, max) {
        const copies = max === Number.POSITIVE_INFINITY ? min : max;
        const size = sizeOf(body) * copies;
        if (copies <= 1 || size <= unrollSize) return undefined;
        let target = keptByBody.get(body);
        if (target === undefined) {
          target = keep(`${entry.name}[repeated]`, body);
          keptByBody.set(body, target);
        }
        // Turns that read nothing change no text, so with a nullable body any smaller number of real turns will do.
        const isNullable = isNullableExpression(body, nullable);
        return { symbol: callSymbol(callId(target, isNullable ? 1 : min, max)), isNullable };
      },
    };
    const nfa = buildNfa(entry.body, context, budget);
    entry.dfa = minimize(determinize(nfa, classes.numClasses + entry.symbols.length, budget), budget);
  }
  const acceptsEmpty = kept[0]!.dfa!.accepting[0] === 1;
  for (const entry of kept) entry.dfa = withoutEmpty(entry.dfa!, budget);

  const order = leftCallOrder(
    kept.map(({ dfa, symbols }) => leftCalls(dfa!, symbols, classes.numClasses).map((call) => calls[call]!.rule)),
    (cycle) => cycle.map((rule) => kept[rule]!.name),
  );
  return { ...layOut(kept, order, calls, classes.numClasses), classOf: classes.classOf, acceptsEmpty };
}

/** Puts the automata of all rules into one table, rules in `order`. */
function layOut(
  kept: readonly { readonly name: string; readonly dfa: Dfa | undefined; readonly symbols: readonly number[] }[],
  order: readonly number[],
  calls: CompiledGrammar["calls"],
  numClasses: number,
): Omit<CompiledGrammar, "classOf" | "acceptsEmpty"> {
  const numStates = kept.reduce((sum, { dfa }) => sum + dfa!.numStates, 0);
  const next = new Int32Array(numStates * numClasses).fill(-1);
  const accepting = new Uint8Array(numStates);
  const edgeOffset = new Int32Array(numStates + 1);
  const edgeCall: number[] = [];
  const edgeTarget: number[] = [];
  const rules: { readonly name: string; readonly start: number }[] = [];
  const rank = new Map(order.map((rule, index) => [rule, index]));
  let base = 0;
  for (const rule of order) {
    const { name, dfa, symbols } = kept[rule]!;
    rules.push({ name, start: base });
    accepting.set(dfa!.accepting, base);
    for (let state = 0; state < dfa!.numStates; state++) {
      for (let symbol = 0; symbol < dfa!.numSymbols; symbol++) {
        const target = dfa!.next[state * dfa!.numSymbols + symbol]!;
        if (target < 0) continue;
        if (symbol < numClasses) {
          next[(base + state) * numClasses + symbol] = base + target;
        } else {
          edgeCall.push(symbols[symbol - numClasses]!);
          edgeTarget.push(base + target);
        }
      }
      edgeOffset[base + state + 1] = edgeCall.length;
    }
    base += dfa!.numStates;
  }
  return {
    numClasses,
    numStates,
    next,
    accepting,
    edgeOffset,
    edgeCall: Int32Array.from(edgeCall),
    edgeTarget: Int32Array.from(edgeTarget),
    calls: calls.map((call) => ({ ...call, rule: rank.get(call.rule)! })),
    rules,
    root: rank.get(0)!,
  };
}

/** Calls that a rule may make before it has read a byte: those of its start state, since no call is empty. */
function leftCalls(dfa: Dfa, symbols: readonly number[], numClasses: number): number[] {
  return symbols.filter((_, index) => dfa.next[numClasses + index]! >= 0);
}

/** Topological order of the left calls, the root's side first. @throws OptionError that names a cycle (left recursion) */
function leftCallOrder(leftCalls: readonly (readonly number[])[], namesOf: (cycle: number[]) => string[]): number[] {
  const status = new Uint8Array(leftCalls.length); // 0 new, 1 on the path, 2 done
  const finished: number[] = [];
  for (let first = 0; first < leftCalls.length; first++) {
    if (status[first] !== 0) continue;
    const path: { readonly rule: number; edge: number }[] = [{ rule: first, edge: 0 }];
    status[first] = 1;
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const callee = leftCalls[top.rule]![top.edge++];
      if (callee === undefined) {
        status[top.rule] = 2;
        finished.push(top.rule);
        path.pop();
      } else if (status[callee] === 1) {
        const rules = path.map(({ rule }) => rule);
        const names = namesOf([...rules.slice(rules.indexOf(callee)), callee]);
        throw new OptionError(
          "grammar",
          `left recursion: ${names.join(" → ")}; write the repetition with * or +, or the recursion to the right`,
        );
      } else if (status[callee] === 0) {
        status[callee] = 1;
        path.push({ rule: callee, edge: 0 });
      }
    }
  }
  return finished.reverse();
}

function checkReferences({ root, rules }: RuleSet): void {
  if (!rules.has(root)) throw new OptionError("grammar", `there is no rule named ${root}`);
  for (const [name, body] of rules) {
    for (const reference of references(body)) {
      if (!rules.has(reference)) throw new OptionError("grammar", `the rule ${name} refers to ${reference}, which is not defined`);
    }
  }
}

function* uniqueSets(bodies: Iterable<Expression>): Generator<Uint32Array> {
  const seen = new Set<string>();
  for (const body of bodies) {
    for (const set of byteSets(body)) {
      const key = set.join();
      if (seen.has(key)) continue;
      seen.add(key);
      yield set;
    }
  }
}

/** Names of the rules an expression refers to, with repetitions. */
function* references(expression: Expression): Generator<string> {
  switch (expression.kind) {
    case "rule":
      yield expression.name;
      return;
    case "sequence":
    case "choice":
      for (const part of expression.parts) yield* references(part);
      return;
    case "repeat":
      if (expression.max > 0) yield* references(expression.body);
      return;
    case "list":
      yield* references(expression.separator);
      for (const member of expression.members) yield* references(member.body);
      return;
    case "bytes":
    case "automaton":
      return;
    default:
      expression satisfies never;
  }
}

function isNullableExpression(expression: Expression, nullable: ReadonlySet<string>): boolean {
  switch (expression.kind) {
    case "bytes":
      return false;
    case "sequence":
      return expression.parts.every((part) => isNullableExpression(part, nullable));
    case "choice":
      return expression.parts.some((part) => isNullableExpression(part, nullable));
    case "repeat":
      return expression.min === 0 || isNullableExpression(expression.body, nullable);
    case "list": {
      const present = expression.members.filter(({ isRequired }) => isRequired);
      if (present.length > 1 && !isNullableExpression(expression.separator, nullable)) return false;
      return present.every(({ body }) => isNullableExpression(body, nullable));
    }
    case "rule":
      return nullable.has(expression.name);
    case "automaton":
      return expression.dfa.accepting[0] === 1;
    default:
      return expression satisfies never;
  }
}

function nullableRules(rules: RuleSet["rules"], budget: Budget): Set<string> {
  const nullable = new Set<string>();
  for (let changed = true; changed; ) {
    changed = false;
    for (const [name, body] of rules) {
      budget.work(1);
      if (nullable.has(name) || !isNullableExpression(body, nullable)) continue;
      nullable.add(name);
      changed = true;
    }
  }
  return nullable;
}

/**
 * Sizes of expressions, and which rules are built into their callers: those that are not recursive and small, or used once.
 * Sizes are counted with the inlined rules in them, so what a rule is copied into grows by `inlineSize` per reference at most.
 */
function measure({ root, rules }: RuleSet, budget: Budget) {
  const uses = new Map<string, number>();
  for (const body of rules.values()) for (const name of references(body)) uses.set(name, (uses.get(name) ?? 0) + 1);
  const recursive = recursiveRules(rules, budget);
  const sizes = new Map<Expression, number>();
  const isInlined = (name: string): boolean =>
    name !== root && !recursive.has(name) && (uses.get(name)! <= 1 || sizeOf(rules.get(name)!) <= inlineSize);

  const sizeOf = (expression: Expression): number => {
    const known = sizes.get(expression);
    if (known !== undefined) return known;
    budget.work(1);
    const size = sizeOfNew(expression);
    sizes.set(expression, size);
    return size;
  };
  const sum = (parts: readonly Expression[]): number => parts.reduce((total, part) => total + sizeOf(part), 0);
  const sizeOfNew = (expression: Expression): number => {
    switch (expression.kind) {
      case "bytes":
        return 1;
      case "sequence":
      case "choice":
        return 1 + sum(expression.parts);
      case "repeat": {
        const copies = expression.max === Number.POSITIVE_INFINITY ? expression.min + 1 : expression.max;
        const unrolled = sizeOf(expression.body) * copies;
        return unrolled <= unrollSize || copies <= 1 ? 1 + unrolled : 2; // else it is counted: one transition
      }
      case "list":
        return 1 + sum(expression.members.map(({ body }) => body)) + expression.members.length * (4 + sizeOf(expression.separator));
      case "rule":
        return isInlined(expression.name) ? sizeOf(rules.get(expression.name)!) : 1;
      case "automaton":
        return expression.dfa.numStates;
      default:
        return expression satisfies never;
    }
  };
  return { sizeOf, isInlined };
}

/** Rules that can reach themselves. (Tarjan 1972, strongly connected components, without recursion.) */
function recursiveRules(rules: RuleSet["rules"], budget: Budget): Set<string> {
  const callees = new Map([...rules].map(([name, body]) => [name, [...new Set(references(body))]]));
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const component: string[] = [];
  const onStack = new Set<string>();
  const recursive = new Set<string>();
  const enter = (name: string): { readonly name: string; edge: number } => {
    budget.work(1);
    index.set(name, index.size);
    low.set(name, index.get(name)!);
    component.push(name);
    onStack.add(name);
    return { name, edge: 0 };
  };
  for (const first of rules.keys()) {
    if (index.has(first)) continue;
    const path = [enter(first)];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const callee = callees.get(top.name)![top.edge++];
      if (callee === undefined) {
        path.pop();
        const caller = path.at(-1);
        if (caller) low.set(caller.name, Math.min(low.get(caller.name)!, low.get(top.name)!));
        if (low.get(top.name) !== index.get(top.name)) continue;
        const members = component.splice(component.lastIndexOf(top.name));
        for (const member of members) onStack.delete(member);
        if (members.length > 1 || callees.get(top.name)!.includes(top.name)) for (const member of members) recursive.add(member);
      } else if (!index.has(callee)) {
        path.push(enter(callee));
      } else if (onStack.has(callee)) {
        low.set(top.name, Math.min(low.get(top.name)!, index.get(callee)!));
      }
    }
  }
  return recursive;
}
