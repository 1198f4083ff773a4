import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { defaultHome, hubFromEnvironment } from "./environment.ts";

test("CHAINRULE_HOME comes first, made absolute; an empty one is none", () => {
  expect(defaultHome({ CHAINRULE_HOME: "models" }, "linux", "/home/a")).toBe(resolve("models"));
  expect(defaultHome({ CHAINRULE_HOME: "" }, "linux", "/home/a")).toBe(join("/home/a", ".cache", "chainrule"));
});

test("else each platform's own cache folder", () => {
  expect(defaultHome({ XDG_CACHE_HOME: "/cache" }, "linux", "/home/a")).toBe(join("/cache", "chainrule"));
  expect(defaultHome({}, "darwin", "/Users/a")).toBe(join("/Users/a", "Library", "Caches", "chainrule"));
  expect(defaultHome({ LOCALAPPDATA: "L" }, "win32", "H")).toBe(join("L", "chainrule", "Cache"));
  expect(defaultHome({}, "win32", "H")).toBe(join("H", "AppData", "Local", "chainrule", "Cache"));
});

test("the hub's mirror and token are those its own tools read", () => {
  expect(hubFromEnvironment({ HF_ENDPOINT: "u", HF_TOKEN: "t" })).toEqual({ url: "u", accessToken: "t" });
  expect(hubFromEnvironment({ HF_ENDPOINT: "", HF_TOKEN: "" })).toEqual({});
});
