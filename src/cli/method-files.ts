import { compactParts } from "../decoding/index.ts";
import { readTextFile } from "./read-text-file.ts";

/**
 * A method as the command line writes it, with the file's text in place of `key=@file`; one line's end at its end is left out.
 * @throws NotFoundError
 */
export async function withFiles(spec: string): Promise<string> {
  const parts = compactParts(spec).map(async (part) => {
    const [, key, path] = /^([^=]+)=@(.+)$/.exec(part) ?? [];
    return path === undefined ? part : `${key}=${JSON.stringify((await readTextFile(path)).replace(/\r?\n$/, ""))}`;
  });
  return (await Promise.all(parts)).join(",");
}
