import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, type Parameters, writeSafetensors } from "../../../weights/index.ts";

/** Where the trained part of a forecaster lies, and its checkpoints while it is trained. */
export interface HeadFolder extends Disposable {
  readonly path: string;
}

/**
 * The folder of one training, by all that its numbers depend on: the same training finds what an earlier one left.
 *
 * @param home  without it the folder is a temporary one
 */
export function headFolder(home: string | undefined, name: string, identity: unknown): HeadFolder {
  if (home === undefined) {
    const path = mkdtempSync(join(tmpdir(), `chainrule-${name}-`));
    return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
  }
  const key = createHash("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, 16);
  const path = join(home, "forecast-heads", `${name}-${key}`);
  mkdirSync(path, { recursive: true });
  return { path, [Symbol.dispose]() {} };
}

/** Hash of series' values, for identities. */
export function hashValues(all: readonly Float64Array[]): string {
  const hash = createHash("sha256");
  for (const values of all) hash.update(`${values.length} `).update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return hash.digest("hex");
}

/** Puts a file's tensors into the parameters; false where there is none. */
export function readHead({ path }: HeadFolder, name: string, parameters: Parameters): boolean {
  const file = join(path, `${name}.safetensors`);
  if (!existsSync(file)) return false;
  using tensors = openSafetensors(file);
  for (const one of parameters.names) tensors.readInto(one, parameters.values(one));
  return true;
}

/** Writes the parameters as they are now; `isFinal` removes the checkpoints. */
export function writeHead({ path }: HeadFolder, name: string, parameters: Parameters, isFinal = false): void {
  const tensors = parameters.names.map((one) => ({
    ...{ name: one, type: "F32" as const, shape: parameters.tensor(one).shape },
    data: parameters.values(one),
  }));
  writeSafetensors(join(path, `${name}.safetensors`), { tensors });
  if (isFinal) for (const file of readdirSync(path)) if (file.startsWith("checkpoint-")) rmSync(join(path, file));
}
