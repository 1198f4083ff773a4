import type { RunHooks } from "../training/index.ts";
import { formatBytes } from "./progress-bar.ts";

/** What a training takes, in one line, before its first step. */
export function describeStart({ memory, parameters, fromStep }: Parameters<NonNullable<RunHooks["onStart"]>>[0]): string {
  const { weightBytes, passBytes, stateBytes } = memory;
  const sizes = `weights ${formatBytes(weightBytes)}, passes ${formatBytes(passBytes)}, optimizer ${formatBytes(stateBytes)}`;
  return `${parameters.toLocaleString("en")} parameters; memory: ${sizes}${fromStep === 0 ? "" : `; going on after step ${fromStep}`}`;
}
