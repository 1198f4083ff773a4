import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { NotFoundError, UnsupportedError } from "../errors.ts";
import { pin } from "./pin.ts";

export type DeviceKind = "cpu" | "cuda" | "vulkan" | "metal";

export interface LibraryFiles {
  /** The npm package they come from. */
  readonly package: string;
  readonly directory: string;
  readonly base: string;
  readonly registry: string;
  readonly llama: string;
}

/** The packages that may hold the libraries for a platform, by device; the first one installed is taken. */
export function libraryPackages(device: DeviceKind, platform: string = process.platform, arch: string = process.arch): string[] {
  const os = platform === "darwin" ? "mac" : platform === "win32" ? "win" : platform;
  const names: Partial<Record<DeviceKind, string[]>> = {
    cpu: [os === "mac" && arch === "arm64" ? "mac-arm64-metal" : `${os}-${arch}`],
    cuda: [`${os}-${arch}-cuda`],
    vulkan: [`${os}-${arch}-vulkan`],
    metal: os === "mac" && arch === "arm64" ? ["mac-arm64-metal"] : [],
  };
  return (names[device] ?? []).map((name) => `@node-llama-cpp/${name}`);
}

/**
 * Finds the prebuilt libraries for a device among the installed packages.
 * @throws NotFoundError that names the package to install; UnsupportedError for a version other than the pinned one
 */
export function findLibraries(device: DeviceKind): LibraryFiles {
  const require = createRequire(import.meta.url);
  const packages = libraryPackages(device);
  for (const name of packages) {
    const root = packageRoot(require, name);
    if (root === undefined) continue;
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    if (version !== pin.packageVersion) {
      throw new UnsupportedError(
        `${name} ${version} is installed, but this release drives ${pin.packageVersion}: npm install ${name}@${pin.packageVersion}`,
      );
    }
    const bins = join(root, "bins");
    const directory = readdirSync(bins)
      .map((entry) => join(bins, entry))
      .find((path) => readdirSync(path).some((file) => /ggml-base/.test(file)));
    if (directory === undefined) throw new NotFoundError(`${name}: no ggml library under ${bins}; reinstall the package`);
    return {
      package: name,
      directory,
      base: libraryFile(directory, "ggml-base"),
      registry: libraryFile(directory, "ggml"),
      llama: libraryFile(directory, "llama"),
    };
  }
  const what = `${device} on ${process.platform} ${process.arch}`;
  if (packages.length === 0) throw new UnsupportedError(`there are no prebuilt libraries for ${what}`);
  throw new NotFoundError(`no native libraries for ${what}: npm install ${packages[0]}@${pin.packageVersion}`);
}

/** The package's folder, whether or not its "exports" let us resolve a file in it. */
function packageRoot(require: NodeJS.Require, name: string): string | undefined {
  for (const base of require.resolve.paths(name) ?? []) {
    const root = join(base, name);
    if (existsSync(join(root, "package.json"))) return root;
  }
  return undefined;
}

/** `libX.so`, `libX.v0.5.0.so`, `libX.dylib`, `X.dll` … in `directory`. */
function libraryFile(directory: string, name: string): string {
  const pattern = new RegExp(`^(lib)?${name}(\\.v[\\d.]+)?\\.(so|dylib|dll)$`);
  const file = readdirSync(directory).find((entry) => pattern.test(entry));
  if (file === undefined) throw new NotFoundError(`no ${name} library in ${dirname(directory)}; reinstall the package`);
  return join(directory, file);
}
