import { homedir } from "node:os";
import { expect, test } from "vitest";
import { writeGgufLora } from "../../src/adapters/index.ts";
import { type GenerateOptions, load, type Prompt } from "../../src/index.ts";
import { defaultHome, hubFromEnvironment, resolveModel } from "../../src/models/index.ts";
import { openGguf, quantize } from "../../src/weights/index.ts";
import { baseOf, randomAdapter } from "../support/adapters.ts";
import { temporaryFolder } from "../support/engine.ts";
import { random } from "../support/tiny-model.ts";

const text =
  "The river rises in the hills to the north and runs for ninety miles before it meets the sea. A clerk opened the letter slowly, read it twice, " +
  "and put it back where it had been; nobody asked him why. In spring the water is high, and the mills along the bank work by day and by night.";

interface Request {
  readonly prompt: Prompt;
  readonly options: GenerateOptions;
  /** Tokens that all requests together have when it arrives. */
  readonly arrivesAt: number;
  /** Tokens after which its client leaves. */
  readonly leavesAfter: number | undefined;
}

test("with the real model: whatever arrives, leaves or goes first beside it, a request's tokens are those of its solo run", async () => {
  const rounds = process.env.CHAINRULE_SOAK ? 50 : 1;
  using folder = temporaryFolder();
  const home = defaultHome(process.env, process.platform, homedir());
  const { path } = await resolveModel("smollm2", { home, hub: hubFromEnvironment(process.env), quantize });
  const lora = `${folder.path}/lora.gguf`;
  {
    using file = openGguf(path);
    await writeGgufLora(lora, baseOf(file), randomAdapter(path, { form: "lora", rank: 2, targets: ["q", "v"] }, 9));
  }
  await using model = await load(path, { threads: 1, context: 256, cacheBytes: 18_000_000, adapters: { random: lora } });
  expect(model.memory().streams).toBe(3); // for sixteen requests: they must make room for each other
  const words = model.tokenize(text);
  const kinds: readonly (GenerateOptions & { readonly set?: true })[] = [
    { temperature: 0 },
    { temperature: 0.9, seed: 5, topP: 0.9 },
    { temperature: 0, draft: "ngram" },
    { temperature: 0, search: "beam,width=2" },
    { temperature: 0, repetitionPenalty: 1.3 },
    { temperature: 0, skip: "ffn,budget=0.5,threshold=0" },
    { temperature: 0, guide: { name: "grammar", regex: "[a-z ,.]{1,80}" }, ignoreEndTokens: false },
    { temperature: 0, adapter: "random,scale=0.5" },
    { temperature: 0.8, seed: 2, search: "best-of,n=2,check=3" },
    { temperature: 0, explain: "reagent,replaced=3,tokens=1" },
    { temperature: 0, set: true },
  ];
  for (let round = 0; round < rounds; round += 1) {
    const next = random(process.env.CHAINRULE_SOAK ? Math.floor(Math.random() * 2 ** 31) : 17);
    const below = (n: number) => Math.floor(next() * n);
    const requests = Array.from({ length: 16 }, (_, index): Request => {
      const from = below(20);
      const maxTokens = 4 + below(8);
      const { set, ...options } = kinds[index % kinds.length]!;
      const plain = words.slice(from, from + 4 + below(90));
      return {
        prompt:
          set === undefined
            ? plain
            : { kind: "set", prompt: `${text.slice(5 * from, 5 * from + 20 + below(400))}[[ the north|| the sea]] and` },
        // later ones go before those that run, so that these lose their streams
        options: { ignoreEndTokens: true, ...options, maxTokens, priority: index < 4 ? -1 : below(3) },
        arrivesAt: index < 4 ? 0 : below(30),
        leavesAfter: index % 4 === 3 ? below(maxTokens) : undefined,
      };
    });
    const alone: { readonly tokens: readonly number[]; readonly attribution: unknown }[] = [];
    for (const { prompt, options } of requests) {
      const { tokens, facts } = await model.generate(prompt, options);
      alone.push({ tokens, attribution: facts.attribution?.tokens });
    }
    let produced = 0;
    let running = 0;
    let waiting = requests.length;
    const preempted = model.memory().preemptions;
    await Promise.all(
      requests.map(async ({ prompt, options, arrivesAt, leavesAfter }, index) => {
        while (produced < arrivesAt && running > 0) await new Promise((resolve) => setTimeout(resolve, 1));
        waiting -= 1;
        running += 1;
        const controller = new AbortController();
        const tokens: number[] = [];
        let attribution: unknown;
        try {
          if (leavesAfter === 0) setTimeout(() => controller.abort(new Error("left")), 5);
          for await (const event of model.stream(prompt, { ...options, signal: controller.signal })) {
            if (event.kind === "finish") attribution = event.result.facts.attribution?.tokens;
            if (event.kind !== "token") continue;
            produced += 1;
            if (tokens.push(event.fact.id) === leavesAfter) controller.abort(new Error("left"));
          }
          expect({ tokens, attribution }, `request ${index}`).toEqual(alone[index]);
        } catch (error) {
          if ((error as Error).message !== "left") throw error;
          expect(tokens, `request ${index}`).toEqual(alone[index]!.tokens.slice(0, tokens.length));
        } finally {
          running -= 1;
        }
      }),
    );
    expect(waiting).toBe(0);
    expect(model.memory().preemptions).toBeGreaterThan(preempted);
    expect(model.memory()).toMatchObject({ streamsUsed: 0, queued: 0 });
  }
});
