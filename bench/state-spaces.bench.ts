/**
 * Two questions about SpaceTime's state spaces, answered in docs/forecast-models.md.
 *
 *   npm run bench:state-spaces -- --kernel     what a kernel costs, by fast Fourier transforms and by the recurrence, over d and L
 *   npm run bench:state-spaces -- --fit        whether a diagonal state space fits an autoregression as a companion one does: both of size 6,
 *                                              trained on 3,000 values of an AR(4) and an AR(6), forecasts held against those that know the process
 *   ... -- --fit --steps 100                   a first look
 *
 * The tables are printed, and written to the page between their markers (a first look is not).
 */
import { cpus, loadavg } from "node:os";
import { normalSampler, uniformSampler } from "../src/forecasting/models/normal-sampler.ts";
import { kernel, kernelByRecurrence } from "../src/forecasting/models/spacetime/companion.ts";
import { column, companion, l1Normalized, powers, rootMeanSquare } from "../src/forecasting/models/spacetime/graph.ts";
import { constants } from "../src/forecasting/models/spacetime/train.ts";
import { Device } from "../src/ggml/index.ts";
import { adamW, learningRate } from "../src/optimizers/index.ts";
import {
  add,
  affine,
  concat,
  contiguous,
  div,
  grad,
  input,
  linear,
  mul,
  Program,
  permute,
  reshape,
  type Tensor,
  unary,
} from "../src/tensor/index.ts";
import { Parameters } from "../src/weights/index.ts";
import { writeBetween } from "./page.ts";

const option = (name: string, otherwise: number) =>
  process.argv.includes(`--${name}`) ? Number(process.argv[process.argv.indexOf(`--${name}`) + 1]) : otherwise;
const [asksKernel, asksFit] = ["--kernel", "--fit"].map((flag) => process.argv.includes(flag));
const cells = (values: readonly string[]) => `| ${values.join(" | ")} |`;

function write(marker: string, rows: readonly (readonly string[])[]): void {
  const table = [cells(rows[0]!), cells(rows[0]!.map(() => "---")), ...rows.slice(1).map(cells)].join("\n");
  console.log(`\n${table}\n\nNode ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}, load ${loadavg()[0]!.toFixed(1)}`);
  writeBetween("docs/forecast-models.md", marker, table);
}

function kernelTable(): readonly (readonly string[])[] {
  const lengths = [336, 720, 2000, 10_000];
  const normal = normalSampler(3);
  const microseconds = (work: () => unknown) => {
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 7; round++) {
      const start = performance.now();
      let count = 0;
      do {
        work();
        count++;
      } while (performance.now() - start < 20);
      best = Math.min(best, (1000 * (performance.now() - start)) / count);
    }
    return best;
  };
  const rows = [8, 64, 256, 1024].map((size) => {
    const vector = () => {
      const values = Float64Array.from({ length: size }, normal);
      const sum = values.reduce((total, value) => total + Math.abs(value), 0);
      return values.map((value) => value / sum);
    };
    const system = { a: vector(), b: vector(), c: vector() };
    const entries = lengths.map((length) => {
      const [fast, naive] = [kernel(system, length), kernelByRecurrence(system, length)];
      if (fast.some((value, n) => Math.abs(value - naive[n]!) > 1e-14)) throw new Error(`the kernels of d ${size}, L ${length} differ`);
      const [own, other] = [microseconds(() => kernel(system, length)), microseconds(() => kernelByRecurrence(system, length))];
      return `${own.toFixed(0)} / ${other.toFixed(0)}`;
    });
    console.log(`d ${size}: ${entries.join(", ")}`);
    return [String(size), ...entries];
  });
  return [["d", ...lengths.map((length) => `L ${length.toLocaleString("en")}`)], ...rows];
}

const [size, lookback, horizon, batch] = [6, 32, 16, 64];
/** Slowly decaying, the sizes of the coefficients sum to less than 1, as the companion's normalization wants. */
const processes = { "AR(4)": [0.1, -0.1, 0, -0.75], "AR(6)": [0.1, 0, -0.1, 0.1, 0, 0.65] } as const;
type Kind = "companion, closed loop" | "diagonal, closed loop" | "diagonal, no feedback";
const kinds: readonly Kind[] = ["companion, closed loop", "diagonal, closed loop", "diagonal, no feedback"];

const expected = (phi: readonly number[], recent: readonly number[]): number[] => {
  const path = [...recent];
  for (let h = 0; h < horizon; h++) path.push(phi.reduce((sum, weight, lag) => sum + weight * path[path.length - 1 - lag]!, 0));
  return path.slice(-horizon);
};

function simulate(phi: readonly number[], length: number, seed: number): number[] {
  const normal = normalSampler(seed);
  const values = new Array<number>(length + 500).fill(0);
  for (let t = phi.length; t < values.length; t++)
    values[t] = phi.reduce((sum, weight, lag) => sum + weight * values[t - 1 - lag]!, normal());
  return values.slice(500);
}

/**
 * A state space alone: x' = A x + B u, and the forecasts C (A + B C)^h x or, without feedback, C A^h x. The diagonal of complex pairs is written as 2 x 2
 * rotations, each shrunk into the open disc.
 *
 * @returns the root mean square distance from the forecasts that know the process, over their own root mean square
 */
function distance(kind: Kind, phi: readonly number[], seed: number, steps: number): number {
  using device = Device.create("cpu", 1);
  const pairs = size / 2;
  const names = kind === "companion, closed loop" ? (["a", "b", "c"] as const) : (["real", "imaginary", "b", "c"] as const);
  using parameters = Parameters.create(
    device,
    names.map((name) => ({ name, shape: name === "real" || name === "imaginary" ? [1, pairs] : [1, 1, size] })),
  );
  using fixed = constants(device, { channels: 1, state: size, lookback });
  using places = Parameters.create(device, [{ name: "places", shape: [size * size, size] }]);
  for (let j = 0; j < pairs; j++) {
    const put = (row: number, col: number, from: number, value: number) => {
      places.values("places")[(row * size + col) * size + from] = value;
    };
    put(2 * j, 2 * j, j, 1);
    put(2 * j + 1, 2 * j + 1, j, 1);
    put(2 * j, 2 * j + 1, pairs + j, -1);
    put(2 * j + 1, 2 * j, pairs + j, 1);
  }
  const normal = normalSampler(seed);
  for (const name of names)
    parameters.values(name).set(parameters.values(name).map(() => (name === "b" || name === "c" ? 0.4 : 1) * normal()));
  const tensor = (name: (typeof names)[number] | "a" | "real" | "imaginary") => parameters.tensor(name);
  const matrix = (): Tensor => {
    if (kind === "companion, closed loop") return companion(l1Normalized(tensor("a")), fixed.tensors);
    const [real, imaginary] = [tensor("real"), tensor("imaginary")];
    const radius = unary("sqrt", affine(add(unary("sqr", real), unary("sqr", imaginary)), 1, 0.05));
    return reshape(linear(concat(div(real, radius), div(imaginary, radius), 1), places.tensor("places")), [1, size, size]);
  };
  const [a, b, c] = [matrix(), tensor("b"), tensor("c")];
  const reached = powers(b, contiguous(permute(a, [0, 2, 1])), lookback); // [1, L, d]: Aⁿ B
  const state = linear(
    reshape(input("latest first", "f32", [batch, lookback]), [1, batch, lookback]),
    contiguous(permute(reached, [0, 2, 1])),
  );
  const ahead = kind === "diagonal, no feedback" ? a : add(a, mul(column(b), c));
  const forecast = linear(state, powers(c, ahead, horizon)); // [1, B, H]
  const loss = rootMeanSquare(reshape(forecast, [batch, horizon]), input("target", "f32", [batch, horizon]));
  const gradients = grad(loss, names.map(tensor));
  using program = Program.compile(device, { loss, forecast, ...Object.fromEntries(names.map((name, i) => [name, gradients[i]!])) });
  const fill = (values: readonly number[], originOf: (b: number) => number) => {
    const [x, y] = [program.input("latest first"), program.input("target")];
    for (let i = 0; i < batch; i++) {
      const origin = originOf(i);
      for (let n = 0; n < lookback; n++) x[i * lookback + n] = values[origin - 1 - n]!;
      for (let h = 0; h < horizon; h++) y[i * horizon + h] = values[origin + h]!;
    }
    program.runSync();
  };
  const values = simulate(phi, 3000, 100 + seed);
  const uniform = uniformSampler(seed);
  const optimizer = adamW();
  for (let step = 0; step < steps; step++) {
    fill(values, () => lookback + Math.floor(uniform() * (values.length - lookback - horizon)));
    const updates = names.map((name) => ({ name, values: parameters.values(name), gradient: program.peek(name) }));
    optimizer.step(updates, learningRate({ peak: 0.01, warmupSteps: 20, steps }, step));
  }
  const fresh = simulate(phi, lookback + 20 * batch + horizon, 900 + seed);
  let [wrong, whole] = [0, 0];
  for (let round = 0; round < 20; round++) {
    const originOf = (i: number) => lookback + round * batch + i;
    fill(fresh, originOf);
    for (let i = 0; i < batch; i++) {
      const truth = expected(phi, fresh.slice(originOf(i) - phi.length, originOf(i)));
      for (let h = 0; h < horizon; h++) {
        wrong += (program.peek("forecast")[i * horizon + h]! - truth[h]!) ** 2;
        whole += truth[h]! ** 2;
      }
    }
  }
  return Math.sqrt(wrong / whole);
}

if (asksKernel || !asksFit) write("<!-- table of kernels: npm run bench:state-spaces -->", kernelTable());
if (asksFit || !asksKernel) {
  const steps = option("steps", 4000);
  const rows = Object.entries(processes).flatMap(([process_, phi]) =>
    kinds.map((kind) => {
      const found = [1, 2, 3].map((seed) => distance(kind, phi, seed, steps).toFixed(3));
      console.log(`${process_}, ${kind}: ${found.join(", ")}`);
      return [process_, kind, ...found];
    }),
  );
  if (steps === 4000)
    write("<!-- table of state spaces: npm run bench:state-spaces -->", [
      ["process", "state space of size 6", "seed 1", "seed 2", "seed 3"],
      ...rows,
    ]);
}
