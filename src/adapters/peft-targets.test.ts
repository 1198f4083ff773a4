import { expect, test } from "vitest";
import { FormatError, UnsupportedError } from "../errors.ts";
import { targetedModules } from "./peft-targets.ts";

const block = (index: number) =>
  ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.q_proj_extra"].map((name) => `model.layers.${index}.${name}`);
const modules = [...block(0), ...block(1), ...block(10)];
const names = (config: Record<string, unknown>) => [...targetedModules("config", config, modules)];
const ending = (...ends: string[]) => modules.filter((module) => ends.some((end) => module.endsWith(end)));

// The rule is that of PEFT 0.21.2's check_target_module_exists; expected values follow its text.
test("a list has paths, or ends of paths behind a dot", () => {
  expect(names({ target_modules: ["q_proj"] })).toEqual(ending(".q_proj"));
  expect(names({ target_modules: ["self_attn.q_proj", "up_proj"] })).toEqual(ending("self_attn.q_proj", "up_proj"));
  expect(names({ target_modules: ["proj", "layers.0", "attn.q_proj"] })).toEqual([]);
  expect(names({ target_modules: ["model.layers.1.mlp.up_proj"] })).toEqual(["model.layers.1.mlp.up_proj"]);
  for (const all of [undefined, null, "all-linear"]) expect(names({ target_modules: all })).toEqual(modules);
});

test("a string is a regular expression for the whole path, in Python's spelling", () => {
  expect(names({ target_modules: "q_proj" })).toEqual([]);
  expect(names({ target_modules: ".*\\.q_proj" })).toEqual(ending(".q_proj"));
  expect(names({ target_modules: ".*q_proj" })).toEqual(ending(".q_proj"));
  expect(names({ target_modules: "model|.*\\.(?P<kind>up|o)_proj" })).toEqual(ending(".o_proj", ".up_proj"));
  expect(names({ target_modules: "\\A.*layers\\.1\\..*\\Z" })).toEqual(block(1));
});

test("modules are excluded, and blocks are chosen, by the same rules", () => {
  expect(names({ target_modules: ["q_proj", "o_proj"], exclude_modules: ["q_proj"] })).toEqual(ending(".o_proj"));
  expect(names({ target_modules: ["q_proj"], exclude_modules: ".*layers\\.1\\..*" })).toEqual(ending("0.self_attn.q_proj"));
  const q = (index: number) => `model.layers.${index}.self_attn.q_proj`;
  expect(names({ target_modules: ["q_proj"], layers_to_transform: [0, 10] })).toEqual([q(0), q(10)]);
  expect(names({ target_modules: ["q_proj"], layers_to_transform: 1, layers_pattern: "layers" })).toEqual([q(1)]);
  expect(names({ target_modules: ["q_proj"], layers_to_transform: [1], layers_pattern: ["h"] })).toEqual([]);
  expect(names({ target_modules: [q(0), "o_proj"], layers_to_transform: [1] })).toEqual([q(0), "model.layers.1.self_attn.o_proj"]);
});

test("what can't be read, or would take for ever, is an error", () => {
  expect(() => names({ target_modules: 3 })).toThrow(FormatError);
  expect(() => names({ target_modules: ["q_proj"], exclude_modules: [1] })).toThrow(/exclude_modules must be a string or a list/);
  expect(() => names({ target_modules: "(?>q)" })).toThrow(UnsupportedError);
  expect(() => names({ target_modules: "(([a-z0-9_.]+)+)+!" })).toThrow(/target_modules .* can't be read: Script execution timed out/);
  expect(() => names({ target_modules: ["q_proj"], layers_to_transform: ["1"] })).toThrow(UnsupportedError);
});
