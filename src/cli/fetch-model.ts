import { hubFromEnvironment, type ResolvedModel, type ResolveOptions, resolveModel } from "../models/index.ts";
import { quantize } from "../weights/index.ts";
import { builder } from "./build-model.ts";
import { home } from "./home.ts";
import { ProgressBar } from "./progress-bar.ts";

/** The file of a model, pulled or built if it isn't there, with a bar on standard error while that goes on. */
export async function fetchModel(name: string, options: Pick<ResolveOptions, "offline" | "force" | "signal"> = {}): Promise<ResolvedModel> {
  const bar = new ProgressBar();
  try {
    return await resolveModel(name, {
      ...options,
      home: home(),
      hub: hubFromEnvironment(process.env),
      quantize,
      build: builder(bar),
      onProgress: (progress) => bar.update(progress),
      onNotice: (notice) => bar.note(notice),
    });
  } finally {
    bar.clear();
  }
}
