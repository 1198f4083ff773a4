import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { findChromium } from "../../scripts/chromium.mjs";
import type { CostCurve, Facts, ServerStatus } from "../src/api/wire.ts";
import { checkPage, desktop, surroundings } from "./check-page.ts";
import { ask, root, type Served, startServer, stopServer } from "./server.ts";

// The built page in a real browser, against a real server on the default model.

const executablePath = findChromium();
const run = promisify(execFile);
const prompt = "Once upon a time, once upon a time,";
const patience = { timeout: 60_000 };

interface Completion {
  readonly choices: readonly [{ readonly text: string }];
  readonly chainrule: {
    readonly choices: readonly [{ readonly facts: Facts; readonly alternatives?: readonly { readonly text: string }[] }];
  };
}

test("JavaScript of the page is less than 200 kB gzipped, and nothing in it is inline", () => {
  const assets = join(root, "dist/playground/assets");
  const scripts = readdirSync(assets).filter((name) => name.endsWith(".js"));
  const bytes = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name))).length, 0);
  console.log(`playground: ${(bytes / 1000).toFixed(1)} kB of JavaScript, gzipped`);
  expect(bytes).toBeGreaterThan(0);
  expect(bytes).toBeLessThan(200_000);
  const html = readFileSync(join(root, "dist/playground/index.html"), "utf8");
  expect(html).not.toMatch(/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=/);
});

describe.skipIf(executablePath === undefined)("in Chromium (skipped where there is none)", () => {
  let served: Served;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  /** What the browser complained of, but requests that were refused on purpose. */
  const complaints: string[] = [];

  beforeAll(async () => {
    const args = process.getuid?.() === 0 ? ["--no-sandbox"] : []; // Chromium's sandbox refuses root
    [served, browser] = await Promise.all([
      startServer(undefined, "--beside", "twin=smollm2"),
      chromium.launch({ executablePath: executablePath!, args }),
    ]);
  });
  afterAll(async () => {
    await browser?.close();
    if (served !== undefined) await stopServer(served);
    expect(complaints).toEqual([]);
  });

  /** A page of its own, with the key unless the test is about it. */
  async function open({ size = desktop, scheme = "light" as "light" | "dark", hasKey = true } = {}): Promise<void> {
    await context?.close();
    context = await browser.newContext({ viewport: size, colorScheme: scheme, permissions: ["clipboard-read", "clipboard-write"] });
    page = await context.newPage();
    page.setDefaultTimeout(patience.timeout);
    page.on("console", (message) => {
      if (message.type() === "error" && !/status of (400|401|429)/.test(message.text())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(error.message));
    if (hasKey) await page.addInitScript((key) => sessionStorage.setItem("chainrule key", key), served.key);
    await page.goto(served.url);
    if (hasKey) await page.locator(".dot-ready").waitFor();
  }
  beforeEach(() => open());
  afterEach(async () => {
    await context.close();
  });

  const view = (name: string) => page.getByRole("link", { name }).click();
  const shown = () => page.locator("main > div:not([hidden])");
  const axis = (name: string, within = shown()) =>
    within
      .locator("fieldset.axis", { has: page.locator("legend", { hasText: name }) })
      .locator("select")
      .first();
  const set = (label: string, value: string) => shown().getByLabel(label).first().fill(value);
  const answers = (status: string) => shown().locator(`.answer[data-status="${status}"]`);
  const done = (index = 0) => answers("done").nth(index).waitFor();
  async function complete(text = prompt, tokens = 24): Promise<void> {
    await set("Tokens at most", String(tokens));
    await shown().getByLabel("Prompt", { exact: true }).fill(text);
    await shown().getByRole("button", { name: "Continue" }).click();
  }
  const expected = (body: object) =>
    ask<Completion>(served, "/v1/completions", { prompt, max_tokens: 24, temperature: 0, logprobs: 5, ...body });
  const answerText = async (at = 0) =>
    (await shown().locator(".answer").nth(at).locator('[role="status"]').textContent())!.replace(/^Answer complete: /, "");

  test("a server with a key asks for it; the page keeps it in this tab, and tells when it was refused", async () => {
    await open({ hasKey: false });
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Key").fill("wrong");
    await dialog.getByRole("button", { name: "Use this key" }).click();
    await dialog.getByText("refused").waitFor();
    await dialog.getByLabel("Key").fill(served.key);
    await dialog.getByRole("button", { name: "Use this key" }).click();
    await page.locator(".dot-ready").waitFor();
    expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain(served.key);
    await page.reload();
    await page.locator(".dot-ready").waitFor();
    const other = await context.newPage();
    await other.goto(served.url);
    await other.getByRole("dialog").waitFor();
  });

  test("send and stream: tokens appear while the run goes on, and at the end stand the server's text and numbers", async () => {
    await complete(prompt, 48);
    await answers("streaming").locator(".token").nth(2).waitFor();
    expect(await answers("streaming").locator(".token").count()).toBeLessThan(48);
    await done();
    const { choices, chainrule } = await expected({ max_tokens: 48 });
    expect(await answerText()).toBe(choices[0].text);
    const { tokens, passes } = chainrule.choices[0].facts;
    expect(await answers("done").locator(".token").count()).toBe(tokens.length);
    await expect.poll(() => shown().locator(".numbers").innerText()).toContain(`Passes\n${passes}`);
    // the colour is the probability's
    const limits = [0.9, 0.5, 0.2, 0.05, 0.01, 0];
    const steps = await answers("done")
      .locator(".token")
      .evaluateAll((list) => list.map((token) => Number((token as HTMLElement).dataset.step)));
    expect(steps).toEqual(tokens.map(({ logprob }) => limits.findIndex((limit) => Math.exp(logprob!) >= limit)));
  });

  test("inspect a token with the keyboard, take an alternative, and go on from there", async () => {
    await complete();
    await done();
    const { tokens } = (await expected({})).chainrule.choices[0].facts;
    const list = shown().getByRole("listbox");
    await list.focus();
    for (let step = 0; step < 3; step++) await page.keyboard.press("ArrowRight");
    const card = shown().locator(".card");
    expect(await card.locator(".card-foot").innerText()).toContain(`Token 4, id ${tokens[3]!.id}.`);
    expect(await list.getAttribute("aria-activedescendant")).toBe(await list.locator('[aria-selected="true"]').getAttribute("id"));
    const shares = await card.locator(".alternatives .number").allInnerTexts();
    expect(shares).toHaveLength(tokens[3]!.top!.length);
    expect(Number.parseFloat(shares[0]!)).toBeCloseTo(100 * Math.exp(tokens[3]!.top![0]!.logprob), -1);
    await page.keyboard.press("Enter");
    await card.locator("button:focus").waitFor();
    await page.keyboard.press("Escape");
    await expect.poll(() => list.evaluate((element) => element === document.activeElement)).toBe(true);
    await page.keyboard.press("Enter");
    await card.locator("button:focus").waitFor(); // the first alternative
    await page.keyboard.press("Enter");
    await shown().locator(".forked").waitFor();
    await done();
    const { tokens: start } = await ask<{ tokens: number[] }>(served, "/tokenize", { text: prompt });
    const other = tokens[3]!.top!.find(({ id }) => id !== tokens[3]!.id)!.id;
    const forked = await expected({ prompt: [...start, ...tokens.slice(0, 3).map(({ id }) => id), other] });
    expect(await answerText()).toBe(forked.choices[0].text);
  });

  test("point at a token: its alternatives show", async () => {
    await complete(prompt, 8);
    await done();
    await shown().locator(".token").nth(2).hover();
    await shown().locator(".card .alternative").first().waitFor();
    await expect
      .poll(async () => (await shown().locator(".card .alternative code").allInnerTexts()).some((text) => text.startsWith("#")))
      .toBe(false);
  });

  test("switch a method: drafts are marked accepted or rejected, and the snippets give the answer again", async () => {
    await axis("draft").selectOption("ngram");
    await shown().getByLabel("nodes", { exact: true }).fill("6");
    await complete(prompt, 60);
    await done();
    const { choices, chainrule } = await expected({ max_tokens: 60, chainrule: { draft: { name: "ngram", nodes: 6 } } });
    const { drafts, tokens } = chainrule.choices[0].facts;
    expect(drafts!.accepted).toBeGreaterThan(0);
    expect(await answers("done").locator('.token[data-draft="accepted"]').count()).toBe(
      tokens.filter(({ source }) => source === "draft").length,
    );
    expect(await answers("done").locator('.token[data-draft="rejected"]').count()).toBe(
      tokens.filter(({ source, drafted }) => source === "model" && drafted?.accepted === false).length,
    );
    await shown().getByText(`${drafts!.accepted} of ${drafts!.drafted} guesses accepted`).waitFor();

    await shown().getByText("Reproduce this run").click();
    const code = () => shown().locator(".code").innerText();
    await shown().getByRole("button", { name: "curl" }).click();
    const { stdout: answered } = await run("bash", ["-c", await code()], { env: { ...process.env, CHAINRULE_API_KEY: served.key } });
    expect((JSON.parse(answered) as Completion).choices[0].text).toBe(choices[0].text);

    await shown().getByRole("button", { name: "TypeScript" }).click();
    const folder = mkdtempSync(join(root, "dist/snippet-")); // below the repository, whose name the snippet imports
    try {
      const file = join(folder, "snippet.ts");
      writeFileSync(file, (await code()).replace('load("smollm2")', 'load("smollm2", { threads: 1, context: 1024 })'));
      const { stdout } = await run(process.execPath, ["--import", "./scripts/register-typescript.mjs", file], { cwd: root });
      expect(stdout).toBe(`${choices[0].text}\n`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("a model that the server was started with can be named, and the snippet loads it", async () => {
    await axis("draft").selectOption("model");
    await shown().getByText("must be given").waitFor();
    await shown().getByLabel("model", { exact: true }).selectOption("twin");
    await complete(prompt, 24);
    await done();
    const { chainrule } = await expected({ max_tokens: 24, chainrule: { draft: { name: "model", model: "twin" } } });
    const { drafted, accepted } = chainrule.choices[0].facts.drafts!;
    expect(accepted).toBe(drafted); // it guesses what the model says
    await shown().getByText(`${accepted} of ${drafted} guesses accepted`).waitFor();
    await shown().getByText("Reproduce this run").click();
    await shown().getByRole("button", { name: "TypeScript" }).click();
    expect(await shown().locator(".code").innerText()).toContain('load("smollm2", { beside: { twin: "path/of/twin" } })');
  });

  test("a search's tree grows while it goes on; at the end it has every branch", async () => {
    await axis("search").selectOption("beam");
    await complete("The three laws of robotics are", 16);
    const words = shown().locator(".tree-words text");
    await shown().locator('.tree-words[data-end="live"]').first().waitFor({ state: "attached" });
    const early = await words.count();
    await done();
    expect(await words.count()).toBeGreaterThan(early);
    const { facts } = (await expected({ prompt: "The three laws of robotics are", max_tokens: 16, chainrule: { search: "beam" } }))
      .chainrule.choices[0];
    await shown().getByText(`${facts.branches!.length} branches`, { exact: true }).waitFor();
    await shown().getByText("Branches as a table").click();
    expect(await shown().locator("tbody tr").count()).toBe(facts.branches!.length);
    expect(await shown().locator(".tree-words[data-answer] text").count()).toBe(facts.tokens.length);
  });

  test("skipped blocks are a map of tokens by blocks", async () => {
    await axis("skip").selectOption("layers");
    await complete();
    await done();
    const { skips } = (await expected({ chainrule: { skip: "layers" } })).chainrule.choices[0].facts;
    await shown()
      .getByRole("img", { name: `${skips!.total - skips!.run} of ${skips!.total} half-blocks were skipped over 24 tokens and 30 blocks` })
      .waitFor();
    // a cell that was skipped, as the pointer finds it
    const [token, block] = skips!.blocks.at(-1)!;
    const map = shown().locator(".skip-map");
    const box = (await map.boundingBox())!;
    const cell = (box.width - 38) / 24;
    await map.hover({ position: { x: 34 + (token + 0.5) * cell, y: 4 + (30 - block - 0.5) * 8 } });
    await shown()
      .getByText(`token ${token + 1}, block ${block}: skipped`)
      .waitFor();
  });

  test("an explanation is a heat map over the prompt, for each explained token", async () => {
    await axis("explain").selectOption("reagent");
    await shown().getByLabel("replaced", { exact: true }).fill("40");
    await shown().getByLabel("tokens", { exact: true }).fill("2");
    await complete("The capital of France is", 3);
    await shown().getByRole("progressbar").waitFor();
    await done();
    const explain = { name: "reagent", replaced: 40, tokens: 2 };
    const { facts } = (await expected({ prompt: "The capital of France is", max_tokens: 3, chainrule: { explain } })).chainrule.choices[0];
    const { tokens } = facts.attribution!;
    const chips = shown().locator(".chips button");
    expect(await chips.count()).toBe(tokens.length);
    await chips.last().click();
    const titles = await shown()
      .locator(".heat span")
      .evaluateAll((list) => list.map((one) => one.getAttribute("title")!));
    expect(titles.map((title) => title.split(": ").at(-1))).toEqual(tokens.at(-1)!.scores.map((score) => score.toFixed(3)));
  });

  test("what methods refuse is said before it is sent, and what the server refuses afterwards", async () => {
    await axis("search").selectOption("beam");
    await axis("draft").selectOption("ngram");
    await shown().getByText("search beam can't be combined with ngram").waitFor();
    await complete(prompt, 4);
    await answers("failed").getByRole("alert").waitFor();
    await axis("draft").selectOption("");
    await answers("failed").getByRole("button", { name: "Try again" }).click();
    await done();
  });

  test.each([
    ["best-of", "0", "temperature 0"],
    ["contrastive", "0.7", "temperature 0.7"],
  ])("search %s warns of temperature %s in the server's own words", async (search, temperature, named) => {
    await set("Temperature", temperature);
    await axis("search").selectOption(search);
    const warning = shown().locator(".notice", { hasText: `search ${search} can't be combined with ${named}: ` });
    const why = (await warning.textContent())!.split(": ")[1]!;
    await complete(prompt, 4);
    expect(await answers("failed").getByRole("alert").textContent()).toContain(why);
    await set("Temperature", temperature === "0" ? "0.7" : "0");
    await expect.poll(() => warning.count()).toBe(0);
  });

  test("several answers stand side by side, each the one that its seed gives alone; the one that is picked has its facts below", async () => {
    await set("Temperature", "0.9");
    await set("Answers", "3");
    await set("Seed", "5");
    await complete(prompt, 16);
    await done(2);
    for (const [index, seed] of [5, 6, 7].entries()) {
      const { choices } = await expected({ max_tokens: 16, temperature: 0.9, seed });
      expect(await answerText(index)).toBe(choices[0].text);
    }
    await shown().getByRole("button", { name: "Answer 2" }).click();
    await shown().getByText("Reproduce this run").click();
    await expect.poll(() => shown().locator(".code").textContent()).toContain("seed: 6");
  });

  test("a beam search that is asked for several answers shows them all", async () => {
    await axis("search").selectOption("beam");
    await shown().getByLabel("best", { exact: true }).fill("3");
    await complete("The three laws of robotics are", 8);
    await done();
    const beam = { max_tokens: 8, prompt: "The three laws of robotics are", chainrule: { search: { name: "beam", best: 3 } } };
    const { alternatives } = (await expected(beam)).chainrule.choices[0];
    expect(await shown().locator(".alternative-text").allTextContents()).toEqual(alternatives!.map(({ text }) => text));
    expect(alternatives).toHaveLength(2);
  });

  test("a server that is full is no broken page", async () => {
    await page.route("**/v1/completions", (route) =>
      route.fulfill({ status: 429, json: { error: { message: "the server has 128 requests under way", param: null } } }),
    );
    await complete(prompt, 4);
    await answers("failed").getByText("128 requests under way").waitFor();
    await page.unroute("**/v1/completions");
    await answers("failed").getByRole("button", { name: "Try again" }).click();
    await done();
  });

  test("compare: two settings on one prompt, and where they part", async () => {
    await view("Compare");
    for (const [name, method] of [
      ["Setting A", "ngram"],
      ["Setting B", ""],
    ] as const) {
      const side = page.getByRole("region", { name });
      await side.locator("summary").first().click();
      await side.getByLabel("Tokens at most").fill("12");
      if (method !== "") await axis("draft", side).selectOption(method);
    }
    await shown().getByRole("button", { name: "Run both" }).click();
    await done(1);
    const part = /part at token (\d+)/.exec(await shown().locator(".compare-numbers").innerText());
    const ids = await Promise.all(
      [{ temperature: 0 }, { temperature: 0.8, seed: 7 }].map(async (settings) =>
        (await expected({ prompt: "The three laws of robotics are", max_tokens: 12, ...settings })).chainrule.choices[0].facts.tokens.map(
          ({ id }) => id,
        ),
      ),
    );
    expect(Number(part![1])).toBe(ids[0]!.findIndex((id, index) => id !== ids[1]![index]) + 1);
    expect(await shown().locator(".token[data-marked]").count()).toBe(2);
  });

  test("cancel: the page says so, and the server's work stops", async () => {
    await complete(prompt, 900);
    await answers("streaming").locator(".token").nth(2).waitFor();
    await shown().getByRole("button", { name: "Cancel" }).click();
    await answers("stopped")
      .getByText(/^Cancelled after \d+ tokens$/)
      .waitFor();
    await expect
      .poll(async () => {
        const { requests, engine } = await ask<ServerStatus>(served, "/v1/chainrule/status");
        return [requests.running, engine!.running, engine!.streamsUsed];
      }, patience)
      .toEqual([0, 0, 0]);
  });

  test("chat: Enter sends, the conversation goes on with what was said", async () => {
    await view("Chat");
    await set("Tokens at most", "12");
    const sent: { messages: { role: string; content: string }[] }[] = [];
    page.on("request", (request) => {
      if (request.url().endsWith("/v1/chat/completions")) sent.push(request.postDataJSON() as (typeof sent)[number]);
    });
    for (const [index, text] of ["Name three colours.", "And three fruits."].entries()) {
      await shown().getByLabel("Message", { exact: true }).fill(text);
      await page.keyboard.press("Enter");
      await done(index);
    }
    const first = await answerText(0);
    expect(sent[1]!.messages).toEqual([
      { role: "user", content: "Name three colours." },
      { role: "assistant", content: first },
      { role: "user", content: "And three fruits." },
    ]);
    await page.getByRole("button", { name: "New conversation" }).click();
    expect(await shown().locator(".turn").count()).toBe(0);
  });

  test("the server live: its numbers, and the cost curve", async () => {
    const curve: CostCurve = { singleRowMs: 20, points: [1, 2, 4, 8, 16, 32].map((rows) => ({ rows, ratio: 1 + (rows - 1) / 4 })) };
    await page.route("**/v1/chainrule/cost-curve", (route) => route.fulfill({ json: curve })); // measuring takes longer than the test
    await view("Server");
    const { requests } = await ask<ServerStatus>(served, "/v1/chainrule/status");
    await expect.poll(() => shown().locator(".numbers").innerText()).toContain(`Requests\n${requests.accepted.toLocaleString("en")}`);
    await ask(served, "/v1/completions", { prompt, max_tokens: 16 });
    await expect.poll(() => shown().locator(".chart").first().locator("path").getAttribute("d"), patience).toMatch(/^M.*L/);
    await shown().getByRole("button", { name: "Show the curve" }).click();
    await shown().locator(".chart-wide .point").first().waitFor();
    expect(await shown().locator(".chart-wide .point").count()).toBe(curve.points.length);
  });

  test("first paint from loopback", async () => {
    const paints: number[] = [];
    for (let time = 0; time < 3; time++) {
      await open();
      // the browser reports a paint after the frame is shown, which may be after the page is ready
      const paint = await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
      paints.push((await paint.jsonValue())!);
    }
    console.log(`playground: first contentful paint after ${paints.map((ms) => Math.round(ms)).join(", ")} ms`);
    expect(paints.every((ms) => ms > 0)).toBe(true);
    if (process.env.CHAINRULE_SOAK !== undefined) expect(paints.sort((a, b) => a - b)[1]).toBeLessThan(1000); // on a quiet machine
  });

  describe.each(surroundings)("on $name", ({ size, scheme }) => {
    const check = (where: string) => checkPage(page, where);
    test("every view fits, and axe finds nothing serious", async () => {
      await open({ size, scheme });
      await page.route("**/v1/chainrule/cost-curve", (route) =>
        route.fulfill({
          json: {
            singleRowMs: 20,
            points: [
              { rows: 1, ratio: 1 },
              { rows: 32, ratio: 9 },
            ],
          },
        }),
      );
      const settings = async () => {
        const button = shown().locator(".settings-button");
        if (await button.isVisible()) await button.click();
      };
      await check("empty");
      await settings();
      await axis("search").selectOption("beam");
      await axis("guide").selectOption("repetition");
      await check("settings");
      await complete("The three laws of robotics are", 12);
      await done();
      await shown().getByText("Branches as a table").click();
      await shown().getByText("Reproduce this run").click();
      await shown().locator(".token").nth(2).click();
      await check("search");
      await axis("search").selectOption("");
      await axis("skip").selectOption("layers");
      await axis("draft").selectOption("adaptive");
      await check("conflict");
      await axis("skip").selectOption("ffn");
      await axis("skip").selectOption("");
      await complete(prompt, 24);
      await done();
      await check("drafts");
      await view("Chat");
      await shown().getByRole("button", { name: "Name three colours" }).waitFor();
      await check("chat, empty");
      await settings();
      await set("Tokens at most", "12");
      await shown().getByRole("button", { name: "Name three colours" }).click();
      await done();
      await check("chat");
      await view("Compare");
      for (const side of await shown().locator(".side-settings summary").all()) await side.click();
      for (const field of await shown().getByLabel("Tokens at most").all()) await field.fill("8");
      await shown().getByRole("button", { name: "Run both" }).click();
      await done(1);
      await check("compare");
      await view("Server");
      await shown().getByRole("button", { name: "Show the curve" }).click();
      await shown().locator(".chart-wide .point").first().waitFor();
      await check("server");
    });
  });
});
