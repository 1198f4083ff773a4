import type { TokenId } from "../../token.ts";
import type { GenerateEvent, GenerateResult } from "../generate.ts";
import { softmax } from "../testing/reference.ts";

/** Numbers in [0, 1) that depend on all tokens before and on what is asked. */
export function hash(tokens: readonly number[], salt: number): number {
  let state = 2166136261 ^ salt;
  for (const token of tokens) state = Math.imul(state ^ (token + 1), 16777619);
  state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d);
  return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
}

/** A toy distribution of which every text has its own logits. */
export const logitsOf = (seed: number, vocabSize: number) => (tokens: readonly TokenId[]) =>
  Array.from({ length: vocabSize }, (_, id) => 3 * hash(tokens, 101 * seed + id));
export const hiddenOf = (seed: number) => (tokens: readonly TokenId[]) =>
  [0, 1, 2].map((i) => hash(tokens.slice(-2), 7919 * (seed + 1) + i) - 0.4);

/** log p of an answer. */
export const logprobOf = (logits: ReturnType<typeof logitsOf>, first: readonly number[], answer: readonly number[]) =>
  answer.reduce((sum, id, index) => sum + Math.log(softmax(logits([...first, ...answer.slice(0, index)] as TokenId[]))[id]!), 0);

/** Every answer of a vocabulary that ends with the end token or has `maxTokens` tokens. */
export function everyAnswer(vocabSize: number, end: number, maxTokens: number): number[][] {
  const open = (answers: number[][]) => answers.filter((tokens) => tokens.at(-1) !== end && tokens.length < maxTokens);
  let all: number[][] = [[]];
  while (open(all).length > 0)
    all = all.flatMap((tokens) => (open([tokens]).length === 0 ? [tokens] : Array.from({ length: vocabSize }, (_, id) => [...tokens, id])));
  return all;
}

export const idsOf = ({ tokens }: GenerateResult): number[] => [...tokens];

export async function eventsOf(events: AsyncIterable<GenerateEvent>) {
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  const last = all.at(-1)!;
  if (last.kind !== "finish") throw new Error("no finish");
  return { all, result: last.result };
}

/** Every branch's whole answer, put together from its ancestors. */
export function pathsOf({ facts }: GenerateResult): Map<number, readonly number[]> {
  const branches = new Map(facts.branches!.map((branch) => [branch.id, branch]));
  const pathOf = (id: number): readonly number[] => {
    const { parent, from, tokens } = branches.get(id)!;
    return parent === undefined ? tokens : [...pathOf(parent).slice(0, from), ...tokens];
  };
  return new Map([...branches.keys()].map((id) => [id, pathOf(id)]));
}

/** Every branch's whole answer as events of growth told it. */
export function grownPaths(events: readonly GenerateEvent[]): Map<number, readonly number[]> {
  const paths = new Map<number, number[]>();
  for (const event of events) {
    if (event.kind !== "growth") continue;
    const before = paths.get(event.id) ?? (event.parent === undefined ? [] : (paths.get(event.parent) ?? []).slice(0, event.from));
    paths.set(event.id, [...before.slice(0, event.at), ...event.tokens]);
  }
  return paths;
}
