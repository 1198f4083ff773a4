import { OptionError } from "../errors.ts";
import { input, mul, narrow, type Program, type Tensor } from "../tensor/index.ts";
import { words } from "./random.ts";

/** What a training pass makes of what goes into an adapter: x [N, C], the place it goes to. */
export type DropoutFunction = (x: Tensor, target: string) => Tensor;

/**
 * Sets a part of what goes into adapters to zero, anew in each pass, and stretches the rest to keep the mean.
 *
 * One mask [N + blocks, C] per width serves all places: block b takes its rows from b on, so that no two blocks leave out the same of a row,
 * and the places of a block that read the same state leave out the same. A mask per place would take longer to draw than the pass to compute.
 *
 * @see Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
 */
export class Dropout {
  readonly #rate: number;
  readonly #rows: number;
  readonly #blocks: number;
  readonly #masks = new Map<number, Tensor>();

  /** @param rate  in (0, 1) */
  constructor(rate: number, rows: number, blocks: number) {
    if (!(rate > 0 && rate < 1)) throw new OptionError("dropout", `must be in [0, 1), got ${rate}`);
    this.#rate = rate;
    this.#rows = rows;
    this.#blocks = blocks;
  }

  readonly apply: DropoutFunction = (x, target) => {
    const columns = x.shape[1]!;
    const mask = this.#masks.get(columns) ?? input(maskName(columns), "f32", [this.#rows + this.#blocks, columns]);
    this.#masks.set(columns, mask);
    return mul(x, narrow(mask, 0, Number(target.split(".")[1]), this.#rows));
  };

  /** Draws the masks of the pass with this number. */
  fill(program: Program, seed: number, pass: number): void {
    const least = Math.round(this.#rate * 2 ** 16);
    const kept = 2 ** 16 / (2 ** 16 - least);
    for (const [place, columns] of [...this.#masks.keys()].entries()) {
      const mask = program.input(maskName(columns));
      for (let at = 0; at < mask.length; at += 8) {
        const drawn = words(seed, "dropout", pass, at / 8 + place * 2 ** 32);
        for (let i = 0; i < 8 && at + i < mask.length; i += 1) {
          const bits = (drawn[i >> 1]! >>> (16 * (i & 1))) & 0xffff;
          mask[at + i] = bits < least ? 0 : kept;
        }
      }
    }
  }
}

const maskName = (columns: number): string => `dropout.${columns}`;
