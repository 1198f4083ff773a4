import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { pin } from "../src/ggml/index.ts";
import { defaultHome } from "../src/models/index.ts";

export interface Peer {
  readonly process: ChildProcess;
  /** One job at a time, see bench/node-llama-cpp.mjs. */
  ask<T>(job: object): Promise<T>;
}

/**
 * node-llama-cpp of the version whose libraries we drive, in a process of its own; installed on demand beside the models, never a dependency.
 *
 * @param sequences  of its one context; each may hold 1,024 tokens
 */
export async function openPeer(
  modelPath: string,
  threads: number,
  sequences: number,
  say: (line: string) => void,
): Promise<Peer & { readonly version: string }> {
  const folder = join(defaultHome(process.env, process.platform, homedir()), "bench", `node-llama-cpp-${pin.packageVersion}`);
  if (!existsSync(join(folder, "node_modules/node-llama-cpp"))) {
    say("fetching node-llama-cpp (once) …");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), '{"private":true,"type":"module"}');
    const platform = `@node-llama-cpp/${process.platform === "darwin" ? "mac" : process.platform === "win32" ? "win" : process.platform}-${process.arch}@${pin.packageVersion}`;
    execFileSync("npm", ["install", `node-llama-cpp@${pin.packageVersion}`, platform, "--ignore-scripts", "--omit=optional", "--no-save"], {
      cwd: folder,
      stdio: "ignore",
    });
  }
  const child = spawn(process.execPath, [resolve("bench/node-llama-cpp.mjs"), folder, modelPath, String(threads), String(sequences)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("node-llama-cpp ended");
    return JSON.parse(value);
  };
  await answer();
  return {
    process: child,
    version: pin.packageVersion,
    async ask(job) {
      child.stdin!.write(`${JSON.stringify(job)}\n`);
      return answer();
    },
  };
}
