import { DisposedError } from "../errors.ts";

/** Owners alive in this process; native tests end with zero. */
let liveOwners = 0;

export function liveOwnerCount(): number {
  return liveOwners;
}

/**
 * Something that owns native memory: freed once, unusable afterwards. Subclasses release in {@link release}, children first.
 */
export abstract class Owner implements Disposable {
  readonly #what: string;
  #alive = true;

  protected constructor(what: string) {
    this.#what = what;
    liveOwners += 1;
  }

  get isDisposed(): boolean {
    return !this.#alive;
  }

  /** @throws DisposedError */
  protected assertAlive(): void {
    if (!this.#alive) throw new DisposedError(this.#what);
  }

  protected abstract release(): void;

  [Symbol.dispose](): void {
    if (!this.#alive) return;
    this.#alive = false;
    liveOwners -= 1;
    this.release();
  }
}
