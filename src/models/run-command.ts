import { spawn } from "node:child_process";

/** How a command ended. */
export interface CommandResult {
  readonly exitCode: number | null;
  /** the last of what it wrote to standard error, at most 64 KiB */
  readonly stderr: string;
}

const stderrBytes = 64 * 1024;

/**
 * Runs a program to its end, without a shell; its standard output is thrown away.
 *
 * @param environment set over the variables of this process, which package managers need for proxies, certificates and mirrors
 * @returns undefined if there is no such program
 * @throws the signal's reason, once the program has gone
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: { environment?: Readonly<Record<string, string>>; signal?: AbortSignal | undefined },
): Promise<CommandResult | undefined> {
  options.signal?.throwIfAborted();
  const child = spawn(command, args, {
    shell: false,
    stdio: ["ignore", "ignore", "pipe"],
    windowsHide: true,
    env: { ...process.env, ...options.environment },
  });
  let stderr = Buffer.alloc(0);
  child.stderr.on("data", (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-stderrBytes);
  });
  const stop = () => child.kill();
  options.signal?.addEventListener("abort", stop, { once: true });
  try {
    const exitCode = await new Promise<number | null | "absent">((resolve, reject) => {
      child.once("error", (error: NodeJS.ErrnoException) => (error.code === "ENOENT" ? resolve("absent") : reject(error)));
      child.once("close", (code) => resolve(code));
    });
    options.signal?.throwIfAborted();
    return exitCode === "absent" ? undefined : { exitCode, stderr: stderr.toString("utf8") };
  } finally {
    options.signal?.removeEventListener("abort", stop);
  }
}
