import koffi, { type LibraryHandle } from "koffi";
import { NativeError } from "../errors.ts";
import { handshake } from "./handshake.ts";
import { type DeviceKind, findLibraries, type LibraryFiles } from "./library.ts";
import type { Pointer } from "./pointer.ts";
import { type NativeFunctions, signatures } from "./signatures.ts";
import "./structs.ts";

type FunctionName = keyof NativeFunctions;

/** The native functions, bound at first use, and what was found out when the libraries were loaded. */
export interface Native extends NativeFunctions {
  readonly files: LibraryFiles;
  /** Runs a function on a thread of the pool, so that the event loop stays free. */
  async<N extends FunctionName>(name: N, ...args: Parameters<NativeFunctions[N]>): Promise<ReturnType<NativeFunctions[N]>>;
  /** Address of a function of the C library, for places where native code wants a callback and JavaScript must not run. */
  libc(name: "strlen" | "abs"): Pointer<"function">;
}

type Bound = ((...args: unknown[]) => unknown) & { async(...args: unknown[]): void };

const loaded = new Map<DeviceKind, Native>(); // libraries stay in the process once loaded, so loading them is remembered

/**
 * Loads the libraries for a device, once per process, and checks that they are the build this version drives.
 * @throws NotFoundError, UnsupportedError (handshake)
 */
export function loadNative(device: DeviceKind = "cpu"): Native {
  const known = loaded.get(device);
  if (known !== undefined) return known;
  const files = findLibraries(device);
  const libraries = {
    base: koffi.load(files.base, { global: true }),
    registry: koffi.load(files.registry, { global: true }),
  } as Record<"base" | "registry" | "llama", LibraryHandle>;
  const bind = (name: FunctionName): Bound => {
    const [library, result, args] = signatures[name];
    if (library === "cpu") return bindCpu(native, name, result, args as unknown as string[]);
    if (library === "llama") libraries.llama ??= koffi.load(files.llama, { global: true });
    return libraries[library].func(name, result, args as unknown as string[]) as unknown as Bound;
  };
  const bound = new Map<FunctionName, Bound>();
  const get = (name: FunctionName): Bound => {
    const known = bound.get(name);
    if (known !== undefined) return known;
    const fn = bind(name);
    bound.set(name, fn);
    return fn;
  };
  const target = {
    files,
    async: (name: FunctionName, ...args: unknown[]) =>
      new Promise((resolve, reject) => {
        get(name).async(...args, (error: Error | null, result: unknown) => (error ? reject(error) : resolve(result)));
      }),
    libc: (name: string) => libcSymbol(name),
  } as unknown as Native;
  for (const name of Object.keys(signatures) as FunctionName[]) {
    Object.defineProperty(target, name, {
      configurable: true,
      get() {
        const fn = get(name);
        Object.defineProperty(target, name, { value: fn });
        return fn;
      },
    });
  }
  const native = target;
  handshake(native);
  native.ggml_log_set(native.libc("abs"), null); // debug lines per repacked tensor; a native no-op, since a JavaScript one may hang
  if (native.ggml_backend_dev_count() === 0) native.ggml_backend_load_all_from_path(files.directory);
  if (native.ggml_backend_dev_count() === 0) throw new NativeError(`no ggml device could be loaded from ${files.package}`);
  loaded.set(device, native);
  return native;
}

/** Functions of the CPU backend live in the variant that was picked at run time; the registry hands them out by name. */
function bindCpu(native: Native, name: FunctionName, result: string, args: string[]): Bound {
  const device = native.ggml_backend_dev_by_type(0 /* CPU */);
  const registry = native.ggml_backend_dev_backend_reg(device);
  const lookup =
    name === "ggml_backend_cpu_set_n_threads"
      ? "ggml_backend_set_n_threads"
      : name === "ggml_backend_cpu_set_abort_callback"
        ? "ggml_backend_set_abort_callback"
        : name;
  const address = native.ggml_backend_reg_get_proc_address(registry, lookup);
  if (address === null) throw new NativeError(`the CPU backend has no function ${lookup}`);
  return koffi.decode(address, koffi.proto(`${name}_proto`, result, args)) as Bound;
}

function libcSymbol(name: string): Pointer<"function"> {
  const file = process.platform === "darwin" ? "libSystem.B.dylib" : process.platform === "win32" ? "msvcrt.dll" : "libc.so.6";
  return koffi.load(file).symbol(name) as Pointer<"function">;
}

/** Native memory as an ArrayBuffer, without a copy. It must not outlive what is there: keep it inside the owner. */
export function viewMemory(address: bigint, sizeBytes: number): ArrayBuffer {
  return koffi.view(address, sizeBytes);
}

/** A few bytes of native memory at a fixed address, zeroed; for flags and structs that native code keeps a pointer to. */
export function allocateFixed(sizeBytes: number): { readonly pointer: Pointer<"memory">; readonly bytes: Uint8Array; free(): void } {
  const pointer = koffi.alloc("uint8_t", sizeBytes) as Pointer<"memory">;
  const bytes = new Uint8Array(koffi.view(pointer, sizeBytes));
  bytes.fill(0);
  return { pointer, bytes, free: () => koffi.free(pointer) };
}

/** Reads a pointer stored at `address + offset`. */
export function readPointer(address: bigint, offset: number): bigint {
  return new BigUint64Array(koffi.view(address + BigInt(offset), 8))[0]!;
}

/** A native function at an address, such as one out of a table of function pointers. */
export function functionAt(address: bigint, name: string, result: string, args: string[]): (...args: unknown[]) => unknown {
  return koffi.decode(address, koffi.proto(name, result, args)) as (...args: unknown[]) => unknown;
}
