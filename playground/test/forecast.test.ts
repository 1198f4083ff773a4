import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { findChromium } from "../../scripts/chromium.mjs";
import { forecast } from "../../src/forecasting/index.ts";
import { exampleTable } from "../src/forecast/example.ts";
import { checkPage, desktop, surroundings } from "./check-page.ts";
import { type Served, startServer, stopServer } from "./server.ts";

// The forecast view of the built page in a real browser, against a real server; it needs no language model, so the smallest is served.

const executablePath = findChromium();
const patience = { timeout: 20_000 };
const shops = `day,shop,sold,returned\n${["north", "south"]
  .flatMap((shop, at) =>
    Array.from({ length: 84 }, (_, index) => {
      const day = new Date(Date.UTC(2024, 0, 1 + index)).toISOString().slice(0, 10);
      return `${day},${shop},${20 + 5 * at + (index % 7) + ((index * 13) % 5)},${(index * 7) % 4}`;
    }),
  )
  .join("\n")}\n`;

describe.skipIf(executablePath === undefined)("forecasts in Chromium (skipped where there is none)", () => {
  let served: Served;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    const args = process.getuid?.() === 0 ? ["--no-sandbox"] : []; // Chromium's sandbox refuses root
    [served, browser] = await Promise.all([startServer("tiny"), chromium.launch({ executablePath: executablePath!, args })]);
  });
  afterAll(async () => {
    await browser?.close();
    if (served !== undefined) await stopServer(served);
    expect(complaints).toEqual([]);
  });

  async function open({ size = desktop, scheme = "light" as "light" | "dark" } = {}): Promise<void> {
    await context?.close();
    context = await browser.newContext({ viewport: size, colorScheme: scheme, acceptDownloads: true });
    page = await context.newPage();
    page.setDefaultTimeout(patience.timeout); // long, for machines that are busy
    page.on("console", (message) => {
      if (message.type() === "error" && !/status of 400/.test(message.text())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.addInitScript((key) => sessionStorage.setItem("chainrule key", key), served.key);
    await page.goto(`${served.url}#forecast`);
    await page.locator(".dot-ready").waitFor();
  }
  beforeEach(() => open());
  afterEach(() => context.close());

  const shown = () => page.locator("main > div:not([hidden])");
  const choose = (name: string, text: string) =>
    shown()
      .getByLabel("Table file")
      .setInputFiles({ name, mimeType: "text/csv", buffer: Buffer.from(text) });
  const understood = () => shown().getByRole("heading", { name: "What was understood" });
  const press = (name: string) => shown().getByRole("button", { name, exact: true }).click();
  const example = () => shown().getByRole("button", { name: "Airline passengers a month, 1949 to 1960" }).click();
  const ready = () => shown().getByRole("heading", { name: "How the model was chosen" }).waitFor();
  async function saved(name: string): Promise<{ name: string; bytes: Buffer }> {
    const [download] = await Promise.all([page.waitForEvent("download"), shown().getByRole("button", { name }).click()]);
    return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
  }

  test("a table becomes the library's forecast: what was understood, the choice, the numbers, and files of them", async () => {
    await example();
    await understood().waitFor();
    expect(await shown().locator(".choices").textContent()).toContain("monthly");
    await press("Forecast");
    await ready();
    const expected = await forecast(Readable.from([Buffer.from(exampleTable.text)]), { horizon: 12 });
    const { chosen, forecasts } = expected;
    await shown().getByText(`${chosen.model}: ${chosen.because}.`).waitFor();
    expect(await shown().locator(".models tbody tr").count()).toBe(chosen.table.length);
    expect(await shown().locator(".models [data-chosen] th").textContent()).toContain(chosen.model);
    expect(await shown().locator(".fan-band").count()).toBe(2);

    const csv = await saved("CSV");
    expect(csv.name).toBe("passengers-forecast.csv");
    const rows = csv.bytes
      .toString()
      .trim()
      .split("\r\n")
      .slice(1)
      .map((line) => line.split(","));
    expect(rows.map((row) => row.slice(1).map((cell, at) => (at === 0 ? cell : Number(cell))))).toEqual(
      forecasts[0]!.time.map((time, step) => [
        time,
        forecasts[0]!.mean[step],
        ...["80", "95"].flatMap((level) => forecasts[0]!.intervals[level]!.map((bound) => bound[step])),
      ]),
    );
    const svg = (await saved("SVG")).bytes.toString();
    expect(svg).toMatch(/^<svg [\s\S]*<title>Forecast of passengers<\/title>/);
    expect(svg).not.toMatch(/class=|style=|var\(/); // it stands alone
    const png = (await saved("PNG")).bytes;
    expect([png.subarray(1, 4).toString(), png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual(["PNG", expect.any(Number), 600]);
    await shown().getByText("Reproduce this forecast").click();
    expect(await shown().locator(".code").textContent()).toContain('await forecast("passengers.csv", { horizon: 12, levels: [80, 95] })');
  });

  test("columns and model are the person's; another model of the table forecasts at a click", async () => {
    await choose("shops.csv", shops);
    await shown().getByText('shops.csv has several columns of numbers; name the one to forecast: "sold", "returned"').waitFor();
    expect(await shown().getByRole("button", { name: "Forecast", exact: true }).isDisabled()).toBe(true);
    await shown().getByLabel("Column to forecast").selectOption("sold");
    await understood().waitFor();
    await shown().getByLabel("Target").selectOption("returned");
    await shown().getByLabel("Horizon, steps").fill("5");
    await expect.poll(() => shown().locator(".choices").textContent()).toContain("“returned”");
    await press("Forecast");
    await ready();
    const of = async (model: string) =>
      (await forecast(Readable.from([Buffer.from(shops)]), { horizon: 5, target: "returned", levels: [80, 95], model })).forecasts;
    await shown().getByLabel("Series, of").selectOption("south");
    await shown().getByText("The forecast as a table").click();
    await shown().getByRole("button", { name: "forecast with drift" }).click();
    const [, south] = await of("drift");
    await expect
      .poll(() => shown().locator("details[open] tbody tr").first().locator("td").first().textContent(), patience)
      .toBe(south!.mean[0]!.toLocaleString("en", { maximumFractionDigits: 3 }));
    await shown().getByLabel("Target").selectOption("shop");
    await shown().getByRole("alert").first().waitFor(); // no numbers in it
    await shown().getByLabel("Target").selectOption("sold");
    await expect.poll(() => shown().getByRole("alert").count()).toBe(0);
  });

  test("a file can be dropped, and what is none is refused on the page", async () => {
    const drop = (name: string, text: string) =>
      shown()
        .locator(".drop")
        .evaluate(
          (place, [file, content]) => {
            const data = new DataTransfer();
            data.items.add(new File([content!], file!));
            place.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
          },
          [name, text],
        );
    await drop("picture.png", "\u0089PNG\0\0");
    await shown().getByText("picture.png holds no text").waitFor();
    await drop("shops.csv", shops);
    await shown().getByLabel("Column to forecast").waitFor();
  });

  test("all of it with the keyboard: paste, read, forecast, and read the chart step by step", async () => {
    await shown().getByLabel("Or paste one").focus();
    await page.keyboard.insertText(exampleTable.text);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await understood().waitFor();
    await shown().getByRole("button", { name: "Forecast", exact: true }).focus();
    await page.keyboard.press("Enter");
    await ready();
    const chart = shown().getByRole("slider");
    await chart.focus();
    await page.keyboard.press("ArrowRight");
    const told = /^1961-01-01: forecast [\d.,]+, 80 % from [\d.,]+ to [\d.,]+, 95 % from/;
    expect(await chart.getAttribute("aria-valuetext")).toMatch(told);
    expect(await shown().locator(".fan-reading").textContent()).toMatch(told);
    await page.keyboard.press("Home");
    expect(await chart.getAttribute("aria-valuenow")).toBe("1");
    await page.keyboard.press("Escape");
    await shown().getByText("Point at the chart").waitFor();
  });

  test("cancel: the page says so, and the server's work stops", async () => {
    const hourly = Array.from({ length: 4000 }, (_, index) => `${Math.sin(index / 9) + ((index * 7919) % 101) / 101}`);
    await choose("noise.csv", `value\n${hourly.join("\n")}\n`);
    await understood().waitFor();
    await shown().getByLabel("Model").selectOption("spacetime");
    await press("Forecast");
    await shown().getByRole("progressbar").waitFor();
    await press("Cancel");
    await shown().getByText("Cancelled.").waitFor();
    const running = async () =>
      /num_forecasts_running (\d+)/.exec(
        await (await fetch(`${served.url}/metrics`, { headers: { authorization: `Bearer ${served.key}` } })).text(),
      )![1];
    await expect.poll(running, patience).toBe("0");
    await press("Forecast");
    await shown().getByRole("progressbar").waitFor();
    await press("Another table"); // ends it too
    await shown().getByLabel("Or paste one").waitFor();
    await expect.poll(running, patience).toBe("0");
  });

  test.each(surroundings)("on $name it fits in every state, and axe finds nothing serious", async ({ size, scheme }) => {
    await open({ size, scheme });
    await checkPage(page, "empty");
    await choose("a-table-with-a-rather-long-name-that-nobody-has-shortened.csv", shops);
    await shown().getByLabel("Column to forecast").waitFor();
    await checkPage(page, "a question");
    await shown().getByLabel("Column to forecast").selectOption("sold");
    await understood().waitFor();
    const button = shown().locator(".settings-button");
    if (await button.isVisible()) await button.click();
    await shown().getByLabel("Model").selectOption("theta");
    await checkPage(page, "understood");
    await shown().getByLabel("Model").selectOption("auto");
    await press("Forecast");
    await ready();
    await shown().getByText("The forecast as a table").click();
    await shown().getByText("Reproduce this forecast").click();
    await shown().getByRole("slider").focus();
    await page.keyboard.press("ArrowRight");
    await checkPage(page, "forecast");
    await shown().getByLabel("Target").selectOption("shop");
    await shown().getByRole("alert").first().waitFor();
    await checkPage(page, "refused");
  });
});
