import { afterAll, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

test("a device opens, changes its threads and closes", () => {
  using device = Device.create("cpu", 2);
  expect(device.threads).toBe(2);
  device.setThreads(1);
  expect(device.threads).toBe(1);
  expect(device.memory().totalBytes).toBeGreaterThan(2 ** 28);
  expect(() => device.setThreads(0)).toThrow("threads must be an integer");
});

test("use after dispose is a clear error", () => {
  const device = Device.create();
  device[Symbol.dispose]();
  device[Symbol.dispose]();
  expect(() => device.allocate(16)).toThrow("the cpu device was used after it had been disposed of");
});

test("buffers are bounded", () => {
  using device = Device.create();
  using buffer = device.allocate(1024);
  buffer.view(0, 1024).fill(7);
  expect(buffer.view(1000, 24)).toEqual(new Uint8Array(24).fill(7));
  expect(() => buffer.view(1000, 25)).toThrow("outside a buffer");
  expect(() => device.allocate(2 ** 46)).toThrow("bytes of device memory could not be had");
});
