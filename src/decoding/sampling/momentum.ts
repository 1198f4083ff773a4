import type { TokenId } from "../../token.ts";
import { integer, number } from "../method.ts";
import type { Distribution } from "./distribution.ts";
import type { DrawPoint } from "./random.ts";
import { type Choice, defineSampler } from "./sampler.ts";

interface Settings {
  readonly alpha: number;
  readonly k: number;
  readonly depth: number;
}

/**
 * Prompt and answer as a path through a graph of tokens: where each token stands. A step to a token that was visited before closes a
 * circuit, and pays the more the longer the stretch that it would walk again.
 */
export class VisitedTokens {
  readonly #tokens: TokenId[];
  readonly #places = new Map<TokenId, number[]>();

  constructor(tokens: readonly TokenId[]) {
    this.#tokens = [];
    for (const token of tokens) this.push(token);
  }

  get length(): number {
    return this.#tokens.length;
  }

  push(token: TokenId): void {
    const place = this.#tokens.push(token) - 1;
    const places = this.#places.get(token);
    if (places === undefined) this.#places.set(token, [place]);
    else places.push(place);
  }

  truncate(length: number): void {
    while (this.#tokens.length > length) this.#places.get(this.#tokens.pop()!)!.pop();
  }

  /** The largest l <= `depth` such that the last l - 1 tokens followed by `token` stand somewhere in a row; 0 if it is new. */
  circuitLength(token: TokenId, depth: number): number {
    const end = this.#tokens.length;
    let longest = 0;
    for (const place of this.#places.get(token) ?? []) {
      let length = 1;
      while (length < depth && place >= length && this.#tokens[place - length] === this.#tokens[end - length]) length++;
      if (length > longest) longest = length;
      if (longest === depth) break;
    }
    return longest;
  }

  copy(): VisitedTokens {
    return new VisitedTokens(this.#tokens);
  }
}

class MomentumChoice implements Choice {
  readonly #settings: Settings;
  readonly #visited: VisitedTokens;
  readonly #numPrompt: number;

  constructor(settings: Settings, visited: VisitedTokens, numPrompt: number) {
    this.#settings = settings;
    this.#visited = visited;
    this.#numPrompt = numPrompt;
  }

  choose(distribution: Distribution, _point: DrawPoint, count: number): readonly number[] | undefined {
    const { alpha, k, depth } = this.#settings;
    const places = distribution.best(k + count - 1);
    const logTotal = distribution.logSumExp();
    if (places === undefined || logTotal === undefined) return undefined;
    const looked = places.map((place) => ({
      place,
      probability: Math.exp(distribution.logits[place]! - logTotal),
      resistance: alpha * this.#visited.circuitLength(distribution.ids[place]! as TokenId, depth),
    }));
    const taken: number[] = [];
    // what was taken is ruled out: the next k are looked at, with probabilities of what is left of the mass
    for (let mass = 1; taken.length < count && looked.length > 0; ) {
      const score = ({ probability, resistance }: (typeof looked)[number]) => probability - mass * resistance;
      const best = looked.slice(0, k).reduce((a, b) => (score(b) > score(a) ? b : a)); // of equal scores the more probable token
      looked.splice(looked.indexOf(best), 1);
      taken.push(best.place);
      mass -= best.probability;
    }
    return taken;
  }

  advance(token: TokenId): void {
    this.#visited.push(token);
  }

  rewind(length: number): void {
    this.#visited.truncate(this.#numPrompt + length);
  }

  fork(): MomentumChoice {
    return new MomentumChoice(this.#settings, this.#visited.copy(), this.#numPrompt);
  }
}

/**
 * Of the k most probable tokens the one with the largest p(token) - alpha · L(token), where L is the length of the circuit that it
 * closes ({@link VisitedTokens.circuitLength}): the paper's linear resistance. A loop of `depth` tokens costs alpha · depth, with the
 * defaults as much as any probability. Draws nothing.
 */
export const momentum = defineSampler({
  name: "momentum",
  summary: "the most probable token less a resistance that grows with the stretch of text it would repeat; draws nothing",
  source: { title: "Momentum Decoding: Open-ended Text Generation As Graph Exploration", arxiv: "2212.02175" },
  parameters: {
    alpha: number({ min: 0, max: 10, default: 0.2, doc: "resistance per repeated token, in probability; 0 is greedy" }),
    k: integer({ min: 1, max: 1024, default: 5, doc: "how many of the most probable tokens are looked at; 1 is greedy" }),
    depth: integer({ min: 1, max: 64, default: 5, doc: "repeated tokens that count, at most" }),
  },
  example: { alpha: 0.2 },
  neutral: { alpha: 0 },
  needs: ["want.top", "want.fullLogits"],
  create: (settings) => ({
    ...{ kind: "choice", isGreedy: false, isRandom: false, numCandidates: settings.k },
    start: (prompt) => new MomentumChoice(settings, new VisitedTokens(prompt), prompt.length),
  }),
});
