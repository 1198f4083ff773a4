import koffi from "koffi";
import { UnsupportedError } from "../errors.ts";
import type { Native } from "./native.ts";
import { pin } from "./pin.ts";
import { structSizes, structs, tensorLayout } from "./structs.ts";
import { typeIds } from "./types.ts";

/** What the start-up check found, for `doctor`. */
export interface Handshake {
  readonly version: string;
  readonly commit: string;
  readonly checks: readonly string[];
}

/**
 * Compares the loaded libraries with what this version was written for: version, commit, sizes of structs, the layout of a
 * tensor, the names of types. Cheap (well under a millisecond); refuses anything else by name.
 * @throws UnsupportedError
 */
export function handshake(native: Native): Handshake {
  const version = native.ggml_version() ?? "";
  const commit = native.ggml_commit() ?? "";
  const expect = (what: string, actual: unknown, expected: unknown): void => {
    if (actual !== expected) {
      throw new UnsupportedError(
        `${native.files.package}: ${what} is ${actual}, this release drives ${expected}; install ${native.files.package}@${pin.packageVersion}`,
      );
    }
  };
  expect("ggml's version", version, pin.ggmlVersion);
  expect("ggml's commit", commit, pin.ggmlCommit);
  expect("the size of a tensor's header", native.ggml_tensor_overhead(), pin.tensorOverhead);
  for (const [name, size] of Object.entries(structSizes))
    expect(`the size of ${name}`, koffi.sizeof(structs[name as keyof typeof structSizes]), size);
  for (const [name, id] of Object.entries(typeIds)) expect(`the name of type ${id}`, native.ggml_type_name(id)?.toLowerCase(), name);

  const context = native.ggml_init({ mem_size: 2 * pin.tensorOverhead, mem_buffer: null, no_alloc: true });
  try {
    const tensor = native.ggml_new_tensor(context, typeIds.q4_0, 2, new BigInt64Array([64n, 2n]));
    const bytes = new DataView(koffi.view(tensor, pin.tensorOverhead - 32));
    expect("a tensor's type field", bytes.getInt32(tensorLayout.type, true), typeIds.q4_0);
    expect("a tensor's ne[0]", bytes.getBigInt64(tensorLayout.ne, true), 64n);
    expect("a tensor's ne[1]", bytes.getBigInt64(tensorLayout.ne + 8, true), 2n);
    expect("a tensor's nb[0]", bytes.getBigUint64(tensorLayout.nb, true), 18n);
    expect("a tensor's nb[1]", bytes.getBigUint64(tensorLayout.nb + 8, true), 36n);
    expect("a tensor's op field", bytes.getInt32(tensorLayout.op, true), 0);
    expect("a tensor's data field", bytes.getBigUint64(tensorLayout.data, true), 0n);
  } finally {
    native.ggml_free(context);
  }
  return { version, commit, checks: ["version", "commit", "struct sizes", "type names", "tensor layout"] };
}
