import { readFile } from "node:fs/promises";
import { NotFoundError } from "../errors.ts";

/** A file of the command line as text. @throws NotFoundError naming it */
export function readTextFile(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw error.code === "ENOENT" ? new NotFoundError(`${path}: there is no such file`) : error;
  });
}
