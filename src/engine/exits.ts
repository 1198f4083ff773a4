import { OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import type { Engine } from "./engine.ts";
import type { BlockPlan } from "./sequence.ts";

/** What a model is worth that is left after some of its blocks, through its own norm and head. */
export interface Exit {
  /** How many of the first blocks run. */
  readonly blocks: number;
  /** Share of a text's tokens after which it finds the same token the most probable as the whole model. */
  readonly agreement: number;
  /** What a pass over one row costs, against one of the whole model. */
  readonly price: number;
}

/**
 * Measures exits on a text: how often each says what the whole model says, in one request, and what it costs, in alternating passes of one
 * row.
 *
 * @param tokens  2 tokens or more
 * @param exits   numbers of blocks, in [1, L - 1], L the model's
 */
export async function measureExits(
  engine: Engine,
  tokens: readonly TokenId[],
  exits: readonly number[],
  { signal, rounds = 5 }: { signal?: AbortSignal; rounds?: number } = {},
): Promise<Exit[]> {
  if (tokens.length < 2) throw new OptionError("tokens", "exits are measured on a text of two tokens or more");
  const { length } = engine.model.config.blocks;
  const abort = signal === undefined ? {} : { signal };
  using sequence = engine.sequence();
  const { rows } = await sequence.forward({
    input: tokens,
    want: { logits: "all", top: 1 },
    exits: exits.map((blocks) => blocks - 1),
    ...abort,
  });
  const agreements = exits.map((blocks) => {
    const same = rows.filter((row) => row.exits!.get(blocks - 1)!.ids[0] === row.candidates!.ids[0]);
    return same.length / rows.length;
  });
  const plans: BlockPlan[] = [length, ...exits].map((blocks) =>
    Object.fromEntries(
      Array.from({ length: length - blocks }, (_, index) => blocks + index).flatMap((block) => [
        [`blocks.${block}.attn`, false as const],
        [`blocks.${block}.ffn`, false as const],
      ]),
    ),
  );
  const ratios = exits.map((): number[] => []);
  const before = sequence.length - 1;
  for (let round = 0; round <= rounds; round += 1) {
    const times: number[] = [];
    for (const blocks of plans) {
      sequence.rewind(before);
      const { cost } = await sequence.forward({ input: [tokens.at(-1)!], want: { logits: "last", top: 1 }, blocks, ...abort });
      times.push(cost.computeMs);
    }
    if (round > 0) for (const [index, list] of ratios.entries()) list.push(times[index + 1]! / times[0]!); // the first compiles
  }
  return exits.map((blocks, index) => ({ blocks, agreement: agreements[index]!, price: medianOf(ratios[index]!) }));
}

function medianOf(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
