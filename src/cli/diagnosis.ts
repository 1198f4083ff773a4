import { availableParallelism, cpus, freemem, release, totalmem } from "node:os";
import { basename } from "node:path";
import { type InvarianceFinding, probeInvariance } from "../engine/index.ts";
import { Device, type DeviceKind, findLibraries, type Handshake, handshake, loadNative } from "../ggml/index.ts";
import { familyOf, listModels, resolveModel } from "../models/index.ts";
import { input, linear, Program } from "../tensor/index.ts";
import { LlamaVocabulary } from "../tokenizer/index.ts";
import { openGguf, Weights } from "../weights/index.ts";
import { type KeptReport, listCrashes } from "./crash-reports.ts";

/** What a person who reports a problem should add to the report. Sizes in bytes. */
export interface Diagnosis {
  readonly system: { readonly platform: string; readonly release: string; readonly node: string; readonly cpu: string };
  readonly memory: { readonly freeBytes: number; readonly totalBytes: number };
  readonly threads: { readonly available: number };
  /** By device: the package its libraries come from, or why there is none. */
  readonly libraries: Readonly<Partial<Record<DeviceKind, { readonly package: string } | { readonly missing: string }>>>;
  readonly handshake?: Handshake;
  /** The build of the CPU backend that was picked, such as libggml-cpu-haswell. */
  readonly cpuVariant?: string;
  /** A product of two float32 matrices, by number of threads. */
  readonly products: readonly { readonly threads: number; readonly gflopPerSecond: number }[];
  readonly home: { readonly path: string; readonly models: readonly { readonly name: string; readonly sizeBytes: number }[] };
  readonly crashes: readonly KeptReport[];
  readonly model?: {
    readonly path: string;
    readonly architecture: string;
    readonly vocabSize: number;
    readonly invariance: readonly InvarianceFinding[];
  };
  /** Each with its next step. */
  readonly problems: readonly string[];
}

/** Looks at everything a run needs. What fails is a problem in the result, not an error. */
export async function diagnose(home: string, options: { model?: string } = {}): Promise<Diagnosis> {
  const problems: string[] = [];
  const attempt = async <T>(work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      problems.push((error as Error).message);
      return undefined;
    }
  };
  if (!isSupportedNode(process.versions.node)) problems.push(`Node ${process.version} is too old: install 20.19 or newer`);
  const shaken = await attempt(() => handshake(loadNative()));
  const products = shaken === undefined ? undefined : await attempt(measureProducts);
  const models = (await attempt(() => listModels(home))) ?? [];
  const { model: name } = options;
  const model = name === undefined || shaken === undefined ? undefined : await attempt(() => examineModel(name, home));
  if (models.length === 0) problems.push(`no models in ${home}: chainrule pull smollm2`);
  const variant = loadedCpuVariant();
  return {
    system: {
      platform: `${process.platform} ${process.arch}`,
      release: release(),
      node: process.version,
      cpu: cpus()[0]?.model ?? "unknown",
    },
    memory: { freeBytes: freemem(), totalBytes: totalmem() },
    threads: { available: availableParallelism() },
    libraries: findAllLibraries(),
    ...(shaken === undefined ? {} : { handshake: shaken }),
    ...(variant === undefined ? {} : { cpuVariant: variant }),
    products: products ?? [],
    home: { path: home, models: models.map(({ name, sizeBytes }) => ({ name, sizeBytes })) },
    crashes: listCrashes(home),
    ...(model === undefined ? {} : { model }),
    problems,
  };
}

function isSupportedNode(version: string): boolean {
  const [major, minor] = version.split(".").map(Number) as [number, number];
  return major > 20 || (major === 20 && minor >= 19);
}

function findAllLibraries(): Diagnosis["libraries"] {
  const found = (["cpu", "cuda", "vulkan", "metal"] as const).map((device) => {
    try {
      return [device, { package: findLibraries(device).package }];
    } catch (error) {
      return [device, { missing: (error as Error).message }];
    }
  });
  return Object.fromEntries(found);
}

/** The libraries of this process are in Node's own report, on every platform. */
function loadedCpuVariant(): string | undefined {
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: readonly string[] };
  const file = sharedObjects.find((path) => /ggml-cpu/.test(basename(path)));
  return file === undefined ? undefined : basename(file);
}

const size = { rows: 256, inner: 1024, columns: 1024 };
const measuredMs = 400;

/** A second of multiplying: enough to see a machine that is busy or a variant that is wrong. */
async function measureProducts(): Promise<Diagnosis["products"]> {
  const { rows, inner, columns } = size;
  const counts = new Set([1, Math.min(availableParallelism(), 8)]);
  const products = [];
  for (const threads of counts) {
    using device = Device.create("cpu", threads);
    using program = Program.compile(device, { y: linear(input("x", "f32", [rows, inner]), input("w", "f32", [columns, inner])) });
    const pass = async () => {
      program.input("x").fill(0.5);
      program.input("w").fill(0.25);
      const start = performance.now();
      await program.run();
      return performance.now() - start;
    };
    await pass();
    let [spentMs, count] = [0, 0];
    while (spentMs < measuredMs) {
      spentMs += await pass();
      count += 1;
    }
    products.push({ threads, gflopPerSecond: (2 * rows * inner * columns * count) / spentMs / 1e6 });
  }
  return products;
}

/** Opens a model as a run does, and shows how its kinds of weight behave on this processor. */
async function examineModel(name: string, home: string): Promise<NonNullable<Diagnosis["model"]>> {
  const { path } = await resolveModel(name, { home, offline: true });
  using file = openGguf(path);
  const architecture = file.metadata.requireString("general.architecture");
  const family = familyOf(architecture);
  using vocabulary = await LlamaVocabulary.load(file, { contextLength: family.configure(file.metadata).contextLength });
  using device = Device.create("cpu", 1);
  using weights = Weights.open(device, file);
  family.build(file.metadata, weights);
  await weights.load();
  return { path, architecture, vocabSize: vocabulary.vocabSize, invariance: await probeInvariance(device, weights.storages) };
}
