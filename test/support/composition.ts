import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { writeGgufLora } from "../../src/adapters/index.ts";
import { type AttributeHead, cannotCompose, listAxes, type Method, methodsByAxis, type registry } from "../../src/decoding/index.ts";
import { ChainruleError } from "../../src/errors.ts";
import type { GenerateOptions, GenerateResult, Model, Prompt } from "../../src/index.ts";
import { transferMapsPath, writeTransferMaps } from "../../src/training/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { baseOf as adapterBaseOf, randomAdapter } from "./adapters.ts";
import { random } from "./tiny-model.ts";

/** One method of one axis. */
export interface Entry {
  readonly axis: keyof ReturnType<typeof methodsByAxis>;
  readonly method: Method<unknown>;
}

export type Pair = readonly [Entry, Entry];

/** The name of what {@link writeRandomParts} writes. */
const randomPart = "random";

export const entries: readonly Entry[] = Object.entries(methodsByAxis([randomPart])).flatMap(([axis, methods]) =>
  (methods as readonly Method<unknown>[]).map((method) => ({ axis: axis as Entry["axis"], method })),
);

/** Every two methods that one call can name. */
export const pairs: readonly Pair[] = entries.flatMap((a, index) =>
  entries
    .slice(index + 1)
    .filter((b) => a.axis !== b.axis || listAxes.includes(a.axis))
    .map((b) => [a, b] as const),
);

export type Outcome = { readonly kind: "works" } | { readonly kind: "refused"; readonly message: string };

/** Guides that add to logits a term of the tokens alone, so that their order can't matter. */
const additive: ReadonlySet<string> = new Set(["bias", "presence", "frequency", "reward"]);

/** Text in which drafts find what to guess, and the same with a set. */
export const plainPrompt = "the quick brown fox jumps over the lazy dog the quick brown";
const setPrompt = (members: readonly string[]) => `the quick brown fox[[${members.join("||")}]] the lazy dog the quick brown`;
const members = [" jumps over", " sees"];

/**
 * What would have to be trained, in random numbers: beside a model's file in place of what `chainrule distill` writes, in the home folder in
 * place of what `chainrule calibrate --attribute` writes, and a LoRA. The laws need no skill.
 *
 * @returns options with which the model is loaded
 */
export async function writeRandomParts(path: string, home: string): Promise<{ home: string; adapters: Record<string, string> }> {
  using file = openGguf(path);
  const size = file.metadata.requireNumber("llama.embedding_length");
  const next = random(9);
  const map = () => Float32Array.from({ length: size * size }, () => (next() - 0.5) / Math.sqrt(size));
  writeTransferMaps(transferMapsPath(path), file.fingerprint(), size, { layers: [1, 2], matrices: [map(), map()] });

  const weights = Array.from({ length: size }, () => next() - 0.5);
  const facts = { numGood: 1, numBad: 1, auc: 0.5, accuracy: 0.5, numHeldOut: 2 };
  mkdirSync(join(home, "attributes"), { recursive: true });
  const headPath = join(home, "attributes", `${file.fingerprint().slice(0, 16)}-${randomPart}.json`);
  writeFileSync(headPath, JSON.stringify({ name: randomPart, weights, bias: 0, facts } satisfies AttributeHead));

  const lora = join(home, `${randomPart}.gguf`);
  await writeGgufLora(lora, adapterBaseOf(file), randomAdapter(path, { form: "lora", rank: 2, targets: ["all"] }, 9));
  return { home, adapters: { [randomPart]: lora } };
}

/** Values for parameters that name what was written so. */
const randomParts: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { "conditional-beam": { head: randomPart } };

/** "judged": the example, judged by the model itself (by the question whose two answers every vocabulary tells apart). */
type Values = "example" | "neutral" | "judged";

/** Checks pairs of methods on one model; what a method gives alone is computed once. */
export class Composition {
  readonly #model: Model;
  readonly #other: string;
  readonly #maxTokens: number;
  readonly #known = new Map<string, Promise<GenerateResult>>();

  /** @param other  a model of the same vocabulary, for methods that take one */
  constructor(model: Model, other: string, maxTokens = 6) {
    this.#model = model;
    this.#other = other;
    this.#maxTokens = maxTokens;
  }

  /**
   * Whether a pair works, by the laws of the design, or is refused by a typed error that names both and says why.
   * @throws an assertion error for everything else
   */
  async check([a, b]: Pair): Promise<Outcome> {
    const both = [
      { ...a, values: "example" },
      { ...b, values: "example" },
    ] as const;
    let result: GenerateResult;
    try {
      result = await this.#run(both);
    } catch (error) {
      if (!(error instanceof ChainruleError)) throw error;
      expect(["OPTION", "UNSUPPORTED"]).toContain(error.code);
      for (const { method } of [a, b]) expect(error.message).toContain(method.name);
      expect(error.message).toMatch(/can't be combined: \S+/);
      expect(cannotCompose(a.method, [randomPart])[`${b.axis} ${b.method.name}`], "the lists of methods must say the same").toBeDefined();
      return { kind: "refused", message: error.message };
    }
    expect(cannotCompose(a.method, [randomPart])[`${b.axis} ${b.method.name}`], "what the lists refuse must not run").toBeUndefined();
    this.#checkFacts(both, result);
    for (const [own, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const alone = () => this.#run([{ ...other, values: "example" }], baseOf(own));
      // whoever guesses ahead or explains changes no token
      if (own.axis === "draft" || own.axis === "explain") expectSame(`${own.method.name} changes an answer`, result, await alone());
      // a chooser that changes nothing is greedy: beside a shape, which draws, it has no plain answer to be equal to
      const isLast = isChooser(own) && other.axis === "sample";
      if ((own.method.neutral !== undefined || own.method.isNeutral === true) && !isLast) {
        const neutral = await this.#run([
          { ...own, values: "neutral" },
          { ...other, values: "example" },
        ]);
        expectSame(`${own.method.name} with its neutral value`, neutral, await alone());
      }
      if (own.axis === "layout" && own.method.name === "set") {
        const turned = await this.#run(both, {}, setPrompt([...members].reverse()));
        expectSame("a set in another order", turned, result);
      }
    }
    if (both.some(({ method }) => judgesOf(method).length > 0)) {
      const judged = both.map((one) => ({ ...one, values: "judged" as const }));
      const own = await this.#run(judged);
      this.#checkFacts(judged, own);
      expect(own.facts.choices.find(({ what }) => what === "judge")!.because).toMatch(/labelled pairs/);
    }
    if (a.axis === "guide" && b.axis === "guide") {
      const { tokens } = await this.#run([both[1], both[0]]);
      if (additive.has(a.method.name) && additive.has(b.method.name)) expect(tokens).toEqual(result.tokens);
    }
    await this.#checkEnds(both, result);
    return { kind: "works" };
  }

  #checkFacts(both: readonly Chosen[], { facts, tokens, logprobs, usage }: GenerateResult): void {
    expect(tokens.length).toBeGreaterThan(0);
    expect(logprobs).toHaveLength(tokens.length);
    for (const { logprob } of logprobs!) expect(logprob).toBeLessThanOrEqual(1e-5);
    expect(facts.tokens.map(({ id }) => id)).toEqual(tokens);
    expect(usage.completionTokens).toBe(tokens.length);
    for (const { axis, method } of both) {
      if (axis === "draft" && method.isNeutral !== true) expect(facts.drafts!.method).toBe(method.name);
      if (axis === "skip") expect(facts.skips!.total).toBeGreaterThan(0);
      if (axis === "guide") expect(facts.guides!.map(({ name }) => name)).toContain(method.name);
      if (axis === "search" && method.isNeutral !== true) expect(facts.branches!.some(({ end }) => end === "won")).toBe(true);
      if (axis === "adapter") expect(facts.adapters).toEqual([{ name: method.name, scale: 1 }]);
      if (axis === "explain") expect(facts.attribution!.method).toBe(method.name);
    }
  }

  /** Stops, limits, seeds and aborts are as with one of them alone. */
  async #checkEnds(both: readonly Chosen[], result: GenerateResult): Promise<void> {
    const isPath = both.every(({ axis, method }) => axis !== "search" || method.isNeutral === true);
    const again = await this.#run(both);
    expect(again.tokens).toEqual(result.tokens);
    const limited = await this.#run(both, { maxTokens: 2 });
    expect(limited.tokens.length).toBeLessThanOrEqual(2);
    const stop = [...result.text].slice(2, 4).join("");
    if (stop !== "" && !stop.includes("\u{FFFD}")) {
      const { text, finishReason, stoppedBy } = await this.#run(both, { stop });
      if (isPath) {
        expect(text).toBe(result.text.slice(0, result.text.indexOf(stop)));
        expect(stoppedBy!.kind).toBe("stop-text");
      } else {
        // among branches that a stop text may end, another one may win
        expect(text).not.toContain(stop);
        expect(finishReason).toBe(stoppedBy === undefined ? "length" : "stop");
      }
    }
    const reason = new Error("enough");
    await expect(this.#run(both, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const { prompt, options } = this.#call(both, { signal: controller.signal });
    const running = (async () => {
      for await (const event of this.#model.stream(prompt, options)) if (event.kind === "prompt") controller.abort(reason);
    })();
    await expect(running).rejects.toBe(reason);
    expect(this.#model.memory().streamsUsed).toBe(0);
  }

  #run(chosen: readonly Chosen[], more: GenerateOptions = {}, text?: string): Promise<GenerateResult> {
    const { prompt, options } = this.#call(chosen, more, text);
    if (chosen.length > 1) return this.#model.generate(prompt, options);
    const key = JSON.stringify([prompt, options]); // functions are left out: a method has always the same
    const known = this.#known.get(key) ?? this.#model.generate(prompt, options);
    this.#known.set(key, known);
    return known;
  }

  #call(chosen: readonly Chosen[], more: GenerateOptions, text?: string): { prompt: Prompt; options: GenerateOptions } {
    const options: Record<string, unknown> = { maxTokens: this.#maxTokens, logprobs: 1 };
    let prompt: Prompt = plainPrompt;
    // a chooser ends the list of samplers
    const ordered = [...chosen].sort((a, b) => Number(isChooser(a)) - Number(isChooser(b)));
    for (const { axis, method, values } of ordered) {
      const { name } = method;
      const judges = values === "judged" ? Object.fromEntries(judgesOf(method).map((key) => [key, "options"])) : functionsOf(method);
      const given = { ...this.#models(method), ...judges, ...randomParts[name] };
      const spec = { name, ...given, ...(method[values === "judged" ? "example" : values] ?? {}) };
      if (axis === "layout") {
        const { name: _, ...parameters } = spec;
        prompt = {
          kind: name,
          prompt: text ?? (values === "neutral" ? plainPrompt : setPrompt(members)),
          ...parameters,
        } as unknown as Prompt;
      } else if (listAxes.includes(axis)) options[axis] = [...((options[axis] as unknown[]) ?? []), spec];
      else options[axis] = spec;
      if (isDrawn({ axis, method })) options.seed = 7;
    }
    return { prompt, options: { ...options, ...more } as GenerateOptions };
  }

  #models({ parameters }: Method<unknown>): Record<string, string> {
    const models = Object.keys(parameters).filter((key) => parameters[key]!.type === "model");
    const isJudged = judgesOf({ parameters }).length > 0; // by a function or by itself, neither of which needs a model
    const names = models.filter((key, index) => (index === 0 && !isJudged) || parameters[key]!.isOptional !== true);
    return Object.fromEntries(names.map((key) => [key, this.#other]));
  }
}

function judgesOf({ parameters }: Pick<Method<unknown>, "parameters">): string[] {
  return Object.keys(parameters).filter((key) => parameters[key]!.takesFunction === true);
}

/** A random model has no opinion of its own: where a function may judge, one that is as good as any does. */
function functionsOf({ parameters }: Method<unknown>): Record<string, unknown> {
  return Object.fromEntries(
    judgesOf({ parameters }).map((key) => [key, ({ tokens }: { tokens: readonly number[] }) => (tokens.length % 5) / 5]),
  );
}

interface Chosen extends Entry {
  readonly values: Values;
}

/** What is drawn without the method: a sampler that shapes a distribution leaves a draw behind when it does nothing. */
function baseOf({ axis, method }: Entry): GenerateOptions {
  return isDrawn({ axis, method }) ? { seed: 7 } : {};
}

/** Whether its answers are drawn: a seed makes them the same again. */
function isDrawn({ axis, method }: Entry): boolean {
  return axis === "sample" ? !isChooser({ axis, method }) : method.draws === true;
}

function isChooser({ axis, method }: Entry): boolean {
  return axis === "sample" && (method as (typeof registry.sample)[number]).create(defaultsOf(method)).kind === "choice";
}

function defaultsOf({ parameters }: Method<unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(parameters).map(([key, parameter]) => [key, parameter.default]));
}

function expectSame(what: string, actual: GenerateResult, expected: GenerateResult): void {
  expect(actual.tokens, what).toEqual(expected.tokens);
  expect(actual.logprobs, what).toEqual(expected.logprobs);
  expect(actual.text).toBe(expected.text);
  expect(actual.finishReason).toBe(expected.finishReason);
}
