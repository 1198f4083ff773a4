import { OptionError } from "../errors.ts";
import type { ServeOptions } from "./serve.ts";

const counts = [
  ...(["maxRequests", "maxRunning", "maxTokens", "maxAsideBytes", "maxBytes", "maxBodyBytes"] as const),
  ...(["maxForecasts", "maxForecastBytes", "maxForecastRows", "maxForecastSeries", "maxForecastHorizon"] as const),
];
const limits = ["headerMs", "bodyMs", "queueMs", "firstTokenMs", "totalMs", "unreadMs", "heartbeatMs", "stopMs"] as const;
/** What a timer of Node can wait. */
const longestMs = 2 ** 31 - 1;

/** Checks what can be checked before a model is loaded. @throws OptionError */
export function checkServeOptions(options: ServeOptions): void {
  const { host, port, apiKeys = [], load = {} } = options;
  if (host !== undefined && host.trim() === "") throw new OptionError("host", 'must be an address or a name, got ""');
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65_535))
    throw new OptionError("port", `must be an integer in [0, 65535], got ${port}; 0 takes any that is free`);
  for (const name of counts) atLeast(name, options[name], 1);
  for (const name of limits) {
    const value = options[name];
    if (value !== undefined && !(value > 0 && value <= longestMs))
      throw new OptionError(name, `must be a number of milliseconds in (0, ${longestMs}], got ${value}`);
  }
  // the key itself stays out of the message, which may be logged
  for (const key of apiKeys)
    if (key !== key.trim() || !/^[\x20-\x7e]+$/.test(key))
      throw new OptionError("apiKeys", "a key must be of printable ASCII characters, without space at its ends, and not empty");
  const { threads, context, cacheBytes, prefixCacheBytes } = load;
  if (threads !== undefined && threads !== "auto" && !(Number.isInteger(threads) && threads >= 1 && threads <= 512))
    throw new OptionError("threads", `must be an integer in [1, 512] or "auto", got ${threads}`);
  atLeast("context", context, 1);
  atLeast("cacheBytes", cacheBytes, 1);
  atLeast("prefixCacheBytes", prefixCacheBytes, 0);
}

function atLeast(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
    throw new OptionError(name, `must be an integer >= ${least}, got ${value}`);
}
