import { existsSync } from "node:fs";
import type { Engine } from "../engine/index.ts";
import { NotFoundError } from "../errors.ts";
import type { Device } from "../ggml/index.ts";
import { linear } from "../tensor/index.ts";
import { type GgufFile, Parameters } from "../weights/index.ts";

/** Maps that lie beside a model's file, registered with its engine. */
export interface RegisteredMaps {
  readonly chain: readonly { readonly tap: string; readonly map: string }[];
  /** Freed with the model. */
  readonly matrices: Parameters;
}

/** @throws NotFoundError where none were trained */
export async function registerTransferMaps(
  engine: Engine,
  { device, file, name }: { readonly device: Device; readonly file: GgufFile; readonly name: string },
): Promise<RegisteredMaps> {
  const { readTransferMaps, transferMapsPath } = await import("../training/index.ts");
  const path = transferMapsPath(file.path);
  if (!existsSync(path))
    throw new NotFoundError(
      `draft: hidden-transfer needs maps trained for ${name}, and there is no ${path}; "chainrule distill --model ${name}" trains them`,
    );
  const { config } = engine.model;
  const { layers, matrices } = readTransferMaps(path, file.fingerprint(), config);
  const parameters = Parameters.create(
    device,
    matrices.map((_, i) => ({ name: `${i}`, shape: [config.hiddenSize, config.hiddenSize] })),
  );
  const chain = layers.map((layer, i) => {
    parameters.values(`${i}`).set(matrices[i]!);
    const map = `hidden-transfer.${i + 1}`;
    engine.registerMap(map, (state) => linear(state, parameters.tensor(`${i}`)));
    return { tap: `blocks.${layer}.resid_post`, map };
  });
  return { chain, matrices: parameters };
}
