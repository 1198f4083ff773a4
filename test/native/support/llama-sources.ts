import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { pin } from "../../../src/ggml/index.ts";
import { defaultHome } from "../../../src/models/index.ts";

/**
 * The folder `models/` of the llama.cpp sources that the pinned libraries were built from: vocabularies with golden cases, and
 * chat templates. They come inside the npm package node-llama-cpp (36 MB), as a git bundle; it is fetched once into the cache.
 *
 * @returns the folder, or in `missing` why it could not be had (no network, no git, no npm)
 */
export function llamaModelsFolder(): { readonly folder: string } | { readonly missing: string } {
  const cache = join(defaultHome(process.env, process.platform, homedir()), "cache");
  const folder = join(cache, `llama.cpp-of-node-llama-cpp-${pin.packageVersion}`);
  if (existsSync(folder)) return { folder: join(folder, "models") };
  mkdirSync(cache, { recursive: true });
  const temporary = mkdtempSync(join(cache, "fetching-"));
  try {
    console.log(`fetching node-llama-cpp@${pin.packageVersion} (36 MB) for llama.cpp's golden cases`);
    const npm = process.platform === "win32" ? "npm.cmd" : "npm";
    const options = ["--ignore-scripts", "--silent", "--pack-destination", temporary];
    execFileSync(npm, ["pack", `node-llama-cpp@${pin.packageVersion}`, ...options], {
      timeout: 240_000,
      shell: process.platform === "win32",
    });
    const archive = readdirSync(temporary).find((file) => file.endsWith(".tgz"))!;
    const bundle = join(temporary, "release.bundle");
    writeFileSync(bundle, fileInTar(gunzipSync(readFileSync(join(temporary, archive))), "package/llama/gitRelease.bundle"));
    const checkout = join(temporary, "llama.cpp");
    execFileSync("git", ["clone", "--quiet", "--no-checkout", bundle, checkout], { stdio: "pipe" });
    execFileSync("git", ["-C", checkout, "checkout", "HEAD", "--", "models"], { stdio: "pipe" });
    rmSync(join(checkout, ".git"), { recursive: true });
    renameSync(checkout, folder);
  } catch (error) {
    if (!existsSync(folder)) return { missing: `llama.cpp's sources can't be fetched: ${(error as Error).message.split("\n")[0]}` };
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return { folder: join(folder, "models") };
}

/** The content of a file in a tar archive: 512-byte headers with name (0, 100) and octal size (124, 12), contents padded to 512. */
function fileInTar(tar: Buffer, name: string): Buffer {
  const field = (at: number, length: number) => tar.toString("latin1", at, at + length).replace(/\0.*$/s, "");
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(field(at + 124, 12), 8);
    if (field(at, 100) === name) return tar.subarray(at + 512, at + 512 + size);
    at += 512 + Math.ceil(size / 512) * 512;
  }
  throw new Error(`the package has no file ${name}`);
}
