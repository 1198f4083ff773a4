import { Command, InvalidArgumentError } from "commander";
import { OptionError } from "../../errors.ts";
import { type InspectedValue, type Inspection, inspectFile } from "../../weights/index.ts";
import { formatBytes } from "../progress-bar.ts";

export const inspect = new Command("inspect")
  .description("shows what a GGUF or safetensors file holds: metadata, tensors, sizes")
  .argument("<file>")
  .option("--memory", "also plan the memory that running the model takes")
  .option("--context <tokens>", "tokens to plan for (default: what the file names)", parseTokens)
  .option("--json", "print one object")
  .addHelpText("after", "\nExample:\n  $ chainrule inspect model.gguf --memory --context 4096")
  .action((file: string, { json, ...options }: { memory?: boolean; context?: number; json?: boolean }) => {
    if (options.context !== undefined && options.memory !== true) throw new OptionError("--context", "is for --memory only");
    const inspection = inspectFile(file, options);
    process.stdout.write(json ? `${JSON.stringify(inspection)}\n` : describe(inspection));
  });

function parseTokens(value: string): number {
  const tokens = Number(value);
  if (!Number.isSafeInteger(tokens) || tokens < 1) throw new InvalidArgumentError("expected a number of tokens, at least 1");
  return tokens;
}

function describe(file: Inspection): string {
  const kind = file.format === "gguf" ? `GGUF ${file.version}, alignment ${file.alignment}` : "safetensors";
  const values = file.elementCount.toLocaleString("en");
  return [
    `${printable(file.path)}: ${kind}, ${size(file.sizeBytes)}, ${file.tensors.length} tensors, ${values} values`,
    ...section(
      "types",
      file.types.map(({ type, tensors, elements, sizeBytes }) => [
        type,
        `${tensors} ${tensors === 1 ? "tensor" : "tensors"}`,
        `${elements.toLocaleString("en")} values`,
        size(sizeBytes),
      ]),
    ),
    ...section(
      "metadata",
      Object.entries(file.metadata).map(([key, { type, value }]) => [printable(key), type, showValue(value)]),
    ),
    ...section(
      "tensors",
      file.tensors.map(({ name, type, shape, sizeBytes }) => [printable(name), type, `[${shape.join(", ")}]`, size(sizeBytes)]),
    ),
    ...(file.memory === undefined ? [] : describeMemory(file.memory)),
    "",
  ].join("\n");
}

function describeMemory(plan: NonNullable<Inspection["memory"]>): string[] {
  const perToken = `${size(plan.cacheBytesPerToken)} a token, ${plan.cacheType}`;
  return section("memory", [
    ["weights", size(plan.weightsBytes)],
    ["key-value cache", size(plan.cacheBytes), `${plan.context.toLocaleString("en")} tokens, ${perToken}`],
    ["together", size(plan.weightsBytes + plan.cacheBytes), "and scratch memory"],
  ]);
}

/** Small tensors are common, so small sizes are exact. */
function size(bytes: number): string {
  return bytes < 10_000 ? `${bytes} B` : formatBytes(bytes);
}

/** A title and rows in columns. */
function section(title: string, rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return ["", title, ...rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd())];
}

const shownCharacters = 60;

function showValue(value: InspectedValue): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value !== "object") return String(value);
  const first = value.first.map((item) => (typeof item === "string" ? quoted(item) : String(item)));
  return `${value.length.toLocaleString("en")}: ${first.join(", ")}${value.length > first.length ? ", …" : ""}`;
}

function quoted(text: string): string {
  return printable(JSON.stringify(text.length > shownCharacters ? `${text.slice(0, shownCharacters)}…` : text));
}

/** A file's text must not steer the terminal. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
