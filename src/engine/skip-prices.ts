import { OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import type { Engine } from "./engine.ts";

const chunk = 64; // rows at a time: two taps per block of each are held

/**
 * How little each feed-forward half changes the residual stream of a text: per block the mean, over rows, of the cosine between the stream
 * before and after it. The first row is left out: at the beginning of a text models keep vectors unlike all others.
 *
 * @see FFN-SkipLLM, https://arxiv.org/abs/2404.03865
 */
export async function measureSaturation(
  engine: Engine,
  tokens: readonly TokenId[],
  options: { signal?: AbortSignal } = {},
): Promise<number[]> {
  if (tokens.length < 2) throw new OptionError("tokens", "calibration needs a text of two tokens or more");
  const { blocks, hiddenSize } = engine.model.config;
  const taps = blocks.flatMap((_, block) => [`blocks.${block}.resid_mid`, `blocks.${block}.resid_post`]);
  const sums = blocks.map(() => 0);
  using sequence = engine.sequence();
  for (let from = 0; from < tokens.length; from += chunk) {
    const input = tokens.slice(from, from + chunk);
    const { taps: states } = await sequence.forward({
      input,
      want: { taps },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    for (const block of blocks.keys()) {
      const before = states.get(`blocks.${block}.resid_mid`)!.values;
      const after = states.get(`blocks.${block}.resid_post`)!.values;
      for (let row = from === 0 ? 1 : 0; row < input.length; row += 1) sums[block]! += cosine(before, after, row * hiddenSize, hiddenSize);
    }
  }
  return sums.map((sum) => sum / (tokens.length - 1));
}

function cosine(a: Float32Array, b: Float32Array, from: number, count: number): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = from; i < from + count; i += 1) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}
