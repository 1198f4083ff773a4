import koffi from "koffi";
import type { Native } from "./native.ts";
import type { Pointer } from "./pointer.ts";

/**
 * Calls `report` with the message of a failed native check, before the check ends the process: nothing can stop it from that.
 * `report` must do its work synchronously; what it throws is lost.
 *
 * Only for programs that run every pass with `Device.compute()`: a check that fails on a thread of the pool waits for the event
 * loop, so during `computeSync()` it would wait for ever.
 *
 * @returns takes `report` out again
 */
export function onNativeAbort(native: Native, report: (message: string) => void): () => void {
  const callback = koffi.register(report, koffi.pointer(abortCallback()));
  native.ggml_set_abort_callback(callback as Pointer<"function">);
  return () => {
    native.ggml_set_abort_callback(null);
    koffi.unregister(callback);
  };
}

let prototype: ReturnType<typeof koffi.proto> | undefined;

function abortCallback() {
  prototype ??= koffi.proto("void chainrule_abort_callback(const char *message)");
  return prototype;
}
