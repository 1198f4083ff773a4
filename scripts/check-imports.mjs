// Checks the import direction of src/ (docs/architecture.md): a folder imports only from folders below it,
// and from another folder only through its index.ts.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const src = resolve(import.meta.dirname ?? dirname(new URL(import.meta.url).pathname), "../src");
/** folder -> what it may import; leaves (errors.ts, token.ts) are open to all */
const below = {
  ggml: [],
  tensor: ["ggml"],
  weights: ["tensor", "ggml"],
  tokenizer: ["weights", "ggml"],
  nn: ["tensor"],
  chat: [],
  optimizers: [],
};
below.models = ["nn", "weights", "tokenizer", "tensor", "ggml"];
below.adapters = ["nn", "tensor", "weights"];
below.engine = ["adapters", "models", "nn", "tokenizer", "weights", "tensor", "ggml"];
below.decoding = ["engine", "tokenizer", "chat"]; // of engine: types only
below.training = ["decoding", "chat", "optimizers", ...below.engine, "engine"];
const domains = ["forecasting", "speech", "vision", "retrieval", "evaluation"];
for (const domain of domains) below[domain] = [...below.training, "training"];
below.load = [...below.training, "training", ...domains];
below.index = [...below.load, "load"];
below.cli = [...below.index, "index", "server"];
below.server = [...below.index, "index"];
const typesOnly = { decoding: ["engine"] };
/** They hand their environment on to a process and read nothing of it. */
const handsOn = new Set(["chat/renderer.ts", "models/run-command.ts"]);

const errors = [];
for (const entry of readdirSync(src, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !/\.(ts|mjs)$/.test(entry.name)) continue;
  const file = join(entry.parentPath ?? entry.path, entry.name);
  const area = relative(src, file).split(/[\\/]/)[0].replace(/\.ts$/, "");
  const text = readFileSync(file, "utf8");
  for (const match of text.matchAll(
    /^(?:import|export)\s+(type\s)?[^;]*?from\s+"(\.[^"]+)"|^import\s+"(\.[^"]+)"|import\("(\.[^"]+)"\)/gm,
  )) {
    const target = relative(src, resolve(dirname(file), match[2] ?? match[3] ?? match[4]));
    const [folder] = target.split(/[\\/]/);
    const to = folder.replace(/\.(ts|mjs)$/, "");
    if (to === area || to === "errors" || to === "token" || target.startsWith("..")) continue;
    const where = relative(dirname(src), file);
    if (!(below[area] ?? []).includes(to)) errors.push(`${where}: ${area} may not import ${target}`);
    else if (target.includes("/") && !/^[^/]+\/index\.ts$/.test(target)) errors.push(`${where}: import ${to}/index.ts, not ${target}`);
    else if (typesOnly[area]?.includes(to) && match[1] === undefined && !file.endsWith(".test.ts")) {
      errors.push(`${where}: ${area} may import only types from ${to}`);
    }
  }
  if (/\bfrom "koffi"/.test(text) && area !== "ggml") errors.push(`${relative(dirname(src), file)}: only ggml/ may import koffi`);
  if (/process\.env/.test(text) && !file.endsWith(".test.ts") && !["cli", "load"].includes(area) && !handsOn.has(relative(src, file))) {
    errors.push(`${relative(dirname(src), file)}: the environment is read in cli/ and load/ only, and handed in`);
  }
}

// The playground is a client of the server's public API: of src/ it sees the types of facts, forecasts and requests, and nothing that runs.
const playground = join(dirname(src), "playground");
const seen = new Set(["engine/facts.ts", "forecasting/index.ts", "server/schemas.ts", "server/forecast-schemas.ts"]);
const packages = new Set(["preact", "preact/hooks", "preact/compat", "@preact/signals"]);
for (const entry of readdirSync(join(playground, "src"), { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !/\.tsx?$/.test(entry.name) || entry.name.endsWith(".test.ts")) continue;
  const file = join(entry.parentPath ?? entry.path, entry.name);
  const where = relative(dirname(src), file);
  for (const [, type, from, bare, dynamic] of readFileSync(file, "utf8").matchAll(
    /^(?:import|export)\s+(type\s)?[^;]*?from\s+"([^"]+)"|^import\s+"([^"]+)"|import\("([^"]+)"\)/gm,
  )) {
    const path = from ?? bare ?? dynamic;
    if (!path.startsWith(".")) {
      if (!packages.has(path)) errors.push(`${where}: the playground may not import ${path}`);
      continue;
    }
    const target = resolve(dirname(file), path);
    if (!relative(playground, target).startsWith("..")) continue;
    const source = relative(src, target);
    if (!seen.has(source)) errors.push(`${where}: the playground may not import ${source}`);
    else if (type === undefined) errors.push(`${where}: the playground may import only types from ${source}`);
  }
}
if (errors.length > 0) {
  console.error(errors.join("\n"));
  process.exit(1);
}
console.log("imports: direction holds");
