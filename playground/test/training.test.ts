import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findChromium } from "../../scripts/chromium.mjs";
import { trainingReport } from "../../src/training/report.ts";
import { checkPage, desktop } from "./check-page.ts";
import { root, type Served, startServer, stopServer } from "./server.ts";

// A training run that a server shows, in a real browser.

const executablePath = findChromium();
const run = promisify(execFile);

describe.skipIf(executablePath === undefined)("a training in Chromium (skipped where there is none)", () => {
  const folder = mkdtempSync(join(tmpdir(), "chainrule-training-page-"));
  const out = join(folder, "run");
  let served: Served;
  let browser: Browser;

  beforeAll(async () => {
    const args = process.getuid?.() === 0 ? ["--no-sandbox"] : []; // Chromium's sandbox refuses root
    const starting = [startServer("tiny", "--training", out), chromium.launch({ executablePath: executablePath!, args })] as const;
    [served, browser] = await Promise.all(starting);
  });
  afterAll(async () => {
    await browser?.close();
    if (served !== undefined) await stopServer(served);
    rmSync(folder, { recursive: true });
  });

  test("its page waits for the run, shows it as it goes on, and at the end all of it", async () => {
    const complaints: string[] = [];
    const context = await browser.newContext({ viewport: desktop });
    const page = await context.newPage();
    page.setDefaultTimeout(60_000); // long, for machines that are busy
    await page.addInitScript((key) => sessionStorage.setItem("chainrule key", key), served.key);
    await page.goto(`${served.url}#server`);
    const opened = context.waitForEvent("page");
    await page.getByRole("link", { name: "Loss, learning rate and gradients" }).click();
    const shown = await opened;
    shown.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    await shown.getByRole("heading", { name: "No training yet" }).waitFor();

    const data = join(folder, "data.txt");
    writeFileSync(data, Array.from({ length: 2000 }, (_, i) => `The ${i % 7}th bird sees the ${i % 5}th river.`).join("\n"));
    const shape = ["--scratch", "hidden=32,blocks=1,heads=2,context=32", "--vocabulary", "280", "--sequences", "2", "--length", "32"];
    const command = ["dist/cli/main.js", "train", "--data", data, ...shape, "--steps", "40", "--out", out, "--seed", "1"];
    await run(process.execPath, command, { cwd: root });
    const path = join(out, "report.html");
    const finished = readFileSync(path, "utf8");
    const metrics = readFileSync(join(out, "metrics.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const replace = (report: string) => {
      writeFileSync(`${path}.new`, report);
      renameSync(`${path}.new`, path);
    };

    // the report as the run wrote it after ten steps, but that a browser looks again after a second instead of ten
    replace(trainingReport("tiny", metrics.slice(0, 10), 1));
    await shown.reload();
    await shown.getByText("10 steps").waitFor();
    replace(trainingReport("tiny", metrics.slice(0, 20), 1));
    await shown.getByText("20 steps").waitFor(); // without anybody's doing
    replace(finished);
    await shown.getByText("40 steps").waitFor();
    const curves = shown.getByRole("img", { name: "Loss, nats per token" }).locator('path[fill="none"]');
    expect(await curves.count()).toBe(2);
    for (const curve of await curves.all()) {
      const { width, height } = (await curve.boundingBox())!;
      expect(width).toBeGreaterThan(500); // the whole run, and losses that fell
      expect(height).toBeGreaterThan(50);
    }
    expect(await shown.getByRole("listitem").count()).toBeGreaterThan(5);
    expect(await shown.evaluate(() => getComputedStyle(document.body).maxWidth)).toBe("900px"); // its style is not refused
    await checkPage(shown, "the training's page");
    expect(complaints.filter((text) => !/status of 404/.test(text))).toEqual([]);
  });
});
