import { expect, test } from "vitest";
import { FormatError, OptionError, ShapeError } from "./errors.ts";

test("a shape error names the operation, the tensor and both shapes", () => {
  const error = new ShapeError("linear", { tensor: "blk.3.attn_q.weight", expected: "[2048, 2048]", actual: [2048, 512] });
  expect(error.message).toBe("linear: blk.3.attn_q.weight has shape [2048, 512], expected [2048, 2048]");
  expect(error).toMatchObject({ name: "ShapeError", code: "SHAPE", tensor: "blk.3.attn_q.weight" });
});

test("a format error gives the offset where there is one, and only there", () => {
  expect(new FormatError("a.gguf", "bad magic", { offset: 0 }).message).toBe("a.gguf: bad magic (at byte 0)");
  expect(new FormatError("a.gguf", "bad magic").message).toBe("a.gguf: bad magic");
});

test("an option error names the option", () => {
  expect(new OptionError("topP", "must be in (0, 1], got 7")).toMatchObject({ message: "topP: must be in (0, 1], got 7", option: "topP" });
});
