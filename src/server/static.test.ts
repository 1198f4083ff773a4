import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hono } from "hono";
import { afterAll, expect, test } from "vitest";
import { playground, trainingPage } from "./static.ts";

const folder = mkdtempSync(join(tmpdir(), "chainrule-static-"));
afterAll(() => rmSync(folder, { recursive: true }));
const appOver = (root: string) => {
  const app = new Hono();
  app.get("*", playground(root));
  app.notFound((c) => c.json({ error: "none" }, 404));
  return app;
};

test("files of the folder, hashed ones for good; nothing outside it", async () => {
  const root = join(folder, "playground");
  mkdirSync(join(root, "assets"), { recursive: true });
  writeFileSync(join(root, "index.html"), "<h1>hello</h1>");
  writeFileSync(join(root, "assets", "index-1a2b.js"), "let a;");
  writeFileSync(join(folder, "secret.txt"), "secret");
  const app = appOver(root);
  const page = await app.request("/");
  expect([page.status, await page.text(), page.headers.get("cache-control")]).toEqual([200, "<h1>hello</h1>", "no-cache"]);
  expect(page.headers.get("content-type")).toMatch(/^text\/html/);
  const script = await app.request("/assets/index-1a2b.js");
  expect(script.headers.get("cache-control")).toContain("immutable");
  expect(script.headers.get("content-type")).toMatch(/javascript/);
  for (const path of ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/../../secret.txt", "//etc/passwd", "/none.js"]) {
    const response = await app.request(path);
    expect([path, response.status, (await response.text()).includes("secret")]).toEqual([path, 404, false]);
  }
});

test("a folder that is not there: the page says how to build it", async () => {
  const app = appOver(join(folder, "nowhere"));
  const page = await app.request("/");
  expect([page.status, await page.text()]).toEqual([404, expect.stringContaining("npm run build")]);
  expect((await app.request("/assets/x.js")).status).toBe(404);
});

test("a training run is shown as it goes, and before it began the page waits for it", async () => {
  const run = join(folder, "run");
  const app = new Hono();
  app.get("/training", trainingPage(run));
  const before = await app.request("/training");
  expect([before.status, await before.text()]).toEqual([404, expect.stringMatching(/http-equiv="refresh"[\s\S]*No training yet/)]);
  mkdirSync(run);
  for (const report of ["<h1>1 step</h1>", "<h1>2 steps</h1>"]) {
    writeFileSync(join(run, "report.html"), report);
    const page = await app.request("/training");
    expect([page.status, await page.text(), page.headers.get("cache-control")]).toEqual([200, report, "no-cache"]);
  }
});
