import { type GgufFile, type MetadataValue, type Parameters, type TensorToWrite, writeGguf } from "../weights/index.ts";

/**
 * Writes a model file with trained tensors in place of those it began with: these in f32, all others and the metadata as they were.
 *
 * @param values  of each trained tensor; default the parameters themselves
 */
export async function exportModel(
  path: string,
  base: GgufFile,
  parameters: Parameters,
  values: (name: string) => Float32Array = (name) => parameters.values(name),
): Promise<void> {
  const metadata = new Map<string, MetadataValue>(base.metadata);
  if (parameters.names.length > 0) metadata.set("general.file_type", { type: "uint32", value: 0 });
  const tensors = [...base.tensors.values()].map((info): TensorToWrite => {
    const isTrained = parameters.has(info.name);
    const data = () => {
      if (isTrained) {
        const floats = values(info.name);
        return [new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength)];
      }
      const bytes = new Uint8Array(info.sizeBytes);
      base.readInto(info.name, bytes);
      return [bytes];
    };
    return { name: info.name, type: isTrained ? "f32" : info.type, shape: info.shape, data };
  });
  await writeGguf(path, { metadata, tensors });
}
