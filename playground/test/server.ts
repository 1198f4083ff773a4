import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The repository. */
export const root = fileURLToPath(new URL("../..", import.meta.url));

/** A server as a person starts it, from what `npm run build` made. */
export interface Served {
  readonly url: string;
  readonly key: string;
  readonly child: ChildProcess;
}

/**
 * @param model  default the command's own
 * @param more   other options of `serve`
 */
export async function startServer(model?: string, ...more: string[]): Promise<Served> {
  if (!existsSync(`${root}dist/playground/index.html`)) throw new Error("dist/playground is not there: npm run build");
  const key = "a-key-of-ours";
  const args = ["dist/cli/main.js", "serve", "--port", "0", "--threads", "1", "--quiet", "--api-key", key, ...more];
  args.push(...(model === undefined ? ["--context", "1024"] : ["--model", model]));
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let errors = "";
  child.stderr!.on("data", (text: Buffer) => {
    errors += text;
  });
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout!.on("data", (text: Buffer) => resolve(String(text).trim()));
    child.once("exit", (code) => reject(new Error(`chainrule serve ended with code ${code}: ${errors}`)));
  });
  return { url, key, child };
}

export async function stopServer({ child }: Served): Promise<void> {
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

/** Asks the server what the page asks, without the page. */
export async function ask<T>({ url, key }: Served, path: string, body?: object): Promise<T> {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const response = await fetch(`${url}${path}`, body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}
