import { afterAll, beforeAll } from "vitest";
import { sequenceConformance } from "../../src/decoding/testing/sequence-conformance.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { writeTinyModel } from "../support/tiny-model.ts";

let folder: ReturnType<typeof temporaryFolder>;
let opened: Awaited<ReturnType<typeof openEngine>>;
beforeAll(async () => {
  folder = temporaryFolder();
  await writeTinyModel(`${folder.path}/tiny.gguf`, { type: "q8_0" });
  opened = await openEngine(`${folder.path}/tiny.gguf`, { strict: true, contextLength: 256 });
});
afterAll(async () => {
  await opened[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

sequenceConformance("an engine's sequence (q8_0, strict)", { create: () => opened.engine.sequence() });
