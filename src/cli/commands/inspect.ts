import { Command, InvalidArgumentError } from "commander";
import { OptionError } from "../../errors.ts";
import type { IsotropyReport } from "../../index.ts";
import { type InspectedValue, type Inspection, inspectFile } from "../../weights/index.ts";
import { interruptible } from "../interrupt.ts";
import { loadModel } from "../load-model.ts";
import { formatBytes } from "../progress-bar.ts";
import { readTextFile } from "../read-text-file.ts";
import { showWork } from "../work-line.ts";

export const inspect = new Command("inspect")
  .description("shows what a GGUF or safetensors file holds: metadata, tensors, sizes; or how isotropic a model's states are")
  .argument("<file>", "a file; with --isotropy any model's name")
  .option("--memory", "also plan the memory that running the model takes")
  .option("--context <tokens>", "tokens to plan for (default: what the file names)", parseTokens)
  .option("--isotropy", "run the model and measure how differently its states point: what --search contrastive lives on")
  .option("--text <file>", "a text for --isotropy (default: a page of ours)")
  .option("--json", "print one object")
  .addHelpText("after", "\nExamples:\n  $ chainrule inspect model.gguf --memory --context 4096\n  $ chainrule inspect smollm2 --isotropy")
  .action(async (file: string, { json, isotropy, text, ...options }: Options) => {
    if (options.context !== undefined && options.memory !== true) throw new OptionError("--context", "is for --memory only");
    if (text !== undefined && isotropy !== true) throw new OptionError("--text", "is for --isotropy only");
    if (isotropy === true) {
      if (options.memory === true) throw new OptionError("--isotropy", "and --memory are two reports; ask for one");
      const report = await measureIsotropy(file, text);
      process.stdout.write(json ? `${JSON.stringify(report)}\n` : describeIsotropy(file, report));
      return;
    }
    const inspection = inspectFile(file, options);
    process.stdout.write(json ? `${JSON.stringify(inspection)}\n` : describe(inspection));
  });

interface Options {
  readonly memory?: boolean;
  readonly context?: number;
  readonly isotropy?: boolean;
  readonly text?: string;
  readonly json?: boolean;
}

function measureIsotropy(model: string, file: string | undefined): Promise<IsotropyReport> {
  return interruptible(async (signal) => {
    const text = file === undefined ? undefined : await readTextFile(file);
    await using loaded = await loadModel({ model }, signal);
    const work = showWork();
    const onProgress = (done: number, total: number) => work.update("measured", done, total);
    const report = await loaded.isotropy({ ...(text === undefined ? {} : { text }), signal, onProgress });
    work.clear();
    return report;
  });
}

function describeIsotropy(name: string, { isotropy, withoutFirst, windows, window, tokens }: IsotropyReport): string {
  const many = `${tokens.toLocaleString("en")} tokens in ${windows} ${windows === 1 ? "window" : "windows"} of ${window}`;
  return [
    `${printable(name)}: isotropy ${isotropy.toFixed(3)}, ${withoutFirst.toFixed(3)} without each window's first token (${many})`,
    "1: states are at right angles on the mean; 0: all point the same way, and contrastive search has little to go by",
    "",
  ].join("\n");
}

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
