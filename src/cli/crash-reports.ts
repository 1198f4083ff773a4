import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type DeviceKind, loadNative, onNativeAbort, pin } from "../ggml/index.ts";

/** What a run leaves that was ended by a failed check in native code. */
export interface CrashReport {
  /** The check: file, line and condition. */
  readonly message: string;
  /** ISO 8601 */
  readonly time: string;
  readonly command: readonly string[];
  /** The model's name or path as it was given. */
  readonly model: string;
  readonly versions: Readonly<Record<string, string>>;
}

export interface KeptReport extends CrashReport {
  readonly path: string;
}

const kept = 20;
const unannounced = ".new.json";

/**
 * From now on a failed native check of this process says so on standard error and leaves a report in the home folder.
 */
export function keepCrashReports(home: string, run: { command: readonly string[]; model: string }, device: DeviceKind = "cpu"): void {
  onNativeAbort(loadNative(device), (full) => {
    const message = full.replace(/^\S*\/(?=ggml\/src\/)/, ""); // without the folder in which the library was built
    const time = new Date().toISOString();
    const versions = {
      node: process.version,
      ggml: `${pin.ggmlVersion} (${pin.ggmlCommit})`,
      platform: `${process.platform} ${process.arch}`,
    };
    const report: CrashReport = { message, time, ...run, versions };
    writeSync(2, `\nerror: a check in native code failed and ends this process: ${message}\n`);
    const folder = reportFolder(home);
    mkdirSync(folder, { recursive: true });
    const path = join(folder, `${time.replaceAll(":", "-")}-${process.pid}${unannounced}`);
    writeFileSync(path, `${JSON.stringify(report, undefined, 2)}\n`);
  });
}

/** Says once, on the run after, what ended an earlier one. Keeps the newest reports and deletes the others. */
export function announceCrashes(home: string, write: (line: string) => void): void {
  const folder = reportFolder(home);
  for (const name of names(folder).filter((entry) => entry.endsWith(unannounced))) {
    const path = join(folder, `${name.slice(0, -unannounced.length)}.json`);
    try {
      renameSync(join(folder, name), path); // of two processes at the same time one succeeds, and speaks
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw error;
    }
    const { message = "an unreadable report" } = readReport(path) ?? {};
    write(`note: an earlier run was ended by a failed check in native code: ${message}; report: ${path}`);
  }
  for (const name of names(folder).slice(0, -kept)) rmSync(join(folder, name), { force: true });
}

/** The reports that are there, oldest first. */
export function listCrashes(home: string): readonly KeptReport[] {
  return names(reportFolder(home)).flatMap((name) => {
    const path = join(reportFolder(home), name);
    const report = readReport(path);
    return report === undefined ? [] : [{ ...report, path }];
  });
}

function reportFolder(home: string): string {
  return join(home, "crashes");
}

/** File names begin with the time, so sorting is by age. */
function names(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(".json"))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** A report, unless the process ended while it was written. */
function readReport(path: string): CrashReport | undefined {
  try {
    const report = JSON.parse(readFileSync(path, "utf8")) as CrashReport;
    return typeof report.message === "string" ? report : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
