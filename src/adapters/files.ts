import { statSync } from "node:fs";
import { dirname } from "node:path";
import { NotFoundError } from "../errors.ts";
import type { Adapter } from "./adapter.ts";
import type { AdapterBase } from "./base.ts";
import { readGgufLora } from "./gguf-lora.ts";
import { readPeft } from "./peft.ts";

/**
 * Reads an adapter: a folder as PEFT saves it (or one of its two files), or a LoRA of llama.cpp's as one GGUF file. What the files hold is
 * checked against the base first.
 *
 * @throws NotFoundError, FormatError, UnsupportedError
 */
export function readAdapter(path: string, base: AdapterBase): Adapter {
  const entry = statSync(path, { throwIfNoEntry: false });
  if (entry === undefined) throw new NotFoundError(`there is no adapter ${path}: name a folder as PEFT saves it, or a GGUF file`);
  if (entry.isDirectory()) return readPeft(path, base);
  return /\.(safetensors|json)$/.test(path) ? readPeft(dirname(path), base) : readGgufLora(path, base);
}
