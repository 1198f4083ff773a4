import ts from "typescript";
import { expect, test } from "vitest";
import { describeRegistry } from "../../../src/decoding/index.ts";
import type { Registry } from "../api/wire.ts";
import { defaultSettings, type RunRequest } from "./settings.ts";
import { curlSnippet, reproducible, typescriptSnippet } from "./snippet.ts";

const methods = describeRegistry({ adapters: ["poet", "judge"], models: ["small"] }) as unknown as Registry;
const request: RunRequest = {
  prompt: { kind: "text", text: 'It\'s "here"\nand $HOME' },
  settings: { ...defaultSettings, temperature: 0.7, seed: 3, stop: ["\n\n"], axes: { draft: [{ name: "ngram", values: { nodes: 6 } }] } },
  model: "smollm2",
};

test("TypeScript: the call on the library", () => {
  expect(typescriptSnippet(request, methods)).toBe(`import { load } from "chainrule";

await using model = await load("smollm2");
const prompt = "It's \\"here\\"\\nand $HOME";
const { text, facts } = await model.generate(prompt, {
  maxTokens: 96,
  temperature: 0.7,
  seed: 3,
  stop: ["\\n\\n"],
  draft: { name: "ngram", nodes: 6 },
});
console.log(text);
console.error(facts);
`);
});

test("TypeScript: every kind of prompt is a program without errors of syntax", () => {
  for (const prompt of [
    request.prompt,
    { kind: "tokens", tokens: [1, 2], text: "" },
    { kind: "chat", messages: [{ role: "user", content: "Hi" }] },
  ] as const) {
    const { diagnostics } = ts.transpileModule(typescriptSnippet({ ...request, prompt }, methods), { reportDiagnostics: true });
    expect(diagnostics).toEqual([]);
  }
});

test("TypeScript: a layout is a kind of prompt", () => {
  const layout = [{ name: "set", values: { split: "|" } }];
  const prompt = { kind: "text", text: "[[a|b]]" } as const;
  const snippet = typescriptSnippet({ prompt, settings: { ...defaultSettings, axes: { layout } }, model: "smollm2" }, methods);
  expect(snippet).toContain('const prompt = { kind: "set", split: "|", prompt: "[[a|b]]" };');
  expect(snippet).toContain("generate(prompt, { maxTokens: 96, temperature: 0 })");
});

test("curl: the shell reads the body as it is", () => {
  const snippet = curlSnippet(request, "http://127.0.0.1:8080", true);
  const [, quoted] = /-d '([\s\S]*)'\n$/.exec(snippet)!;
  expect(JSON.parse(quoted!.replaceAll("'\\''", "'"))).toEqual({
    ...{ model: "smollm2", prompt: 'It\'s "here"\nand $HOME', max_tokens: 96, temperature: 0.7, seed: 3, stop: ["\n\n"] },
    chainrule: { draft: { name: "ngram", nodes: 6 } },
  });
  expect(snippet).toContain("$CHAINRULE_API_KEY");
  expect(curlSnippet(request, "http://127.0.0.1:8080", false)).not.toContain("CHAINRULE_API_KEY");
});

test("adapters are loaded with the model", () => {
  const adapted = { ...request, settings: { ...defaultSettings, axes: { adapter: [{ name: "poet", values: { scale: 0.5 } }] } } };
  const code = typescriptSnippet(adapted, methods);
  expect(code).toContain('load("smollm2", { adapters: { poet: "path/of/poet" } })');
  expect(code).toContain('adapter: [{ name: "poet", scale: 0.5 }]');
});

test("what methods name is loaded with the model too", () => {
  const axes = {
    draft: [{ name: "model", values: { model: "small", tokens: 4 } }],
    guide: [{ name: "reward", values: { adapter: "judge", weight: 0.5 } }],
  };
  const code = typescriptSnippet({ ...request, settings: { ...defaultSettings, axes } }, methods);
  expect(code).toContain('beside: { small: "path/of/small" }');
  expect(code).toContain('adapters: { judge: "path/of/judge" }');
  expect(code).toContain('draft: { name: "model", model: "small", tokens: 4 }');
  expect(ts.transpileModule(code, { reportDiagnostics: true }).diagnostics).toEqual([]);
});

test("a seed that was drawn is written down, a given one stays", () => {
  const drawn = { choices: [{ what: "seed", chosen: "4711", because: "none was given" }] };
  const open = { ...request, settings: { ...request.settings, seed: undefined } };
  const of = (one: RunRequest, choice = 0, facts = drawn) => reproducible({ request: one, choice, facts }).settings;
  expect(of(open).seed).toBe(4711);
  expect(of(request).seed).toBe(3);
  expect(of(open, 0, { choices: [] })).toEqual(open.settings);
  const several = { ...request, settings: { ...request.settings, answers: 4 } };
  expect(of(several, 2)).toMatchObject({ answers: 1, seed: 5 }); // the third answer alone
  expect(of({ ...several, settings: { ...several.settings, seed: undefined } }, 2)).toMatchObject({ answers: 1, seed: 4711 });
});
