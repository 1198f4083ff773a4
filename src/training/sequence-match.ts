import { OptionError } from "../errors.ts";
import { add, affine, clamp, gather, input, mul, reshape, softmax, sub, sumLast, type Tensor, unary } from "../tensor/index.ts";
import type { Batch } from "./data/batches.ts";
import type { Objective } from "./objective.ts";

// Legend: N rows, V vocabulary size.

/** Rows that a list of actions is learned by. All lists have one entry per row. */
export interface ActionRows {
  readonly ids: number[];
  readonly positions: number[];
  /** The row from which on a row is no longer seen; the number of rows: never. */
  readonly deletedAt: number[];
  /** The action taken in the state that a row ends; undefined inside the prompt and after the last action. */
  readonly actions: (number | undefined)[];
}

/**
 * Lays a prompt and the actions after it out for one forward pass: each row stands for the state after an action and sees only the tokens that
 * are alive in it. After a backspace the last token that is left stands once more, at its own position, in place of its earlier row.
 *
 * @param backspace  the token id that takes the last token back
 * @throws OptionError where it would take back a token of the prompt, or the prompt is empty
 * @see Cundy & Ermon 2023, SequenceMatch, https://arxiv.org/abs/2306.05426
 */
export function unrollActions(prompt: readonly number[], actions: readonly number[], backspace: number): ActionRows {
  if (prompt.length === 0) throw new OptionError("prompt", "must have a token: there is no state before the first");
  const rows: ActionRows = { ids: [], positions: [], deletedAt: [], actions: [] };
  const live: number[] = []; // rows of the tokens that are alive
  const push = (id: number) => {
    rows.positions.push(live.length);
    live.push(rows.ids.push(id) - 1);
    rows.deletedAt.push(Number.POSITIVE_INFINITY);
    rows.actions.push(undefined);
  };
  for (const token of prompt) push(token);
  for (const action of actions) {
    rows.actions[rows.ids.length - 1] = action;
    if (action !== backspace) {
      push(action);
      continue;
    }
    if (live.length <= prompt.length) throw new OptionError("actions", "a backspace would take back a token of the prompt");
    const now = rows.ids.length;
    rows.deletedAt[live.pop()!] = now;
    const last = live.pop()!;
    rows.deletedAt[last] = now;
    push(rows.ids[last]!);
  }
  for (const [row, at] of rows.deletedAt.entries()) if (at === Number.POSITIVE_INFINITY) rows.deletedAt[row] = rows.ids.length;
  return rows;
}

/**
 * A text with mistakes that are taken back: before a token, with probability `rate`, another one and a backspace. So that the backspace is
 * learned where it belongs.
 *
 * @param draw  uniform in [0, 1)
 */
export function withMistakes(
  tokens: readonly number[],
  options: { readonly rate: number; readonly vocabSize: number; readonly backspace: number; readonly draw: () => number },
): number[] {
  const { rate, vocabSize, backspace, draw } = options;
  if (!(rate >= 0 && rate <= 1)) throw new OptionError("rate", `must be in [0, 1], got ${rate}`);
  return tokens.flatMap((token) => {
    if (draw() >= rate) return [token];
    const wrong = Math.floor(draw() * vocabSize);
    return wrong === token || wrong === backspace ? [token] : [wrong, backspace, token];
  });
}

/** Rows with the action after each as its target. */
export interface ActionBatch extends Batch {
  /** Of each row the one that stands for the state after its action; -1 where the action ends the text. */
  readonly nextRow: Int32Array;
  /** 1 for rows of the data, 0 for rows that the model wrote itself. */
  readonly isData: Uint8Array;
}

export interface SequenceMatchOptions {
  /** In (0, 1). Default 0.99. */
  readonly gamma?: number;
  /** Weight of the square in φ(r) = r - r² / (4c), > 0; larger is nearer to the linear φ. Default 1. */
  readonly c?: number;
  /** Part of the cross-entropy in the loss, in [0, 1]; default 0. */
  readonly likelihood?: number;
}

/**
 * Imitation with the χ² divergence: logits are values Q(s, a), V(s) = log Σ exp Q, a transition's reward is r = Q(s, a) - γV(s'), and what is
 * minimized is -E_data[φ(r)] + ½ E_data[V(s) - γV(s')] + ½ E_model[V(s) - γV(s')], V being 0 after the end. Where a batch has no rows of the
 * model's own, the data's stand in for them: under the discounted occupancy, which weighs a text's row t by γᵗ, both means are (1 - γ) V(first
 * state) for any policy. Rows count equally here, as they are trained on: the mean of T rows is [V(first) + (1 - γ) Σ V(later)] / T, so with γ
 * below 1 it also holds V down where the text goes, and the stand-in is exact in the limit γ -> 1 only.
 *
 * @see Cundy & Ermon 2023, https://arxiv.org/abs/2306.05426; the constants follow our own derivation
 */
export function sequenceMatch({ gamma = 0.99, c = 1, likelihood = 0 }: SequenceMatchOptions = {}): Objective<ActionBatch> {
  if (!(gamma > 0 && gamma < 1)) throw new OptionError("gamma", `must be in (0, 1), got ${gamma}`);
  if (!(c > 0)) throw new OptionError("c", `must be > 0, got ${c}`);
  if (!(likelihood >= 0 && likelihood <= 1)) throw new OptionError("likelihood", `must be in [0, 1], got ${likelihood}`);
  return {
    name: `SequenceMatch, gamma ${gamma}, c ${c}, likelihood ${likelihood}`,
    loss({ hidden }, model) {
      const logits = model.head(hidden);
      const [rows, vocabSize] = logits.shape as [number, number];
      const chosen = input("actions", "i32", [rows]);
      const flat = (x: Tensor) => reshape(x, [rows * vocabSize, 1]);
      const q = gather(flat(logits), chosen); // [N, 1]
      const logProbability = unary("log", clamp(gather(flat(softmax(logits)), chosen), 2 ** -120, Number.POSITIVE_INFINITY));
      const v = sub(q, logProbability);
      const nextV = mul(gather(v, input("next", "i32", [rows])), input("goesOn", "f32", [rows, 1]));
      const reward = sub(q, affine(nextV, gamma));
      const phi = sub(reward, affine(mul(reward, reward), 1 / (4 * c)));
      const flow = sub(v, affine(nextV, gamma));
      const [data, own] = [input("data", "f32", [rows, 1]), input("own", "f32", [rows, 1])];
      const total = (x: Tensor, weights: Tensor) => sumLast(reshape(mul(x, weights), [1, rows]));
      const matching = sub(affine(add(total(flow, data), total(flow, own)), 0.5), total(phi, data));
      return add(affine(matching, 1 - likelihood), affine(total(logProbability, data), -likelihood));
    },
    fill(program, { targets, isTarget, nextRow, isData }, count, { config }) {
      const [chosen, next] = [program.input<"i32">("actions"), program.input<"i32">("next")];
      const [goesOn, data, own] = [program.input("goesOn"), program.input("data"), program.input("own")];
      const ownCount = isTarget.reduce((sum, one, row) => sum + (one === 1 && isData[row] === 0 ? 1 : 0), 0);
      const dataCount = count - ownCount;
      if (dataCount <= 0) throw new OptionError("batch", "has no row of the data");
      for (const [row, one] of isTarget.entries()) {
        const isOwn = one === 1 && isData[row] === 0;
        chosen[row] = row * config.vocabSize + (one === 1 ? targets[row]! : 0);
        next[row] = Math.max(0, nextRow[row]!);
        goesOn[row] = nextRow[row]! >= 0 ? 1 : 0;
        data[row] = one === 1 && !isOwn ? 1 / dataCount : 0;
        own[row] = ownCount === 0 ? data[row]! : isOwn ? 1 / ownCount : 0;
      }
    },
  };
}
