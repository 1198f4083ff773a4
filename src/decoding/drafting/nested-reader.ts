import type { BlockPlan, RowResult, Sequence } from "../../engine/index.ts";
import { UnsupportedError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import type { Companion } from "../companions.ts";

/** Blocks [from, to) of a model, with keys and values of their own. */
interface Stage {
  readonly sequence: Sequence;
  readonly plan: BlockPlan;
  /** The point of the residual stream after its last block. */
  readonly tap: string;
  /** How many of the tokens it has read. */
  length: number;
  /** Residual stream after it, of each of these [C]; empty for the last stage. */
  readonly states: Float32Array[];
  /** The row after its last token, through norm and head. */
  row: RowResult | undefined;
}

/**
 * A model that can be left early: its blocks in stages, each of which ends at an exit through the model's own norm and head. A stage reads
 * a token only when somebody asks for it, and then all that it has missed at once, from the states that the stage before left: caches of
 * different lengths by depth, filled lazily. What it computes is what the whole model up to that exit would.
 */
export class NestedReader implements Disposable {
  readonly #companion: Companion;
  readonly #stages: readonly Stage[];
  readonly #numPrompt: number;
  readonly #tokens: TokenId[];
  /** What the stages have read, the first one all of it. */
  readonly #held: TokenId[];
  #numShared: number;

  private constructor(
    companion: Companion,
    stages: readonly Stage[],
    path: {
      readonly numPrompt: number;
      readonly tokens: readonly TokenId[];
      readonly held: readonly TokenId[];
      readonly numShared: number;
    },
  ) {
    this.#companion = companion;
    this.#stages = stages;
    this.#numPrompt = path.numPrompt;
    this.#tokens = [...path.tokens];
    this.#held = [...path.held];
    this.#numShared = path.numShared;
  }

  /**
   * @param exits  how many blocks each stage ends after, ascending
   * @throws UnsupportedError for models whose states can't be given back to them
   */
  static async start(companion: Companion, prompt: readonly TokenId[], exits: readonly number[]): Promise<NestedReader> {
    const { blocks, hiddenSize } = companion.model;
    if (blocks === undefined || hiddenSize === undefined)
      throw new UnsupportedError(`draft: ${companion.name} can't be left early: its states can't be read and given back`);
    const stages: Stage[] = [];
    try {
      for (const [index, to] of exits.entries()) {
        const from = exits[index - 1] ?? 0;
        const others = Array.from({ length: blocks }, (_, block) => block).filter((block) => block < from || block >= to);
        const halves = others.flatMap((block) => [`blocks.${block}.attn`, `blocks.${block}.ffn`]);
        const sequence = await companion.sequence();
        stages.push({
          ...{ sequence, tap: `blocks.${to - 1}.resid_post`, length: 0, states: [], row: undefined },
          plan: Object.fromEntries(halves.map((half) => [half, false as const])),
        });
      }
    } catch (error) {
      for (const { sequence } of stages) sequence[Symbol.dispose]();
      throw error;
    }
    return new NestedReader(companion, stages, { numPrompt: prompt.length, tokens: prompt, held: [], numShared: 0 });
  }

  get stageCount(): number {
    return this.#stages.length;
  }

  advance(token: TokenId): void {
    const length = this.#tokens.push(token);
    if (this.#numShared === length - 1 && this.#held[this.#numShared] === token) this.#numShared = length;
  }

  /** Forgets every generated token from `length` on. */
  rewind(length: number): void {
    this.#tokens.length = this.#numPrompt + length;
    this.#numShared = Math.min(this.#numShared, this.#tokens.length);
  }

  /** The row after the last token at the exit of a stage; undefined once the deadline has passed. */
  async row(stage: number): Promise<RowResult | undefined> {
    this.#settle();
    for (let index = 0; index <= stage; index++) {
      const one = this.#stages[index]!;
      // what is asked for again is computed again where its row is gone
      if (index === stage && one.length === this.#tokens.length && one.row === undefined) forget(one, one.length - 1);
      while (one.length < this.#tokens.length) if (!(await this.#read(index))) return undefined;
    }
    return this.#stages[stage]!.row;
  }

  fork(): NestedReader {
    this.#settle();
    const stages = this.#stages.map((stage) => ({ ...stage, sequence: stage.sequence.fork(), states: [...stage.states] }));
    const path = { numPrompt: this.#numPrompt, tokens: this.#tokens, held: this.#held, numShared: this.#numShared };
    return new NestedReader(this.#companion, stages, path);
  }

  [Symbol.dispose](): void {
    for (const { sequence } of this.#stages) sequence[Symbol.dispose]();
  }

  /** A stage reads what it has missed: first the prompt, then the rest. False once the deadline has passed. */
  async #read(index: number): Promise<boolean> {
    const stage = this.#stages[index]!;
    const [before, isLast] = [this.#stages[index - 1], index === this.#stages.length - 1];
    const end = stage.length < this.#numPrompt ? this.#numPrompt : this.#tokens.length;
    const result = await this.#companion.forward(stage.sequence, {
      input: before === undefined ? this.#tokens.slice(stage.length, end) : embeddings(before.states.slice(stage.length, end)),
      blocks: stage.plan,
      want: { logits: "last", top: 63, ...(isLast ? {} : { taps: [stage.tap] }) },
    });
    if (result === undefined) return false;
    if (!isLast) stage.states.push(...rowsOf(result.taps.get(stage.tap)!.values, end - stage.length));
    if (before === undefined) {
      this.#held.length = stage.length;
      this.#held.push(...this.#tokens.slice(stage.length, end));
      this.#numShared = this.#held.length;
    }
    stage.length = end;
    stage.row = result.rows[0]!;
    return true;
  }

  /** Leaves in every stage what is on the path. */
  #settle(): void {
    for (const stage of this.#stages) if (stage.length > this.#numShared) forget(stage, this.#numShared);
    this.#held.length = this.#numShared;
  }
}

function forget(stage: Stage, length: number): void {
  stage.sequence.rewind(length);
  stage.states.length = Math.min(stage.states.length, length);
  stage.length = length;
  stage.row = undefined;
}

function embeddings(states: readonly Float32Array[]) {
  const hiddenSize = states[0]!.length;
  const values = new Float32Array(states.length * hiddenSize);
  for (const [row, state] of states.entries()) values.set(state, row * hiddenSize);
  return { values, hiddenSize };
}

function rowsOf(values: Float32Array, count: number): Float32Array[] {
  const hiddenSize = values.length / count;
  return Array.from({ length: count }, (_, row) => values.slice(row * hiddenSize, (row + 1) * hiddenSize));
}
