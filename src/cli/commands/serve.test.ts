import { expect, test } from "vitest";
import { parseTimeouts } from "./serve.ts";

test("time limits are read in seconds, by stage", () => {
  expect(parseTimeouts("header=1,first-token=0.5,unread=30")).toEqual({ headerMs: 1000, firstTokenMs: 500, unreadMs: 30_000 });
  for (const wrong of ["", "header", "header=", "header=0", "header=-1", "header=x", "header=1=2", "headr=1", "total=1e9", "a=1,header=1"])
    expect(() => parseTimeouts(wrong), wrong).toThrow("timeouts: ");
});
