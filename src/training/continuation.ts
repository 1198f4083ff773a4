import { OptionError } from "../errors.ts";
import type { Device } from "../ggml/index.ts";
import { argmax, gather, input, Program } from "../tensor/index.ts";
import { forward, setRows } from "./forward.ts";
import type { Trainee } from "./trainer.ts";

/** What a run shows of what it has learned, beside its loss. */
export interface SampleOptions {
  /** Token ids that are continued, at least one. */
  readonly prompt: readonly number[];
  /** Most tokens written. */
  readonly count: number;
  /** Tokens after which nothing is written. */
  readonly endTokens: ReadonlySet<number>;
  readonly decode: (ids: readonly number[]) => string;
}

/**
 * Continues a prompt by the most probable tokens, with the weights as they are. There is no cache: every token costs a pass over all rows, of which
 * there are few.
 */
export class Continuation implements Disposable {
  readonly #trainee: Trainee;
  readonly #options: SampleOptions;
  readonly #length: number;
  readonly #program: Program;

  /** @throws OptionError where prompt and continuation exceed the context */
  constructor(device: Device, trainee: Trainee, options: SampleOptions) {
    const { model, deltas } = trainee;
    const length = options.prompt.length + options.count;
    if (options.prompt.length === 0 || length > model.config.contextLength)
      throw new OptionError("sample", `needs 1 to ${model.config.contextLength} tokens with its continuation, got ${length}`);
    const { hidden } = forward(model, { sequences: 1, length, ...(deltas === undefined ? {} : { deltas: deltas() }) });
    this.#program = Program.compile(device, { next: argmax(model.head(gather(hidden, input("row", "i32", [1])))) });
    this.#trainee = trainee;
    this.#options = options;
    this.#length = length;
  }

  get sizeBytes(): number {
    return this.#program.sizeBytes;
  }

  async write(): Promise<{ readonly prompt: string; readonly text: string }> {
    const { prompt, count, endTokens, decode } = this.#options;
    const ids = new Int32Array(this.#length);
    ids.set(prompt);
    const written: number[] = [];
    while (written.length < count) {
      const row = prompt.length + written.length - 1;
      setRows(this.#program, this.#trainee.model.config, { sequences: 1, length: this.#length }, { ids });
      this.#program.input<"i32">("row")[0] = row;
      await this.#program.run();
      const next = this.#program.peek("next")[0]!;
      if (endTokens.has(next)) break;
      written.push(next);
      ids[row + 1] = next;
    }
    return { prompt: decode(prompt), text: decode(written) };
  }

  [Symbol.dispose](): void {
    this.#program[Symbol.dispose]();
  }
}
