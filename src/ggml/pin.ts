/**
 * The build of ggml and llama.cpp that this version of Chainrule drives. Struct layouts change between releases, so the
 * handshake (handshake.ts) refuses every other build by name.
 */
export const pin = {
  packageVersion: "3.22.1",
  ggmlVersion: "0.25.1",
  ggmlCommit: "0ad4a86",
  tensorOverhead: 368,
} as const;
