import { OptionError } from "../errors.ts";
import type { LoadOptions } from "./load.ts";
import type { Model } from "./model.ts";

/** What opens a model onto the device of another one. */
export type OpenBeside = (source: string, options: LoadOptions, first: Model) => Promise<Model>;

/** Other models of a model's runs, by what `load()` was or would be given; each is loaded once, whoever asks for it meanwhile. */
export class ModelsBeside {
  readonly #first: Model;
  readonly #options: LoadOptions;
  readonly #open: OpenBeside;
  readonly #opening = new Map<string, Promise<Model>>();
  readonly #isOpen = new AbortController();
  /** Those that are there. */
  readonly loaded = new Map<string, Model>();

  constructor(first: Model, options: LoadOptions & { readonly home: string }, open: OpenBeside) {
    this.#first = first;
    this.#options = options;
    this.#open = open;
  }

  /** @throws OptionError where it may not be loaded; what loading throws */
  model(name: string): Promise<Model> {
    const { beside = {}, opensModels = true, home, strict, cacheType, offline, onNotice, onProgress } = this.#options;
    const isNamed = Object.hasOwn(beside, name) || Object.values(beside).includes(name);
    if (!isNamed && !opensModels) {
      const known = Object.keys(beside).length === 0 ? "none is" : `these are: ${Object.keys(beside).join(", ")}`;
      throw new OptionError("model", `${JSON.stringify(name)} is not among the models that were loaded beside this one; ${known}`);
    }
    const source = Object.hasOwn(beside, name) ? beside[name]! : name;
    if (source === this.#first.name || source === this.#first.path) return Promise.resolve(this.#first);
    const known = this.#opening.get(source);
    if (known !== undefined) return known;
    const given = Object.fromEntries(
      Object.entries({ home, strict, cacheType, offline, onNotice, onProgress }).filter(([, value]) => value !== undefined),
    );
    const opening = this.#open(source, { ...given, signal: this.#isOpen.signal }, this.#first);
    this.#opening.set(source, opening);
    opening.then(
      (model) => this.loaded.set(source, model),
      () => this.#opening.delete(source),
    );
    return opening;
  }

  /** @param reason  what those who wait for a model are told */
  async close(reason: Error): Promise<void> {
    this.#isOpen.abort(reason);
    await Promise.allSettled([...this.#opening.values()].map(async (other) => (await other)[Symbol.asyncDispose]()));
  }
}

/** What a promise gives, unless the signal comes first; the work behind it goes on for others. */
export function within<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener("abort", leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}
