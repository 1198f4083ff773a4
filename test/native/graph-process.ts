import { writeSync } from "node:fs";
import { Device } from "../../src/ggml/index.ts";
import { describeGraph, randomGraph } from "../../src/tensor/testing/random-graph.ts";
import { interpret } from "../../src/tensor/testing/reference.ts";
import { runOnce, worstError } from "../../src/tensor/testing/run-program.ts";

// Runs random graphs first to last (arguments) and compares them with the interpreter. A process of its own: what fails natively
// aborts it, and the last line on standard output then names the graph.

const [first, last] = process.argv.slice(2).map(Number) as [number, number];
const devices = [Device.create("cpu", 1), Device.create("cpu", 2)];
let wrong = 0;
for (let seed = first; seed < last; seed += 1) {
  using graph = randomGraph(devices[0]!, seed);
  writeSync(1, `graph ${seed}: ${Object.values(graph.outputs).map(describeGraph).join("; ").slice(0, 2000)}\n`);
  const leaves = graph.leaves.values();
  const expected = interpret(graph.outputs, { inputs: graph.inputs, leaves });
  for (const device of devices) {
    for (const backend of ["fast", "invariant"] as const) {
      const actual = runOnce(device, graph.outputs, graph.inputs, { backend, rowWise: () => true, staging: seed % 5 === 0 });
      for (const name of Object.keys(graph.outputs)) {
        if (graph.uncertain.has(name)) continue;
        const size = expected[name]!.data.reduce((max, v) => Math.max(max, Math.abs(v)), 1);
        // f16 and 8-bit activations on the way: wrong elements differ by much more
        const { ratio, at } = worstError(actual[name]!, expected[name]!, { absolute: 0.03 * size });
        if (ratio <= 1) continue;
        wrong += 1;
        writeSync(
          1,
          `WRONG ${seed} ${name} [${at}]: ${actual[name]!.data[at]}, not ${expected[name]!.data[at]} (${backend}, ${device.threads} threads)\n`,
        );
      }
    }
  }
}
process.exit(wrong > 0 ? 3 : 0);
