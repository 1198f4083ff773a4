import axe from "axe-core";
import type { Page } from "playwright-core";
import { expect } from "vitest";

interface Sizes {
  readonly width: number;
  readonly height: number;
}
export const phone: Sizes = { width: 390, height: 844 };
export const desktop: Sizes = { width: 1280, height: 900 };

/** Every size with every theme. */
export const surroundings = (["light", "dark"] as const).flatMap((scheme) => [
  { name: `a phone, ${scheme}`, size: phone, scheme },
  { name: `a desk, ${scheme}`, size: desktop, scheme },
]);

/** No part of the page is wider than its window, and axe finds nothing serious. */
export async function checkPage(page: Page, where: string): Promise<void> {
  const { over, widest } = await page.evaluate(() => ({
    over: document.documentElement.scrollWidth - innerWidth,
    widest: [...document.querySelectorAll("main *")]
      .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && one.closest(".scroll") === null)
      .map((one) => one.outerHTML.slice(0, 120)),
  }));
  expect({ where, over: Math.max(over, 0), widest }).toEqual({ where, over: 0, widest: [] });
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: typeof axe }).axe.run(document, { resultTypes: ["violations"] });
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`).join("; ")}`);
  });
  expect({ where, found }).toEqual({ where, found: [] });
}
