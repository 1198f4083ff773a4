import { NativeError } from "../../errors.ts";
import { integer, number } from "../method.ts";
import { type Branch, Branches } from "./branch.ts";
import { readPrompt } from "./read-prompt.ts";
import { defineSearch, type Run, type SearchEvent, type SearchResult } from "./search.ts";
import { UnitVectors } from "./unit-vectors.ts";

interface Settings {
  readonly k: number;
  readonly alpha: number;
}

/** A token that was looked at, and what speaks for it. */
interface Look {
  readonly branch: Branch;
  readonly score: number;
  readonly similarity: number;
}

/**
 * Contrastive search: of the k most probable tokens the one with the largest (1 - alpha) · p - alpha · s, where s is the largest
 * cosine between its own state (last, after the final norm) and those of all tokens before it; ties go to the more probable. Each of
 * the k is evaluated in a fork, so the winner's row is there for the next token.
 */
async function* searchContrastive(run: Run, settings: Settings): AsyncGenerator<SearchEvent, SearchResult> {
  const states = new UnitVectors();
  const branches = await Branches.create(run, { count: settings.k, isNormalized: true, hidden: true });
  let winner: Branch | undefined;
  let score = 0;
  try {
    run.sequence.rewind(0); // the states of tokens that it holds already are gone
    const read = yield* readPrompt({ ...run, numCached: 0 }, branches.sampler, { hidden: "all" });
    if (read === undefined) return { ending: { reason: "deadline" }, text: "" };
    if (run.stop.maxTokens === 0) return { ending: { reason: "length" }, text: "" };
    for (const state of read.states) states.push(state);
    let branch = branches.start(read.last);
    const id = branches.nextId();
    for (let index = 0; ; index++) {
      const looks = await look(branches, branch, states, settings);
      if (looks === undefined) {
        winner = branch;
        return { ending: { reason: "deadline" }, text: branch.answer.flush(), sequence: branch.sequence };
      }
      const best = looks.reduce((a, b) => (b.score > a.score ? b : a));
      for (const other of looks) {
        if (other === best) continue;
        const why = `similarity ${other.similarity.toFixed(3)} to the text, the token taken has ${best.similarity.toFixed(3)}`;
        const fact = { id: branches.nextId(), parent: id, from: index, score: other.score, end: "pruned" as const, why };
        yield { kind: "branch", fact: other.branch.fact(fact) };
        branches.drop(other.branch);
      }
      branches.drop(branch);
      branch = best.branch;
      score += best.score;
      yield { kind: "token", index, fact: branch.tokens[index]!, text: branch.text };
      yield { kind: "growth", id, parent: undefined, from: 0, at: index, tokens: [branch.tokens[index]!.id], score: best.score };
      if (branch.ending !== undefined) {
        yield { kind: "branch", fact: branch.fact({ id, parent: undefined, from: 0, score: score / (index + 1), end: "won" }) };
        winner = branch;
        return { ending: branch.ending, text: "", sequence: branch.sequence };
      }
      states.push(branch.row.hidden!);
    }
  } finally {
    branches.close(winner);
  }
}

/** Evaluates the candidates after a branch, the most probable first; undefined once the deadline has passed. */
async function look(branches: Branches, from: Branch, states: UnitVectors, { alpha }: Settings): Promise<readonly Look[] | undefined> {
  const candidates = await from.candidates(0);
  if (candidates === undefined) return undefined;
  if (candidates.length === 0) throw new NativeError("the guides leave no token possible");
  const extended = candidates.map((candidate) => ({ candidate, branch: branches.extend(from, candidate) }));
  const evaluated = await Promise.all(extended.map(({ branch }) => branch.evaluate()));
  if (evaluated.includes(false)) return undefined;
  const similarities = states.largestCosines(extended.map(({ branch }) => branch.row.hidden!));
  return extended.map(({ candidate, branch }, index) => {
    const similarity = similarities[index]!;
    return { branch, similarity, score: (1 - alpha) * Math.exp(candidate.logprob) - alpha * similarity };
  });
}

export const contrastive = defineSearch({
  name: "contrastive",
  summary: "of the k most probable tokens the one that balances probability against likeness to the text so far",
  source: { title: "Contrastive Search Is What You Need For Neural Text Generation", arxiv: "2210.14140" },
  parameters: {
    k: integer({ min: 1, max: 64, default: 4, doc: "how many tokens are looked at, each in a row of the pass; 1 is greedy" }),
    alpha: number({ min: 0, max: 1, default: 0.6, doc: "weight of the likeness against the probability; 0 is greedy" }),
  },
  example: { k: 3 },
  neutral: { k: 1 },
  needs: ["input", "want.logits", "want.top", "want.hidden", "fork", "rewind"],
  refuses: {
    draft: "every token needs the states of its own candidates, and a draft's rows hold none of them",
    sample: "it takes the token with the best score of its own, so nothing is left for a sampler to choose",
  },
  create: (settings) => (run) => searchContrastive(run, settings),
});
