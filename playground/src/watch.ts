import { computed, type ReadonlySignal, signal } from "@preact/signals";

/** Whether somebody looks at the server: as long as its view is shown, or any run is under way, however many there are. */
export class Watch {
  readonly #underWay = signal(0);
  readonly isWatched: ReadonlySignal<boolean>;

  constructor(isShown: () => boolean) {
    this.isWatched = computed(() => isShown() || this.#underWay.value > 0);
  }

  async during<T>(run: Promise<T>): Promise<T> {
    this.#underWay.value += 1;
    try {
      return await run;
    } finally {
      this.#underWay.value -= 1;
    }
  }
}
