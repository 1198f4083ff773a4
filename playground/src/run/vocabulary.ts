import { signal } from "@preact/signals";

const batchMs = 120;
const batchSize = 1024;

/** Texts of tokens, asked from the server in batches and kept. Reading {@link version} makes a component follow what is learnt. */
export class Vocabulary {
  readonly version = signal(0);
  readonly #texts = new Map<number, string>();
  readonly #wanted = new Set<number>();
  readonly #load: (lists: number[][]) => Promise<readonly string[]>;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param load  texts of lists of tokens */
  constructor(load: (lists: number[][]) => Promise<readonly string[]>) {
    this.#load = load;
  }

  /** The token's text, undefined until it is known; a part of a character is U+FFFD. Asks for it where it isn't. */
  readonly text = (id: number): string | undefined => {
    const text = this.#texts.get(id);
    if (text === undefined && !this.#wanted.has(id)) {
      this.#wanted.add(id);
      this.#timer ??= setTimeout(() => void this.#ask(), batchMs);
    }
    return text;
  };

  async #ask(): Promise<void> {
    const ids = [...this.#wanted].slice(0, batchSize);
    let isRefused = false;
    try {
      const texts = await this.#load(ids.map((id) => [id]));
      ids.forEach((id, index) => {
        this.#texts.set(id, texts[index]!);
      });
    } catch {
      isRefused = true; // the server is full or away: the ids stand for the texts until somebody looks again
    }
    for (const id of ids) this.#wanted.delete(id);
    this.#timer = this.#wanted.size === 0 || isRefused ? undefined : setTimeout(() => void this.#ask(), batchMs);
    if (isRefused) this.#wanted.clear();
    else this.version.value += 1;
  }
}
