import { UnsupportedError } from "../../errors.ts";
import type { Family } from "../model.ts";
import { gemma3 } from "./gemma3.ts";
import { gpt2 } from "./gpt2.ts";
import { llama } from "./llama.ts";
import { qwen2, qwen3 } from "./qwen.ts";

export const families: readonly Family[] = [llama, qwen2, qwen3, gemma3, gpt2];

/** @throws UnsupportedError with the list of those we have */
export function familyOf(architecture: string): Family {
  const family = families.find((candidate) => candidate.architecture === architecture);
  if (family === undefined) {
    throw new UnsupportedError(
      `model architecture "${architecture}" is not supported; supported: ${families.map((known) => known.architecture).join(", ")}`,
    );
  }
  return family;
}
