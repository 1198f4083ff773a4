import type { RowResult } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import { integer, model as modelParameter, number } from "../method.ts";
import type { ModelSource } from "../model.ts";
import { ReadAlong } from "../read-along.ts";
import { StepSampler } from "../sampling/step.ts";
import { type DraftContext, type DraftLimits, type DraftState, defineDraft, maxDraftTokens, type WeighedTree } from "./draft.ts";

export interface ModelDraftSettings {
  /** Tokens of the chain. */
  readonly depth: number;
  /** Tokens at each place: the chain's own and the next most probable ones, after which nothing is drafted. */
  readonly width: number;
  /** The chain ends after a token of which the draft model was less sure. */
  readonly confidence: number;
}

/** The rows that a draft is written from. It moves with the run. */
export interface DraftReader extends Disposable {
  /** The row after the last token; undefined once the deadline has passed. */
  next(): Promise<RowResult | undefined>;
  advance(token: TokenId): void;
  rewind(length: number): void;
  fork(): DraftReader;
}

/** Another model, read whole. */
class WholeModel implements DraftReader {
  readonly #reader: ReadAlong;

  constructor(reader: ReadAlong) {
    this.#reader = reader;
  }

  async next(): Promise<RowResult | undefined> {
    return (await this.#reader.prepare()) ? this.#reader.row : undefined;
  }

  advance(token: TokenId): void {
    this.#reader.advance(token);
  }

  rewind(length: number): void {
    this.#reader.rewind(length);
  }

  fork(): WholeModel {
    return new WholeModel(this.#reader.fork());
  }

  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
  }
}

interface Context {
  /** Which of the run's random numbers decide. */
  readonly stream: number;
  readonly report?: DraftState["report"];
}

/**
 * Guesses what another model would write. It takes tokens of that model's rows as the run takes them of the target's: by the same shapes,
 * choice and random numbers, without the guides. So a draft model equal to the target is accepted whole, also when the run draws at random.
 */
export class ModelDraft implements DraftState<WeighedTree> {
  readonly #settings: ModelDraftSettings;
  readonly #reader: DraftReader;
  readonly #sampler: StepSampler;
  readonly #context: Context;
  #length: number;

  /** @param sampler  the run's, without its guides; this and the reader are the draft's own from now on */
  constructor(settings: ModelDraftSettings, reader: DraftReader, sampler: StepSampler, context: Context, length = 0) {
    this.#settings = settings;
    this.#reader = reader;
    this.#sampler = sampler;
    this.#context = context;
    this.#length = length;
  }

  async propose({ maxNodes, maxDepth }: DraftLimits): Promise<WeighedTree> {
    const { width, confidence } = this.#settings;
    const depth = Math.min(this.#settings.depth, maxDepth);
    const nodes: Node[] = [];
    let [parent, probability] = [-1, 1];
    for (let at = 0; at < depth; at++) {
      const row = await this.#reader.next();
      if (row === undefined) break;
      const { ids, logits, logSumExp } = row.candidates!;
      const share = (place: number) => Math.exp(logits[place]! - logSumExp);
      const chosen = this.#sampler.choose(row, { stream: this.#context.stream, index: this.#length + at })?.token ?? (ids[0] as TokenId);
      for (let place = 0, rest = width - 1; place < ids.length && rest > 0; place++) {
        if (ids[place] === chosen) continue;
        nodes.push({ token: ids[place] as TokenId, parent, chance: share(place), probability: probability * share(place) });
        rest--;
      }
      const place = ids.indexOf(chosen);
      const sure = place < 0 ? 0 : share(place);
      probability *= sure;
      parent = nodes.push({ token: chosen, parent, chance: sure, probability }) - 1;
      if (sure < confidence) break;
      this.#reader.advance(chosen);
      this.#sampler.advance(chosen);
    }
    this.#reader.rewind(this.#length);
    this.#sampler.rewind(this.#length);
    return likeliest(nodes, maxNodes);
  }

  advance(token: TokenId): void {
    this.#reader.advance(token);
    this.#sampler.advance(token);
    this.#length++;
  }

  rewind(length: number): void {
    this.#reader.rewind(length);
    this.#sampler.rewind(length);
    this.#length = length;
  }

  fork(): ModelDraft {
    return new ModelDraft(this.#settings, this.#reader.fork(), this.#sampler.fork(), this.#context, this.#length);
  }

  report() {
    return this.#context.report?.() ?? {};
  }

  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
    this.#sampler[Symbol.dispose]();
  }
}

interface Node {
  readonly token: TokenId;
  readonly parent: number;
  /** Probability of the token after those before it. */
  readonly chance: number;
  /** Probability of the path. */
  readonly probability: number;
}

/** The most probable paths first; a node is never before its parent, which is at least as probable. */
function likeliest(nodes: readonly Node[], count: number): WeighedTree {
  const depths = nodes.map(() => 0);
  for (const [index, { parent }] of nodes.entries()) if (parent >= 0) depths[index] = depths[parent]! + 1;
  const order = [...nodes.keys()]
    .sort((a, b) => nodes[b]!.probability - nodes[a]!.probability || depths[a]! - depths[b]! || a - b)
    .slice(0, count);
  const places = new Map(order.map((index, place) => [index, place]));
  return {
    tokens: order.map((index) => nodes[index]!.token),
    parents: order.map((index) => places.get(nodes[index]!.parent) ?? -1),
    chances: order.map((index) => nodes[index]!.chance),
  };
}

/** Draft models read candidates enough for a sampler's usual truncations, as the run itself does. */
export const draftRow = { want: { top: 63 } } as const;

export async function startModelDraft(
  model: ModelSource,
  settings: ModelDraftSettings,
  prompt: readonly TokenId[],
  { companion, rules, stream }: DraftContext,
): Promise<ModelDraft> {
  const other = companion(model);
  const sampler = StepSampler.unguided(rules, other.model.vocabSize, prompt);
  return new ModelDraft(settings, new WholeModel(await ReadAlong.start(other, prompt, draftRow)), sampler, { stream });
}

export const model = defineDraft({
  name: "model",
  summary: "a smaller model of the same vocabulary writes ahead",
  source: { title: "Fast Inference from Transformers via Speculative Decoding", arxiv: "2211.17192" },
  parameters: {
    model: modelParameter({ doc: "the draft model" }),
    depth: integer({ min: 1, max: maxDraftTokens, default: 3, doc: "tokens that it writes ahead, each a pass of its own" }),
    width: integer({
      min: 1,
      max: 8,
      default: 1,
      doc: "tokens guessed at each place; those beside the chain's own cost rows of the pass only",
    }),
    confidence: number({ min: 0, max: 1, default: 0.4, doc: "it stops after a token to which it gives less probability" }),
  },
  example: { depth: 2 },
  needs: ["input", "want.logits", "want.top", "rewind", "parents", "keep"],
  create: ({ model, ...settings }) => ({
    name: "model",
    start: (prompt, context) => startModelDraft(model, settings, prompt, context),
  }),
});
