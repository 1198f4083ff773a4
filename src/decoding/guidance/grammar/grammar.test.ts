import { describe, expect, test } from "vitest";
import { OptionError, TimeoutError, UnsupportedError } from "../../../errors.ts";
import type { GrammarSource } from "./compile.ts";
import { compileGrammar } from "./grammar.ts";
import type { GrammarLimits } from "./limits.ts";
import { acceptsText, byteTrie } from "./testing.ts";

const limits = { timeoutMs: 30_000 };

describe("a compilation in its thread", () => {
  test("gives a grammar for each kind of source", async () => {
    const sources: [GrammarSource, string, string][] = [
      [{ kind: "regex", pattern: "a+b" }, "aab", "aa"],
      [{ kind: "gbnf", text: 'root ::= "(" root ")" | "x"' }, "((x))", "((x)"],
      [{ kind: "json-schema", schema: { type: "array", items: { type: "boolean" } }, options: { maxWhitespace: 0 } }, "[true]", "[ true]"],
    ];
    const grammars = await Promise.all(sources.map(([source]) => compileGrammar(source, { limits })));
    for (const [index, [, yes, no]] of sources.entries()) {
      const bound = grammars[index]!.bind(byteTrie());
      expect([acceptsText(bound, yes), acceptsText(bound, no)]).toEqual([true, false]);
    }
  });

  test("fails with the errors of the compiler", async () => {
    await expect(compileGrammar({ kind: "regex", pattern: "(" }, { limits })).rejects.toThrow(OptionError);
    await expect(compileGrammar({ kind: "regex", pattern: "(" }, { limits })).rejects.toThrow(
      /^regex: bad regular expression at character 1/,
    );
    await expect(compileGrammar({ kind: "json-schema", schema: { not: {} } }, { limits })).rejects.toThrow(UnsupportedError);
    await expect(compileGrammar({ kind: "gbnf", text: `root ::= ${"(".repeat(50_000)}` }, { limits })).rejects.toThrow(/maxSourceDepth/);
  });

  test("ends at its time limit, and at the signal", async () => {
    const hostile: GrammarSource = { kind: "regex", pattern: "(?:a|b)*a(?:a|b){30}" };
    const endless = { maxWork: Number.MAX_SAFE_INTEGER, maxStates: Number.MAX_SAFE_INTEGER };
    await expect(compileGrammar(hostile, { limits: { ...endless, timeoutMs: 300 } })).rejects.toThrow(TimeoutError);
    const abort = new AbortController();
    const compiling = compileGrammar(hostile, { limits: endless, signal: abort.signal });
    abort.abort(new Error("enough"));
    await expect(compiling).rejects.toThrow("enough");
  });

  test("ends at its memory limit", async () => {
    const hostile: GrammarSource = { kind: "regex", pattern: "(?:a|b)*a(?:a|b){30}" };
    const tight = { ...limits, memoryMiB: 16, maxWork: Number.MAX_SAFE_INTEGER, maxStates: Number.MAX_SAFE_INTEGER };
    await expect(compileGrammar(hostile, { limits: tight })).rejects.toThrow(/^memoryMiB: the grammar needs more than 16 MiB/);
  });
});

test.each<[unknown, Partial<Record<keyof GrammarLimits | "typo", unknown>>, RegExp]>([
  [{ kind: "regexp", pattern: "a" }, {}, /^grammar: must be/],
  [{ kind: "regex" }, {}, /^pattern: must be a text/],
  [{ kind: "regex", pattern: "a", flags: "i" }, {}, /^flags: is no field of a regex grammar/],
  [{ kind: "json-schema" }, {}, /^schema: is missing/],
  [{ kind: "json-schema", schema: {}, options: { maxWhitespaces: 1 } }, {}, /^maxWhitespaces: is unknown; there are maxStringLength/],
  [{ kind: "json-schema", schema: {}, options: { maxItems: -1 } }, {}, /^maxItems: must be an integer >= 0, got -1/],
  [{ kind: "json-schema", schema: {}, options: { openObjects: 1 } }, {}, /^openObjects: must be true or false, got 1/],
  [{ kind: "json-schema", schema: { maximum: 1n } }, {}, /^schema: is no JSON/],
  [{ kind: "regex", pattern: "a".repeat(300_000) }, {}, /^maxSourceLength: the source has/],
  [{ kind: "regex", pattern: "a" }, { typo: 1 }, /^typo: is unknown; there are timeoutMs/],
  [{ kind: "regex", pattern: "a" }, { timeoutMs: 0 }, /^timeoutMs: must be an integer >= 1, got 0/],
])("bad options are refused by name before a thread is started: %#", async (source, limits, message) => {
  const compiling = compileGrammar(source as GrammarSource, { limits: limits as Partial<GrammarLimits> });
  await expect(compiling).rejects.toThrow(message);
  await expect(compiling).rejects.toThrow(OptionError);
});
