import { expect, test } from "vitest";
import { serve } from "./index.ts";
import type { ServeOptions } from "./serve.ts";

// nothing that these name is ever read: a model that isn't there would be another error
const model = "/nothing/there.gguf";

test.each<[keyof ServeOptions | "threads" | "context" | "cacheBytes" | "prefixCacheBytes", ServeOptions]>([
  ...[80_808, -1, 65_536, 1.5, Number.NaN].map((port) => ["port", { port }] as ["port", ServeOptions]),
  ["host", { host: "" }],
  ["host", { host: " " }],
  ["maxRequests", { maxRequests: 0 }],
  ["maxRunning", { maxRunning: -4 }],
  ["maxTokens", { maxTokens: 0 }],
  ["maxAsideBytes", { maxAsideBytes: 0 }],
  ["maxBytes", { maxBytes: 0.5 }],
  ["maxBodyBytes", { maxBodyBytes: Number.NaN }],
  ["maxForecasts", { maxForecasts: 0 }],
  ["maxForecastRows", { maxForecastRows: 1.5 }],
  ["headerMs", { headerMs: 0 }],
  ["bodyMs", { bodyMs: -1 }],
  ["queueMs", { queueMs: Number.POSITIVE_INFINITY }],
  ["firstTokenMs", { firstTokenMs: 2 ** 31 }],
  ["totalMs", { totalMs: Number.NaN }],
  ["unreadMs", { unreadMs: 0 }],
  ["heartbeatMs", { heartbeatMs: 0 }],
  ["apiKeys", { apiKeys: ["good", ""] }],
  ["apiKeys", { apiKeys: ["padded "] }],
  ["apiKeys", { apiKeys: ["line\nbreak"] }],
  ["threads", { load: { threads: 0 } }],
  ["context", { load: { context: 0 } }],
  ["cacheBytes", { load: { cacheBytes: 0 } }],
  ["prefixCacheBytes", { load: { prefixCacheBytes: -1 } }],
])("%s is checked before anything starts: %j", async (option, options) => {
  await expect(serve({ model, ...options })).rejects.toMatchObject({ code: "OPTION", option });
});

test("a refused key is not told", async () => {
  await expect(serve({ model, apiKeys: ["secret\n"] })).rejects.toThrow(/^(?!.*secret)/);
});
