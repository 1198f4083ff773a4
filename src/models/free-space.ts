import { statfs } from "node:fs/promises";
import { DownloadError } from "../errors.ts";

/** @throws DownloadError if the file system of `folder` has less than `neededBytes` left */
export async function requireFreeSpace(folder: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  throw new DownloadError(`${folder} has ${megabytes(freeBytes)} left, ${megabytes(neededBytes)} are needed`);
}
