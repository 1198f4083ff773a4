declare const pointee: unique symbol;

/** An address in native memory, branded by what is there. Made by native calls only; null never passes as one. */
export type Pointer<T extends string> = bigint & { readonly [pointee]: T };

export type TensorPointer = Pointer<"ggml_tensor">;

/** Memory handed to a native function: an address, or a view that lives for the length of the call. */
export type Memory = Pointer<"memory"> | Uint8Array | Float32Array | Int32Array | BigInt64Array | Uint16Array;
