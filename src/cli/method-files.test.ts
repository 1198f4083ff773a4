import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parseMethod, registry } from "../decoding/index.ts";
import { withFiles } from "./method-files.ts";

const folder = mkdtempSync(join(tmpdir(), "chainrule-files-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("key=@file is the file's text, whatever it holds", async () => {
  const path = join(folder, "person.json");
  for (const text of ['{ "type": "object",\n  "required": ["a=@b", "\\\\"] }', "é,\u2028\u0000", ""]) {
    writeFileSync(path, `${text}\n`);
    const spec = await withFiles(`grammar, schema=@${path},finish=false`);
    expect(parseMethod(registry.guide, spec, "guide").values).toMatchObject({ schema: text, finish: false });
  }
});

test("what names no file stays as it is, and a file that is not there is named", async () => {
  for (const spec of ["top-k,k=40", "path", 'grammar,regex="[0-9]{1,3}=@x"', "grammar,regex=a@b"])
    expect(parseMethod(Object.values(registry).flat() as never, await withFiles(spec), "x")).toEqual(
      parseMethod(Object.values(registry).flat() as never, spec, "x"),
    );
  await expect(withFiles(`grammar,schema=@${folder}/none.json`)).rejects.toThrow(/none\.json: there is no such file/);
});
