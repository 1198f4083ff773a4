/** How Hugging Face's checkpoints of a family name what GGUF files name otherwise: what adapter files of that world go by. */
export interface ModuleNames {
  /** Path of a block, with `%` for its number: `model.layers.%`. */
  readonly block: string;
  /** The linear layers of a block by their GGUF names: `attn_q`. */
  readonly layers: Readonly<Record<string, ModuleName>>;
  /** The halves of a block. */
  readonly halves: { readonly attn: string; readonly ffn: string };
}

export interface ModuleName {
  /** Path in the block: `self_attn.q_proj`. */
  readonly module: string;
  /**
   * The layer's rows stand in another order: there the first and the second members of the pairs that a rotary embedding turns, in a GGUF file
   * pair by pair, head by head. The value is the metadata key, without the architecture, that holds the number of heads.
   */
  readonly rotaryHeads?: string;
}
