// Module hooks for register-typescript.mjs: strips the types of .ts files outside node_modules. TypeScript takes seconds to load,
// so results are kept by the hash of their source.
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const cache = new URL("../node_modules/.cache/typescript-hooks/", import.meta.url);

export async function load(url, context, nextLoad) {
  if (!url.startsWith("file:") || !url.endsWith(".ts") || url.includes("/node_modules/")) return nextLoad(url, context);
  const text = await readFile(fileURLToPath(url), "utf8");
  const name = `${createHash("sha256").update(text).digest("hex")}.mjs`;
  const known = await readFile(new URL(name, cache), "utf8").catch((error) => {
    if (error.code !== "ENOENT") throw error;
  });
  return { format: "module", source: known ?? (await strip(text, name)), shortCircuit: true };
}

async function strip(text, name) {
  const { default: ts } = await import("typescript");
  const { outputText } = ts.transpileModule(text, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } });
  await mkdir(cache, { recursive: true });
  const draft = new URL(`${name}.${process.pid}.${Math.random()}`, cache); // renamed, so that no reader sees half a file
  await writeFile(draft, outputText);
  await rename(draft, new URL(name, cache));
  return outputText;
}
