import { loadNative, type Native, type Pointer, viewMemory } from "../../src/ggml/index.ts";

/** libllama of the same build, as an independent reference. */
export class Llama implements Disposable {
  readonly native: Native;
  readonly vocabSize: number;
  readonly #model: Pointer<"llama_model">;
  readonly #context: Pointer<"llama_context">;
  readonly #maxTokens: number;

  constructor(path: string, options: { contextLength: number; microBatch: number; threads: number; repack?: boolean }) {
    const native = loadNative();
    this.native = native;
    native.llama_log_set(native.libc("abs"), null);
    native.llama_backend_init();
    const modelParams = { ...native.llama_model_default_params(), n_gpu_layers: 0, use_extra_bufts: options.repack ?? true };
    this.#model = native.llama_model_load_from_file(path, modelParams);
    const params = {
      ...native.llama_context_default_params(),
      n_ctx: options.contextLength,
      n_batch: options.contextLength,
      n_ubatch: options.microBatch,
      n_threads: options.threads,
      n_threads_batch: options.threads,
      flash_attn_type: 1,
      no_perf: true,
    };
    this.#context = native.llama_init_from_model(this.#model, params);
    this.#maxTokens = options.contextLength;
    this.vocabSize = native.llama_vocab_n_tokens(native.llama_model_get_vocab(this.#model));
  }

  /** Empties the cache. */
  clear(): void {
    this.native.llama_memory_clear(this.native.llama_get_memory(this.#context), true);
  }

  /** Logits [rows, V] of every token, or of the last one only. */
  decode(tokens: readonly number[], position: number, all = false): Float32Array {
    const { native } = this;
    const batch = native.llama_batch_init(this.#maxTokens, 0, 1);
    try {
      const n = tokens.length;
      new Int32Array(viewMemory(batch.token!, n * 4)).set(tokens);
      new Int32Array(viewMemory(batch.pos!, n * 4)).set(tokens.map((_, i) => position + i));
      new Int32Array(viewMemory(batch.n_seq_id!, n * 4)).fill(1);
      const sequences = new BigUint64Array(viewMemory(batch.seq_id!, n * 8));
      for (const address of sequences) new Int32Array(viewMemory(address, 4))[0] = 0;
      new Int8Array(viewMemory(batch.logits!, n)).fill(all ? 1 : 0)[n - 1] = 1;
      const status = native.llama_decode(this.#context, { ...batch, n_tokens: n });
      if (status !== 0) throw new Error(`llama_decode: ${status}`);
      const rows = all ? n : 1;
      const logits = native.llama_get_logits(this.#context);
      return new Float32Array(viewMemory(logits, rows * this.vocabSize * 4)).slice();
    } finally {
      native.llama_batch_free(batch);
    }
  }

  /** Applies LoRAs in llama.cpp's format, in place of those before. */
  setAdapters(adapters: readonly { readonly path: string; readonly scale: number }[]): void {
    const { native } = this;
    const loaded = adapters.map(({ path }) => native.llama_adapter_lora_init(this.#model, path));
    if (loaded.some((one) => one === null)) throw new Error("llama_adapter_lora_init refused an adapter");
    const scales = Float32Array.from(adapters, ({ scale }) => scale);
    const status = native.llama_set_adapters_lora(this.#context, BigInt64Array.from(loaded), loaded.length, scales);
    if (status !== 0) throw new Error(`llama_set_adapters_lora: ${status}`);
  }

  /** Greedy continuation of a prompt. */
  greedy(prompt: readonly number[], count: number): { tokens: number[]; margins: number[] } {
    this.clear();
    let logits = this.decode(prompt, 0);
    const tokens: number[] = [];
    const margins: number[] = [];
    for (let i = 0; i < count; i += 1) {
      const { best, margin } = argmax(logits);
      tokens.push(best);
      margins.push(margin);
      if (i + 1 < count) logits = this.decode([best], prompt.length + i);
    }
    return { tokens, margins };
  }

  [Symbol.dispose](): void {
    this.native.llama_free(this.#context);
    this.native.llama_model_free(this.#model);
  }
}

export function argmax(logits: Float32Array): { best: number; margin: number } {
  let best = 0;
  let second = -1;
  for (let id = 1; id < logits.length; id += 1) {
    if (logits[id]! > logits[best]!) {
      second = best;
      best = id;
    } else if (second === -1 || logits[id]! > logits[second]!) second = id;
  }
  return { best, margin: logits[best]! - logits[second]! };
}
