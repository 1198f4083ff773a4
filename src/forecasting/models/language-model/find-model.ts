import { existsSync } from "node:fs";
import { OptionError } from "../../../errors.ts";
import { resolveModel } from "../../../models/index.ts";
import { quantize } from "../../../weights/index.ts";
import type { FitTask } from "../../types.ts";
import { noModel } from "./frozen-model.ts";

/** The file of a language model by name or path, pulled first where it isn't there. @throws OptionError for a name without a home */
export async function findModel(name: string, { home, hub, signal, onNotice }: Omit<FitTask, "horizon">): Promise<string> {
  if (name === noModel) return noModel;
  if (home === undefined && !existsSync(name))
    throw new OptionError("languageModel", `"${name}" is no file, and names of models need the option home`);
  const { path } = await resolveModel(name, {
    ...{ home: home ?? "", quantize },
    ...(hub && { hub }),
    ...(signal && { signal }),
    ...(onNotice && { onNotice }),
  });
  return path;
}
