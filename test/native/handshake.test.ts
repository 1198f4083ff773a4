import { expect, test } from "vitest";
import { handshake } from "../../src/ggml/handshake.ts";
import { libraryPackages } from "../../src/ggml/library.ts";
import { loadNative } from "../../src/ggml/native.ts";

test("the installed libraries are the pinned build", () => {
  const native = loadNative();
  expect(handshake(native).version).toBe("0.25.1");
  expect(native.ggml_backend_dev_count()).toBeGreaterThan(0);
});

test("another version or layout is refused by name", () => {
  const native = loadNative();
  const other = (patch: object) => Object.create(native, Object.getOwnPropertyDescriptors(patch)) as typeof native;
  expect(() => handshake(other({ ggml_version: () => "0.24.0" }))).toThrow("ggml's version is 0.24.0, this release drives 0.25.1");
  expect(() => handshake(other({ ggml_tensor_overhead: () => 400 }))).toThrow("the size of a tensor's header is 400");
  expect(() => handshake(other({ ggml_type_name: () => "q9_9" }))).toThrow("the name of type 0 is q9_9");
});

test("packages are named by platform and device", () => {
  expect(libraryPackages("cpu", "linux", "x64")).toEqual(["@node-llama-cpp/linux-x64"]);
  expect(libraryPackages("cpu", "darwin", "arm64")).toEqual(["@node-llama-cpp/mac-arm64-metal"]);
  expect(libraryPackages("cuda", "win32", "x64")).toEqual(["@node-llama-cpp/win-x64-cuda"]);
  expect(libraryPackages("metal", "linux", "x64")).toEqual([]);
});
