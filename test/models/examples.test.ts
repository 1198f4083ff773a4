import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";

// Each example runs as a user's program would: against the built package, by its name.
const compiled = resolve(".examples"); // inside the package, so that it finds itself by name
mkdirSync(compiled, { recursive: true });

const expected: Readonly<Record<string, RegExp>> = {
  "fork.ts": /^ Paris → .+ \(0\.\d{3}\)\n Rome → .+ \(0\.\d{3}\)\n$/,
  "generate.ts": /^[\s\S]+\n24 tokens in 24 passes\n$/,
  "skip-rule.ts": /\[\d+ skipped\]/,
};

test("every example has its expected output here", () => expect(readdirSync("examples").sort()).toEqual(Object.keys(expected)));

test.each(Object.entries(expected))("examples/%s", (name, output) => {
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  const { outputText } = ts.transpileModule(readFileSync(join("examples", name), "utf8"), { compilerOptions: options });
  const file = join(compiled, name.replace(/\.ts$/, ".mjs"));
  writeFileSync(file, outputText);
  expect(execFileSync(process.execPath, [file], { encoding: "utf8" })).toMatch(output);
});
