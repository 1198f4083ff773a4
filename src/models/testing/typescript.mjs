// Lets a child process of a test run TypeScript on every Node we support: node --import <this file> worker.ts
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread, threadId } from "node:worker_threads";

// Hooks run on a thread of their own, which loads this file again.
if (isMainThread) register(import.meta.url);

// The compiler takes seconds and tens of megabytes: what it made of a text is kept, and where all is known it isn't loaded.
const own = await readFile(fileURLToPath(import.meta.url));
const kept = new URL("../../../node_modules/.cache/chainrule-typescript/", import.meta.url);

export async function load(url, context, nextLoad) {
  if (!url.endsWith(".ts")) return nextLoad(url, context);
  const text = await readFile(fileURLToPath(url), "utf8");
  return { format: "module", shortCircuit: true, source: await transpiled(text) };
}

async function transpiled(text) {
  const file = new URL(`${createHash("sha256").update(own).update(text).digest("hex")}.mjs`, kept);
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  const { default: ts } = await import("typescript");
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true };
  const { outputText } = ts.transpileModule(text, { compilerOptions });
  await mkdir(kept, { recursive: true });
  const partial = new URL(`${file.href}.${process.pid}-${threadId}`); // another process may write it too
  await writeFile(partial, outputText);
  await rename(partial, file);
  return outputText;
}
