import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, type EngineOptions, probeInvariance, rowWiseKinds } from "../../src/engine/index.ts";
import { Device } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { openGguf, Weights } from "../../src/weights/index.ts";

/** A folder that is removed at the end. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "chainrule-test-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** An engine over a model file, with everything it needs; one thread unless told, and no prefix cache, so that what is computed again is computed. */
export async function openEngine(path: string, options: EngineOptions & { threads?: number; repack?: boolean } = {}) {
  const device = Device.create("cpu", options.threads ?? 1);
  using file = openGguf(path);
  const family = familyOf(file.metadata.requireString("general.architecture"));
  const weights = Weights.open(device, file, { repack: options.repack ?? true });
  const model = family.build(file.metadata, weights);
  await weights.load();
  const rowWise = rowWiseKinds(await probeInvariance(device, weights.storages));
  const engine = Engine.create(device, model, { cacheBytes: 64 * 2 ** 20, prefixCacheBytes: 0, rowWise, ...options });
  return {
    engine,
    device,
    model,
    async [Symbol.asyncDispose]() {
      await engine[Symbol.asyncDispose]();
      weights[Symbol.dispose]();
      device[Symbol.dispose]();
    },
  };
}
