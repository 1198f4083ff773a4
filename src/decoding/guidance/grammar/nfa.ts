import {
  type ByteClasses,
  type ByteDfa,
  byteClasses,
  classesOf,
  determinize,
  minimize,
  type Nfa,
  type NfaEdge,
  nfaAccept,
  nfaStart,
} from "./automaton.ts";
import type { ByteSet, Expression } from "./expression.ts";
import type { Budget } from "./limits.ts";

/** What an automaton under construction asks of the grammar around it. */
export interface NfaContext extends ByteClasses {
  /** How a reference to a rule is built in: as its body, or as a symbol of its own; `isNullable`: the rule also gives "". */
  reference(name: string): { readonly body: Expression } | { readonly symbol: number; readonly isNullable: boolean };
  /** The symbol for `min` to `max` times `body` (>= 1), when that is better counted than copied; otherwise undefined. */
  counted(body: Expression, min: number, max: number): { readonly symbol: number; readonly isNullable: boolean } | undefined;
}

/** Thompson's construction. @throws OptionError when the budget ends */
export function buildNfa(expression: Expression, context: NfaContext, budget: Budget): Nfa {
  const epsilon: number[][] = [[], []];
  const edges: NfaEdge[][] = [[], []];
  const symbolsOf = new Map<ByteSet, readonly number[]>();

  const newState = (): number => {
    budget.work(40); // some 100 bytes, and its part in the determinization
    epsilon.push([]);
    return edges.push([]) - 1;
  };
  const link = (from: number, to: number): void => {
    epsilon[from]!.push(to);
  };
  const call = (from: number, to: number, target: { readonly symbol: number; readonly isNullable: boolean }): void => {
    edges[from]!.push({ symbols: [target.symbol], target: to });
    if (target.isNullable) link(from, to);
  };

  /** Adds paths from `from` to `to` that read `part`; adds no edge into `from` and none out of `to`. */
  const add = (part: Expression, from: number, to: number): void => {
    budget.work(1);
    switch (part.kind) {
      case "bytes": {
        let symbols = symbolsOf.get(part.set);
        if (!symbols) {
          symbols = classesOf(part.set, context);
          symbolsOf.set(part.set, symbols);
        }
        edges[from]!.push({ symbols, target: to });
        return;
      }
      case "sequence": {
        let at = from;
        for (const [index, child] of part.parts.entries()) {
          const end = index === part.parts.length - 1 ? to : newState();
          add(child, at, end);
          at = end;
        }
        if (part.parts.length === 0) link(from, to);
        return;
      }
      case "choice":
        for (const child of part.parts) add(child, from, to);
        return;
      case "repeat":
        addRepeat(part, from, to);
        return;
      case "list": {
        // Two tracks: `none` while no member has come, `some` after one; each member is built once and entered from both.
        let none = newState();
        let some = newState();
        link(from, none);
        for (const member of part.members) {
          const start = newState();
          const end = newState();
          link(none, start);
          add(part.separator, some, start);
          add(member.body, start, end);
          const nextNone = newState();
          if (!member.isRequired) {
            link(none, nextNone);
            link(some, end);
          }
          none = nextNone;
          some = end;
        }
        link(none, to);
        link(some, to);
        return;
      }
      case "rule": {
        const target = context.reference(part.name);
        if ("body" in target) add(target.body, from, to);
        else call(from, to, target);
        return;
      }
      case "automaton":
        addAutomaton(part.dfa, from, to);
        return;
      default:
        part satisfies never;
    }
  };

  const addRepeat = (part: Expression & { kind: "repeat" }, from: number, to: number): void => {
    budget.repeat(part.min);
    budget.repeat(part.max);
    if (part.max === 0) {
      link(from, to);
      return;
    }
    const counted = context.counted(part.body, Math.max(part.min, 1), part.max);
    if (counted) {
      call(from, to, counted);
      if (part.min === 0) link(from, to);
      return;
    }
    let at = from;
    for (let copy = 0; copy < part.min; copy++) {
      const end = newState();
      add(part.body, at, end);
      at = end;
    }
    if (part.max === Number.POSITIVE_INFINITY) {
      const loop = newState();
      link(at, loop);
      add(part.body, loop, loop);
      link(loop, to);
      return;
    }
    for (let copy = part.min; copy < part.max; copy++) {
      link(at, to);
      const end = newState();
      add(part.body, at, end);
      at = end;
    }
    link(at, to);
  };

  const addAutomaton = (dfa: ByteDfa, from: number, to: number): void => {
    const states = Array.from({ length: dfa.numStates }, newState);
    if (states.length === 0) return;
    link(from, states[0]!);
    const bytesOf: number[][] = Array.from({ length: dfa.numClasses }, () => []);
    for (let byte = 0; byte < 256; byte++) bytesOf[dfa.classOf[byte]!]!.push(byte);
    const symbols = bytesOf.map((bytes) => [...new Set(bytes.map((byte) => context.classOf[byte]!))]);
    for (let state = 0; state < dfa.numStates; state++) {
      if (dfa.accepting[state] === 1) link(states[state]!, to);
      for (let symbol = 0; symbol < dfa.numClasses; symbol++) {
        const target = dfa.next[state * dfa.numSymbols + symbol]!;
        if (target >= 0) edges[states[state]!]!.push({ symbols: symbols[symbol]!, target: states[target]! });
      }
    }
  };

  add(expression, nfaStart, nfaAccept);
  return { epsilon, edges };
}

/** Every byte set that an expression tells apart. */
export function* byteSets(expression: Expression): Generator<ByteSet> {
  switch (expression.kind) {
    case "bytes":
      yield expression.set;
      return;
    case "sequence":
    case "choice":
      for (const part of expression.parts) yield* byteSets(part);
      return;
    case "repeat":
      yield* byteSets(expression.body);
      return;
    case "list":
      yield* byteSets(expression.separator);
      for (const member of expression.members) yield* byteSets(member.body);
      return;
    case "automaton":
      yield* setsOfClasses(expression.dfa);
      return;
    case "rule":
      return;
    default:
      expression satisfies never;
  }
}

function* setsOfClasses({ classOf, numClasses }: ByteClasses): Generator<ByteSet> {
  const sets = Array.from({ length: numClasses }, () => new Uint32Array(8));
  for (let byte = 0; byte < 256; byte++) sets[classOf[byte]!]![byte >> 5]! |= 1 << (byte & 31);
  yield* sets;
}

/** The minimal automaton of an expression without references. @throws OptionError when the budget ends */
export function regularAutomaton(expression: Expression, budget: Budget): ByteDfa {
  const classes = byteClasses(byteSets(expression));
  const nfa = buildNfa(
    expression,
    {
      ...classes,
      reference(name) {
        throw new Error(`internal: the rule ${name} is referred to where the language must be regular`);
      },
      counted: () => undefined,
    },
    budget,
  );
  return { ...minimize(determinize(nfa, classes.numClasses, budget), budget), ...classes };
}
