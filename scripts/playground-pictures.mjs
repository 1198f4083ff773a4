// node scripts/playground-pictures.mjs: the playground's pictures for the docs, from the built page, a real server and a real Chromium.
// Needs `npm run build`, the default model, and a machine with nothing else to do: speeds stand in them. An argument names one picture.
import { chromium } from "playwright-core";
import { serve } from "../dist/server/index.js";
import { findChromium } from "./chromium.mjs";

const executablePath = findChromium();
if (executablePath === undefined) throw new Error("no Chromium: name one in CHAINRULE_CHROMIUM");
const server = await serve({ model: "smollm2", port: 0, load: { context: 1024 } });
const args = process.getuid?.() === 0 ? ["--no-sandbox"] : []; // Chromium's sandbox refuses root
const browser = await chromium.launch({ executablePath, args });

/** @param crop  height of the picture */
async function picture(name, crop, act) {
  if (process.argv[2] !== undefined && process.argv[2] !== name) return;
  const page = await browser.newPage({ viewport: { width: 1200, height: crop }, deviceScaleFactor: 1.5 });
  await page.goto(server.url);
  await page.locator(".dot-ready").waitFor();
  const view = page.locator("main > div:not([hidden])");
  const method = (axis) =>
    view
      .locator("fieldset.axis", { has: page.locator("legend", { hasText: axis }) })
      .locator("select")
      .first();
  await act({ page, view, method });
  await page.screenshot({ path: `docs/images/${name}.png` });
  await page.close();
}

async function complete(page, view, text, tokens) {
  await view.getByLabel("Tokens at most").fill(String(tokens));
  await view.getByLabel("Prompt", { exact: true }).fill(text);
  await view.getByRole("button", { name: "Continue" }).click();
  await view.locator('.answer[data-status="done"]').waitFor({ timeout: 120_000 });
  await page.waitForTimeout(800); // texts of alternatives and branches
}

await picture("playground-completion", 760, async ({ page, view, method }) => {
  await method("draft").selectOption("ngram");
  await complete(page, view, "Once upon a time, once upon a time,", 64);
  await view.locator(".token").nth(8).hover();
  await page.waitForTimeout(400);
});
await picture("playground-search", 830, async ({ page, view, method }) => {
  await method("search").selectOption("beam");
  await complete(page, view, "The best thing about autumn is", 12);
});
await picture("playground-forecast", 860, async ({ page, view }) => {
  await page.getByRole("link", { name: "Forecast" }).click();
  await view.getByRole("button", { name: "Airline passengers" }).click();
  await view.getByLabel("Horizon, steps").fill("24");
  await view.getByRole("button", { name: "Forecast", exact: true }).click();
  await view.getByRole("heading", { name: "How the model was chosen" }).waitFor({ timeout: 120_000 });
  await page.waitForTimeout(400);
});
await browser.close();
await server.stop();
