import type { RowResult } from "../../engine/index.ts";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { integer, model as modelParameter, number, optional, text } from "../method.ts";
import { StepSampler } from "../sampling/step.ts";
import { type DraftContext, defineDraft, maxDraftTokens } from "./draft.ts";
import { type DraftReader, ModelDraft, type ModelDraftSettings } from "./model.ts";
import { NestedReader } from "./nested-reader.ts";

/** Reads at the first exit that is sure enough of its token; at the last one in any case. */
class NestedDraftReader implements DraftReader {
  readonly #reader: NestedReader;
  readonly #sure: number;
  /** How many tokens each exit gave; shared with forks. */
  readonly counts: number[];

  constructor(reader: NestedReader, sure: number, counts = new Array<number>(reader.stageCount).fill(0)) {
    this.#reader = reader;
    this.#sure = sure;
    this.counts = counts;
  }

  async next(): Promise<RowResult | undefined> {
    for (let stage = 0; ; stage++) {
      const row = await this.#reader.row(stage);
      if (row === undefined) return undefined;
      const { logits, logSumExp } = row.candidates!;
      if (stage < this.#reader.stageCount - 1 && Math.exp(logits[0]! - logSumExp) < this.#sure) continue;
      this.counts[stage]!++;
      return row;
    }
  }

  advance(token: TokenId): void {
    this.#reader.advance(token);
  }

  rewind(length: number): void {
    this.#reader.rewind(length);
  }

  fork(): NestedDraftReader {
    return new NestedDraftReader(this.#reader.fork(), this.#sure, this.counts);
  }

  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
  }
}

/** "4;8;12", each a number of blocks; without any a third, two thirds and all of a draft model, a quarter and half of the target. */
function exitsOf(written: string, blocks: number, isTarget: boolean): readonly number[] {
  const shares = isTarget ? [1 / 4, 1 / 2] : [1 / 3, 2 / 3, 1];
  const exits = written === "" ? [...new Set(shares.map((share) => Math.ceil(share * blocks)))] : written.split(";").map(Number);
  for (const [index, exit] of exits.entries()) {
    if (!Number.isInteger(exit) || exit < 1 || exit > blocks)
      throw new OptionError(
        "draft",
        `nested: exits must be numbers of blocks in [1, ${blocks}], such as 4;8, got ${JSON.stringify(written)}`,
      );
    if (index > 0 && exit <= exits[index - 1]!) throw new OptionError("draft", `nested: exits must ascend, got ${JSON.stringify(written)}`);
  }
  return exits;
}

/** The model that writes, left at one exit whatever it is sure of. */
export async function startExitDraft(
  exit: number,
  settings: ModelDraftSettings,
  prompt: readonly TokenId[],
  { companion, rules, stream }: DraftContext,
): Promise<ModelDraft> {
  const itself = companion(undefined);
  const reader = new NestedDraftReader(await NestedReader.start(itself, prompt, [exit]), 0);
  return new ModelDraft(settings, reader, StepSampler.unguided(rules, itself.model.vocabSize, prompt), { stream });
}

export const nested = defineDraft({
  name: "nested",
  summary: "a draft model, or the target itself, left at the first of several exits that is sure of its token (S2D)",
  source: { title: "S2D: Sorted Speculative Decoding For More Efficient Deployment of Nested Large Language Models", arxiv: "2407.01955" },
  parameters: {
    model: optional(modelParameter({ doc: "the draft model; left out the model that writes drafts with its own first blocks" })),
    exits: text({
      default: "",
      doc: "after how many blocks it may be left, such as 4;8;12; default a third, two thirds and all of a draft model, a quarter and half of the target",
    }),
    sure: number({
      min: 0,
      max: 2,
      default: 0.7,
      doc: "an exit's token is taken from this probability on; 0: the first exit, above 1: the last",
    }),
    confidence: number({ min: 0, max: 1, default: 0.4, doc: "it stops after a token to which it gives less probability" }),
    depth: integer({ min: 1, max: maxDraftTokens, default: 3, doc: "tokens that it writes ahead" }),
    width: integer({
      min: 1,
      max: 8,
      default: 1,
      doc: "tokens guessed at each place; those beside the chain's own cost rows of the pass only",
    }),
  },
  example: { exits: "1;2", depth: 2, confidence: 0 },
  needs: ["input", "blocks", "want.logits", "want.top", "want.taps", "rewind", "parents", "keep"],
  create: ({ model, exits, sure, ...settings }) => ({
    name: "nested",
    async start(prompt, { companion, rules, stream }) {
      const drafter = companion(model);
      const ends = exitsOf(exits, drafter.model.blocks ?? 1, model === undefined);
      const reader = new NestedDraftReader(await NestedReader.start(drafter, prompt, ends), sure);
      const report = () => {
        const total = reader.counts.reduce((sum, count) => sum + count, 0);
        const chosen = ends.map((end, stage) => `${end} blocks: ${reader.counts[stage]}`).join(", ");
        const because = `the first exit that gives its token ${sure} or more; ${total} tokens drafted`;
        return { choices: [{ what: "draft exits", chosen, because }] };
      };
      return new ModelDraft(settings, reader, StepSampler.unguided(rules, drafter.model.vocabSize, prompt), { stream, report });
    },
  }),
});
