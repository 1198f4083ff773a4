import { fork } from "node:child_process";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { percentile } from "../../src/cli/load-test/measures.ts";
import { load } from "../../src/index.ts";
import { execArgv } from "../support/child-of-tests.ts";
import { temporaryFolder } from "../support/engine.ts";
import type { SoakReport } from "../support/soak-server.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";
import { random } from "../support/tiny-model.ts";

// Impatient clients against one server on loopback: they leave, dawdle, crowd, and the engine's process is killed under them. Whatever comes
// back must be what its prompt gives alone. The server has a process of its own, and measures itself there.

const isSoak = process.env.CHAINRULE_SOAK !== undefined;
const size = isSoak
  ? { clients: 256, requests: 15_000, kills: 8, maxRequests: 200, maxRunning: 64, lazyMs: 10_000 }
  : { clients: 24, requests: 150, kills: 2, maxRequests: 20, maxRunning: 8, lazyMs: 1000 };

interface Case {
  readonly prompt: string;
  readonly max_tokens: number;
  readonly temperature: number;
  readonly seed: number;
  /** With these the answers are larger than what lies between the server and a client that doesn't read. */
  readonly logprobs?: number;
  readonly n?: number;
  readonly chainrule?: object;
}
/** Every how many requests one comes from a client that reads nothing for a while. */
const lazyEvery = 50;
type Outcome = "right" | "left" | "refused" | "crashed" | "wrong";

test(
  "nobody stalls, crashes or confuses it",
  async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyChatModel(path, { hiddenSize: 128, blocks: 2, contextLength: 512 });
    const settings = { threads: 1, context: 512, cacheBytes: 2 ** 26 };
    const next = random(11);
    const below = (limit: number) => Math.floor(next() * limit);

    const cases: Case[] = Array.from({ length: 48 }, (_, index) => ({
      prompt: `${index} the quick brown fox ${"jumps over ".repeat(below(12))}`,
      max_tokens: 4 + below(40),
      temperature: index % 3 === 0 ? 0 : 1,
      seed: below(1000),
    }));
    const long = { max_tokens: 440, temperature: 1, logprobs: 20, n: 4, chainrule: { ignoreEndTokens: true } };
    cases.push(...[10, 20, 30].map((seed) => ({ ...long, prompt: `${seed} of three long tales`, seed })));
    const alone = await (async () => {
      await using model = await load(path, settings);
      const texts: string[][] = [];
      for (const { prompt, max_tokens: maxTokens, temperature, seed, n = 1, chainrule } of cases) {
        const seeds = Array.from({ length: n }, (_, choice) => (temperature === 0 ? {} : { seed: seed + choice }));
        const answers = seeds.map(async (drawn) => (await model.generate(prompt, { maxTokens, temperature, ...drawn, ...chainrule })).text);
        texts.push(await Promise.all(answers));
      }
      return texts;
    })();

    const server = fork(
      "test/support/soak-server.ts",
      [JSON.stringify({ model: path, load: settings, maxRequests: size.maxRequests, maxRunning: size.maxRunning, unreadMs: 200 })],
      { execArgv, serialization: "advanced" },
    );
    await using _ = { [Symbol.asyncDispose]: async () => void server.kill("SIGKILL") };
    const heard = () => new Promise<unknown>((resolve) => server.once("message", resolve));
    const { url } = (await heard()) as { url: string };
    const outcomes: Record<Outcome, number> = { right: 0, left: 0, refused: 0, crashed: 0, wrong: 0 };
    const start = performance.now();
    let sent = 0;

    const wrong: string[] = [];
    const isWrong = (index: number, got: string): Outcome => {
      if (wrong.length < 20) wrong.push(`${JSON.stringify(cases[index])}: expected ${JSON.stringify(alone[index])}, got ${got}`);
      return "wrong";
    };
    const ask = async (index: number): Promise<Outcome> => {
      const manner = below(10);
      const stream = manner >= 4;
      const controller = new AbortController();
      const leaves = manner === 3 || manner >= 8;
      if (leaves) setTimeout(() => controller.abort(), below(120));
      const isSlow = manner === 7;
      const read: string[] = [];
      try {
        const response = await fetch(`${url}/v1/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ ...cases[index], stream }),
          signal: controller.signal,
        });
        if (response.status === 429 || response.status === 503) {
          await response.text();
          expect(Number(response.headers.get("retry-after-ms"))).toBeGreaterThan(0);
          return "refused";
        }
        if (!stream || response.status !== 200) {
          const body = (await response.json()) as { error?: { code: string }; choices?: { text: string }[] };
          if (body.error !== undefined) return body.error.code === "engine_crashed" ? "crashed" : isWrong(index, body.error.code);
          const given = body.choices?.[0]?.text;
          return given === alone[index]![0] ? "right" : isWrong(index, JSON.stringify(given));
        }
        return await readEvents(index, response.body!.pipeThrough(new TextDecoderStream()), read, isSlow);
      } catch (error) {
        // what had come until then must be the answer's beginning
        if (controller.signal.aborted && isBeginning(index, read)) return "left";
        throw error;
      }
    };
    const isBeginning = (index: number, read: readonly string[]) =>
      alone[index]!.every((text, choice) => text.startsWith(read[choice] ?? ""));
    const readEvents = async (index: number, pieces: AsyncIterable<string>, read: string[], isSlow = false): Promise<Outcome> => {
      let rest = "";
      let isWhole = false;
      for await (const piece of pieces) {
        if (isSlow) await new Promise((done) => setTimeout(done, below(40)));
        const lines = (rest + piece).split("\n");
        rest = lines.pop()!;
        for (const line of lines) {
          if (line === "data: [DONE]") isWhole = true;
          else if (line.startsWith("data: ")) {
            const data = JSON.parse(line.slice(6)) as { error?: { code: string }; choices?: { index: number; text: string }[] };
            if (data.error !== undefined)
              return data.error.code === "engine_crashed" && isBeginning(index, read)
                ? "crashed"
                : isWrong(index, `${JSON.stringify(read)}, then ${data.error.code}`);
            for (const choice of data.choices ?? []) read[choice.index] = (read[choice.index] ?? "") + choice.text;
          }
        }
      }
      const isRight = alone[index]!.every((text, choice) => text === (read[choice] ?? ""));
      return isWhole && isRight ? "right" : isWrong(index, `${JSON.stringify(read)}${isWhole ? "" : " and no end"}`);
    };
    /** Asks for long answers and reads nothing for so long that they would have been there. */
    const askLazily = async (): Promise<Outcome> => {
      const index = cases.length - 1 - below(3);
      const sending = httpRequest(`${url}/v1/completions`, {
        method: "POST",
        agent: false,
        headers: { "content-type": "application/json" },
      });
      const answered = new Promise<IncomingMessage>((resolve, reject) => sending.once("response", resolve).once("error", reject));
      sending.end(JSON.stringify({ ...cases[index], stream: true }));
      const response = await answered;
      await new Promise((done) => setTimeout(done, size.lazyMs + below(size.lazyMs)));
      response.setEncoding("utf8");
      if (response.statusCode === 200) return readEvents(index, response, []);
      const body = (await response.toArray()).join("");
      if (response.statusCode === 429 || response.statusCode === 503) return "refused";
      const { error } = JSON.parse(body) as { error: { code: string } };
      return error.code === "engine_crashed" ? "crashed" : isWrong(index, error.code);
    };
    const client = async () => {
      while (sent < size.requests) {
        sent += 1;
        const isLazy = sent % lazyEvery === 0;
        for (;;) {
          const outcome = await (isLazy ? askLazily() : ask(below(cases.length - 3)));
          outcomes[outcome] += 1;
          if (outcome !== "refused") break; // as x-should-retry says
          await new Promise((done) => setTimeout(done, 50 + below(200)));
        }
      }
    };
    // the first two thirds run undisturbed, so that memory has a slope to look at; then the kills, spread over the rest
    const kill = (async () => {
      for (let number = 0; number < size.kills; number++) {
        const when = (size.requests * (2 + (number + 0.5) / size.kills)) / 3;
        while (sent < when) await new Promise((done) => setTimeout(done, 5));
        server.send("kill");
        expect(await heard()).toBe("killed");
      }
    })();
    await Promise.all(Array.from({ length: size.clients }, client));
    await kill;

    // everything has been given back, and the next answers are right
    let measured: SoakReport;
    do {
      await new Promise((done) => setTimeout(done, 20));
      server.send("report");
      measured = (await heard()) as SoakReport;
    } while (!measured.isIdle);
    const { memory, healthMs, refusalMs, restartMs, restarts, mostUnread, mostAsideBytes } = measured;
    for (const [index, one] of cases.entries()) {
      const response = await fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(one) });
      expect(((await response.json()) as { choices: { text: string }[] }).choices.map(({ text }) => text)).toEqual(alone[index]);
    }
    const second = memory.slice(Math.floor(memory.length / 2));
    const drift = { child: driftOf(second, "child"), parent: driftOf(second, "parent") };
    const report = {
      seconds: Math.round((performance.now() - start) / 1000),
      ...outcomes,
      restarts,
      healthP99Ms: percentile(healthMs, 99),
      refusalP99Ms: percentile(refusalMs, 99),
      refusalMaxMs: Math.max(...refusalMs, 0),
      restartMaxMs: Math.max(...restartMs),
      drift,
      mostUnread,
      mostAsideBytes,
    };
    if (isSoak) process.stdout.write(`${JSON.stringify(report, undefined, 1)}\n`);
    expect(wrong).toEqual([]);
    expect(outcomes.right).toBeGreaterThan(size.requests / 5);
    expect(outcomes.left).toBeGreaterThan(0);
    expect(restarts).toBe(size.kills);
    if (!isSoak) return; // what follows are times and sizes, for a quiet machine
    expect(mostUnread).toBeGreaterThan(0);
    expect(mostAsideBytes).toBeGreaterThan(0);
    expect(report.healthP99Ms).toBeLessThan(100);
    expect(report.refusalP99Ms).toBeLessThan(50);
    expect(report.restartMaxMs).toBeLessThan(2000);
    expect(Math.max(drift.child, drift.parent)).toBeLessThan(0.1);
  },
  isSoak ? 3_600_000 : 300_000,
);

/** By how much of its mean a size grows from the first sample to the last, along the straight line through all (least squares). */
function driftOf(samples: readonly { ms: number; child: number; parent: number }[], which: "child" | "parent"): number {
  if (samples.length < 3) return 0;
  const mean = (of: (sample: (typeof samples)[number]) => number) => samples.reduce((sum, one) => sum + of(one), 0) / samples.length;
  const meanMs = mean(({ ms }) => ms);
  const meanSize = mean((one) => one[which]);
  const slope = mean((one) => (one.ms - meanMs) * (one[which] - meanSize)) / mean(({ ms }) => (ms - meanMs) ** 2);
  return (slope * (samples.at(-1)!.ms - samples[0]!.ms)) / meanSize;
}
