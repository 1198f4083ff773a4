// A process that a failed native check ends: it asks a tensor context for more headers than it has room for.
// usage: abort-worker.ts HOME sync|async
import { keepCrashReports } from "../../src/cli/crash-reports.ts";
import { Device, TensorContext } from "../../src/ggml/index.ts";

const [home, how] = process.argv.slice(2) as [string, string];
keepCrashReports(home, { command: ["generate", "Hello"], model: "smollm2" });
using device = Device.create("cpu", 2);
using context = TensorContext.create(device.native, 1);
const dimensions = new BigInt64Array([1n]);
for (let count = 0; count < 100; count += 1) {
  if (how === "sync") device.native.ggml_new_tensor(context.pointer, 0, 1, dimensions);
  else await device.native.async("ggml_new_tensor", context.pointer, 0, 1, dimensions);
}
