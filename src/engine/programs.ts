import type { AdapterStacks } from "../adapters/index.ts";
import type { Device } from "../ggml/index.ts";
import type { Transformer } from "../models/index.ts";
import { input, Program, type Storage } from "../tensor/index.ts";
import type { KvCache } from "./kv-cache.ts";
import { buildPass, type Span, type StateMaps, sharesOf } from "./pass.ts";
import { type Structure, structureKey } from "./structure.ts";

/** Compiled programs by structure, the least recently used going first when their bytes exceed the bound. */
export class ProgramCache implements Disposable {
  readonly #device: Device;
  readonly #model: Transformer;
  readonly #cache: KvCache;
  readonly #graph: { readonly maps: StateMaps; readonly adapters: AdapterStacks };
  readonly #rowWise: (storage: Storage) => boolean;
  readonly #maxBytes: number;
  readonly #programs = new Map<string, Program>(); // in order of use
  #bytes = 0;
  hits = 0;
  misses = 0;

  constructor(
    device: Device,
    model: Transformer,
    cache: KvCache,
    options: { maps: StateMaps; adapters: AdapterStacks; rowWise: (storage: Storage) => boolean; maxBytes: number },
  ) {
    this.#device = device;
    this.#model = model;
    this.#cache = cache;
    this.#graph = options;
    this.#rowWise = options.rowWise;
    this.#maxBytes = options.maxBytes;
  }

  /** Inputs and intermediate results of all programs kept. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#programs.size;
  }

  /** A whole pass, or a part of one. It may be disposed when the next one is asked for. */
  pass(structure: Structure, span?: Span): Program {
    return this.#get(`${structure.adapters.length === 0 ? "" : adapted}${structureKey(structure)}|${span?.from}|${span?.to}`, () => {
      const { outputs, effects, halves } = buildPass(this.#model, this.#cache, structure, this.#graph, span);
      return Program.compile(this.#device, outputs, { backend: structure.backend, rowWise: this.#rowWise, effects, marks: halves });
    });
  }

  /** The head alone, over `rows` states: for requests that want the logits of many rows, slice by slice. Input `state` [rows, E]. */
  head(backend: Structure["backend"], rows: number): Program {
    return this.#get(`head|${backend}|${rows}`, () => {
      const logits = this.#model.head(input("state", "f32", [rows, this.#model.config.hiddenSize])); // [rows, V]
      return Program.compile(this.#device, { logits, shares: sharesOf(logits) }, { backend, rowWise: this.#rowWise });
    });
  }

  /** Disposes of the programs that read adapters' matrices, when these are about to move. No pass may be running. */
  forgetAdapted(): void {
    for (const [key, program] of this.#programs) if (key.startsWith(adapted)) this.#forget(key, program);
  }

  #forget(key: string, program: Program): void {
    this.#programs.delete(key);
    this.#bytes -= program.sizeBytes;
    program[Symbol.dispose]();
  }

  #get(key: string, compile: () => Program): Program {
    const known = this.#programs.get(key);
    if (known !== undefined) {
      this.hits += 1;
      this.#programs.delete(key); // to the end: most recently used
      this.#programs.set(key, known);
      return known;
    }
    this.misses += 1;
    const program = compile();
    this.#programs.set(key, program);
    this.#bytes += program.sizeBytes;
    for (const [oldKey, old] of this.#programs) {
      if (this.#bytes <= this.#maxBytes || old === program) break;
      this.#forget(oldKey, old);
    }
    return program;
  }

  [Symbol.dispose](): void {
    for (const program of this.#programs.values()) program[Symbol.dispose]();
    this.#programs.clear();
    this.#bytes = 0;
  }
}

/** How keys of programs with adapters begin. */
const adapted = "adapted|";
