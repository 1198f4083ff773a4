import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

/** Writes text into a page of docs: between the line `marker` and the next `<!-- end of table -->`, formatted. */
export function writeBetween(path: string, marker: string, text: string): void {
  const page = readFileSync(path, "utf8");
  const start = page.indexOf(marker);
  const end = page.indexOf("<!-- end of table -->", start);
  if (start < 0 || end < 0) throw new Error(`${path} has no ${marker} with its <!-- end of table -->`);
  writeFileSync(path, `${page.slice(0, start + marker.length)}\n\n${text.trim()}\n\n${page.slice(end)}`);
  execFileSync("npx", ["biome", "check", "--write", path], { stdio: "ignore" });
}
