import { Command } from "commander";
import { type Diagnosis, diagnose } from "../diagnosis.ts";
import { home } from "../home.ts";
import { formatBytes } from "../progress-bar.ts";

export const doctor = new Command("doctor")
  .description("looks at system, native libraries, processor, memory and models; exit code 1 where something is wrong")
  .option("-m, --model <name>", "also load this model and check its kinds of weight on this processor")
  .option("--json", "print one object")
  .addHelpText("after", "\nExample:\n  $ chainrule doctor --model smollm2")
  .action(async ({ model, json }: { model?: string; json?: boolean }) => {
    const diagnosis = await diagnose(home(), model === undefined ? {} : { model });
    process.stdout.write(json === true ? `${JSON.stringify(diagnosis)}\n` : describe(diagnosis));
    if (diagnosis.problems.length > 0) process.exitCode = 1;
  });

function describe(found: Diagnosis): string {
  const { system, memory, libraries, handshake, home, model } = found;
  const rows: [string, string][] = [
    ["system", `${system.platform}, ${system.release}, Node ${system.node}`],
    ["processor", `${system.cpu}, ${found.threads.available} threads`],
    ["memory", `${formatBytes(memory.freeBytes)} of ${formatBytes(memory.totalBytes)} free`],
    ...Object.entries(libraries).map(([device, at]): [string, string] => [device, "package" in at ? at.package : at.missing]),
    [
      "ggml",
      handshake === undefined
        ? "not loaded"
        : `${handshake.version}, commit ${handshake.commit}; ${handshake.checks.join(", ")}: as expected`,
    ],
    ["CPU variant", found.cpuVariant ?? "unknown"],
    ...found.products.map(({ threads, gflopPerSecond }): [string, string] => [
      threads === 1 ? "1 thread" : `${threads} threads`,
      `${gflopPerSecond.toFixed(1)} GFLOP/s (product of float32 matrices)`,
    ]),
    ["home", home.path],
    ...home.models.map(({ name, sizeBytes }): [string, string] => ["model", `${name}, ${formatBytes(sizeBytes)}`]),
    ...(model === undefined ? [] : [["loaded", `${model.path}: ${model.architecture}, ${model.vocabSize} tokens`] as [string, string]]),
    ...(model?.invariance ?? []).map((finding): [string, string] => ["invariance", describeFinding(finding)]),
    ...found.crashes.map(({ time, message, path }): [string, string] => ["crash", `${time} ${message}; ${path}`]),
    ...found.problems.map((problem): [string, string] => ["PROBLEM", problem]),
  ];
  const width = Math.max(...rows.map(([key]) => key.length));
  return rows.map(([key, value]) => `${key.padEnd(width)}  ${value}\n`).join("");
}

function describeFinding({ kind, isInvariant, isInvariantRowWise }: NonNullable<Diagnosis["model"]>["invariance"][number]): string {
  const verdict = isInvariant
    ? "holds"
    : isInvariantRowWise
      ? "holds with one row per plane, which is used"
      : "does not hold on this processor";
  return `${kind}: a row's bits do not depend on its neighbours: ${verdict}`;
}
