import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { homedir } from "node:os";
import { beforeAll, expect, test } from "vitest";
import { catalogue, defaultHome, type ResolvedModel, resolveModel } from "../../src/models/index.ts";

const home = defaultHome(process.env, process.platform, homedir());

// The files' hashes as the packages' own records give them (RECORD of the wheel, SHA256SUMS of the parts' package).
const published = {
  smollm2: { sizeBytes: 98_362_432, sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" },
  "gemma3-270m": { sizeBytes: 253_113_024, sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818" },
};

for (const [name, facts] of Object.entries(published)) {
  let model: ResolvedModel;
  beforeAll(async () => {
    model = await resolveModel(name, { home, onNotice: (notice) => console.log(notice) });
  });

  test(`${name} is pulled whole: the file on the disk has the published hash and begins as a GGUF file`, async () => {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(model.path)) hash.update(chunk as Buffer);
    expect(hash.digest("hex")).toBe(facts.sha256);
    const handle = await open(model.path);
    const { buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    await handle.close();
    expect(buffer.toString("latin1")).toBe("GGUF");
    expect(model).toMatchObject({ name, ...facts });
    expect(catalogue.find((entry) => entry.name === name)).toMatchObject(facts);
  });

  test(`${name} is found again without a network`, async () => {
    expect(await resolveModel(name, { home, offline: true })).toEqual(model);
  });
}
