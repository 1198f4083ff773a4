import koffi from "koffi";
import type { Native } from "./native.ts";
import type { Pointer } from "./pointer.ts";

/**
 * Calls `report` with the message of a failed native check, before the check ends the process: nothing can stop it from that.
 * `report` must do its work synchronously; what it throws is lost.
 *
 * Not during `Device.computeSync()`: a check that fails on a thread of the pool would wait for the event loop for ever, so the message goes to
 * standard error alone.
 *
 * @returns takes `report` out again
 */
export function onNativeAbort(native: Native, report: (message: string) => void): () => void {
  const callback = koffi.register(report, koffi.pointer(abortCallback()));
  installed = callback as Pointer<"function">;
  native.ggml_set_abort_callback(installed);
  return () => {
    native.ggml_set_abort_callback(null);
    installed = null;
    koffi.unregister(callback);
  };
}

let installed: Pointer<"function"> | null = null;

/** Runs native code on this thread without the callback. */
export function withoutAbortReport<T>(native: Native, work: () => T): T {
  if (installed === null) return work();
  native.ggml_set_abort_callback(null);
  try {
    return work();
  } finally {
    native.ggml_set_abort_callback(installed);
  }
}

let prototype: ReturnType<typeof koffi.proto> | undefined;

function abortCallback() {
  prototype ??= koffi.proto("void chainrule_abort_callback(const char *message)");
  return prototype;
}
