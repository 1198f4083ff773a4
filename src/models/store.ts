import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { FormatError } from "../errors.ts";
import { modelSlug } from "./name.ts";

/** A model file that is there. */
export interface InstalledModel {
  readonly name: string;
  /** of the GGUF file */
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** where it came from, as a person would say it */
  readonly source: string;
  /** ISO 8601 */
  readonly pulledAt: string;
}

/** Model names to folders under a home: `models/<slug>/` holds the file and its `model.json`, `downloads/<slug>/` what is on its way. */
export function modelFolders(home: string, name: string): { model: string; downloads: string; locks: string; slug: string } {
  const slug = modelSlug(name);
  return { model: join(home, "models", slug), downloads: join(home, "downloads", slug), locks: join(home, "locks"), slug };
}

const manifestName = "model.json";

/**
 * The model of that name if it is there and its file has the size it was pulled with.
 * @throws FormatError a manifest that is not what we write
 */
export async function findInstalled(home: string, name: string): Promise<InstalledModel | undefined> {
  return readModel(modelFolders(home, name).model);
}

/** Every model under a home, by name. Folders that hold no manifest are not models. */
export async function listModels(home: string): Promise<readonly InstalledModel[]> {
  const folder = join(home, "models");
  const slugs = await readdir(folder).catch(ifAbsent([]));
  const models = await Promise.all(slugs.map((slug) => readModel(join(folder, slug))));
  return models.filter((model) => model !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function readModel(folder: string): Promise<InstalledModel | undefined> {
  const manifestPath = join(folder, manifestName);
  const text = await readFile(manifestPath, "utf8").catch(ifAbsent(undefined));
  if (text === undefined) return undefined;
  const { file, ...model } = parseManifest(manifestPath, text);
  const path = join(folder, file);
  const size = await stat(path).then((stats) => stats.size, ifAbsent(undefined));
  return size === model.sizeBytes ? { ...model, path } : undefined;
}

function parseManifest(path: string, text: string): Omit<InstalledModel, "path"> & { file: string } {
  let value: Record<string, unknown>;
  try {
    value = Object(JSON.parse(text));
  } catch (error) {
    throw new FormatError(path, "is not JSON; pull the model again with --force", { cause: error });
  }
  const { name, file, sizeBytes, sha256, source, pulledAt } = value;
  const isString = [name, file, sha256, source, pulledAt].every((field) => typeof field === "string" && field !== "");
  if (!isString || basename(file as string) !== file || /^\.{1,2}$/.test(file as string) || !Number.isSafeInteger(sizeBytes)) {
    throw new FormatError(path, "is no manifest of a model; pull the model again with --force");
  }
  return { name, file, sizeBytes, sha256, source, pulledAt } as Omit<InstalledModel, "path"> & { file: string };
}

/**
 * Makes a finished file a model: one rename of a folder, so that a reader sees the old model, none, or the new one, never half of one.
 * Call it with the model's lock held. `file` must lie on the same file system as the home.
 */
export async function install(
  home: string,
  model: { name: string; file: string; path: string; sizeBytes: number; sha256: string; source: string; beside?: readonly string[] },
  workFolder: string,
): Promise<InstalledModel> {
  const staged = join(workFolder, `model-${randomUUID()}`);
  await mkdir(staged);
  await rename(model.path, join(staged, model.file));
  for (const path of model.beside ?? []) await rename(path, join(staged, basename(path)));
  const { name, file, sizeBytes, sha256, source } = model;
  const manifest = { name, file, sizeBytes, sha256, source, pulledAt: new Date().toISOString() };
  await writeDurably(join(staged, manifestName), `${JSON.stringify(manifest, undefined, 2)}\n`);
  const { model: folder } = modelFolders(home, name);
  await mkdir(dirname(folder), { recursive: true });
  await rename(folder, join(workFolder, `replaced-${randomUUID()}`)).catch(ifAbsent(undefined));
  await rename(staged, folder);
  const { file: _, ...rest } = manifest;
  return { ...rest, path: join(folder, file) };
}

/** Deletes what is kept of a model; call it with the model's lock held. @returns whether there was anything */
export async function uninstall(home: string, name: string): Promise<boolean> {
  const { model, downloads } = modelFolders(home, name);
  const found = await Promise.all([model, downloads].map((folder) => stat(folder).then(() => true, ifAbsent(false))));
  await mkdir(downloads, { recursive: true });
  // First out of sight in one step, then file by file.
  await rename(model, join(downloads, `removed-${randomUUID()}`)).catch(ifAbsent(undefined));
  await rm(downloads, { recursive: true, force: true });
  return found.includes(true);
}

async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await open(path, "wx");
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** For `.catch`: an absent file is `value`, any other error stays one. */
export function ifAbsent<T>(value: T): (error: unknown) => T {
  return (error) => {
    if ((error as NodeJS.ErrnoException | null)?.code === "ENOENT") return value;
    throw error;
  };
}
