import { Command, InvalidArgumentError } from "commander";
import { OptionError } from "../../errors.ts";
import { checkServeOptions, type ServeOptions, serve as startServer } from "../../server/index.ts";
import { nameAdapters } from "../adapter-options.ts";
import { home } from "../home.ts";
import { interruptible } from "../interrupt.ts";
import { addModelOptions, bytes, integer, type ModelOptions } from "../load-model.ts";

interface Options extends ModelOptions {
  readonly host: string;
  readonly port: number;
  readonly beside?: Record<string, string>;
  readonly apiKey?: string[];
  readonly maxRequests?: number;
  readonly maxRunning?: number;
  readonly maxTokens?: number;
  readonly maxBytes?: number;
  readonly maxAside?: number;
  readonly maxBody?: number;
  readonly maxForecasts?: number;
  readonly timeouts?: Partial<Record<Timeout, number>>;
  readonly prefixCache?: number;
  readonly training?: string;
  readonly quiet?: boolean;
}

/** Stages of a request and of the server, and the server's option for each. */
const stages = {
  header: "headerMs",
  body: "bodyMs",
  queue: "queueMs",
  "first-token": "firstTokenMs",
  total: "totalMs",
  unread: "unreadMs",
  heartbeat: "heartbeatMs",
  stop: "stopMs",
} as const;
type Timeout = (typeof stages)[keyof typeof stages];

/** `header=10,total=600` in milliseconds. */
export function parseTimeouts(text: string): Partial<Record<Timeout, number>> {
  return Object.fromEntries(
    text.split(",").map((part) => {
      const [stage, seconds, ...rest] = part.split("=");
      const value = Number(seconds);
      if (stage === undefined || !Object.hasOwn(stages, stage) || rest.length > 0)
        throw new OptionError(
          "timeouts",
          `must be stage=seconds, with stages ${Object.keys(stages).join(", ")}; got ${JSON.stringify(part)}`,
        );
      if (seconds === "" || !(value > 0) || value > 86_400)
        throw new OptionError("timeouts", `${stage} must be a number of seconds in (0, 86400], got ${JSON.stringify(seconds)}`);
      return [stages[stage as keyof typeof stages], value * 1000];
    }),
  );
}

export const serve = addModelOptions(new Command("serve").description("an OpenAI-compatible server, and a playground in the browser"))
  .option("--beside <name=model>", "a further model that requests may name in drafts and guides; may be repeated", named)
  .option("--adapter <path...>", "adapters that requests may name by the last part of their path: chainrule.adapter")
  .option("--host <address>", "where to listen; anything but 127.0.0.1 lets others in", "127.0.0.1")
  .option("--port <port>", "0 takes any that is free", integer, 8080)
  .option("--api-key <key...>", "keys that requests must bring; also from CHAINRULE_API_KEY, separated by commas")
  .option("--max-requests <count>", "requests under way, waiting ones included, before more get 429 (default: 128)", integer)
  .option("--max-running <count>", "requests that the engine works on at the same time; others wait (default: 64)", integer)
  .option("--max-tokens <count>", "prompt tokens under way before more get 429 (default: 65536)", integer)
  .option("--max-bytes <count>", "bytes of all bodies under way before more get 429 (default: 67108864)", integer)
  .option("--max-body <bytes>", "of one body, before it gets 413 (default: 4M)", bytes)
  .option(
    "--max-aside <bytes>",
    "host memory for answers that make room or that nobody reads, before requests get 429 (default: a quarter of the memory)",
    bytes,
  )
  .option("--max-forecasts <count>", "forecasts worked on at the same time, each on a core (default: half of the cores)", integer)
  .option(
    "--timeouts <list>",
    "seconds for the stages of a request, for the engine's answer to a ping, and for ending (default: header=10,body=30,queue=60,first-token=120,total=600,unread=30,heartbeat=20,stop=30)",
    parseTimeouts,
  )
  .option("--prefix-cache <bytes>", "most of the cache that ended prompts keep for later ones; 0 turns it off; default half", bytes)
  .option("--training <folder>", "a run of chainrule train whose curves /training shows as it goes, to anybody, without a key")
  .option("--quiet", "no line per request")
  .addHelpText(
    "after",
    '\nExample:\n  $ chainrule serve --port 8080\n  $ curl http://127.0.0.1:8080/v1/chat/completions -H \'content-type: application/json\' \\\n      -d \'{"messages": [{"role": "user", "content": "Hello"}], "stream": true}\'',
  )
  .action(async (options: Options) => {
    const fromEnvironment = (process.env.CHAINRULE_API_KEY ?? "").split(",").flatMap((key) => key.trim() || []);
    const apiKeys = [...(options.apiKey ?? []), ...fromEnvironment];
    const { pino } = await import("pino");
    const hide = (line: string) => apiKeys.reduce((text, key) => text.replaceAll(key, "[redacted]"), line);
    const log = pino({ base: null, hooks: { streamWrite: hide } }, pino.destination(2));
    const { context, cacheSize, threads, device, strict, offline, beside, maxRequests, maxRunning, maxTokens, maxBytes, timeouts } =
      options;
    const settings: ServeOptions = {
      model: options.model,
      load: {
        home: home(),
        ...(context === undefined ? {} : { context }),
        ...(cacheSize === undefined ? {} : { cacheBytes: cacheSize }),
        ...(options.prefixCache === undefined ? {} : { prefixCacheBytes: options.prefixCache }),
        ...(threads === undefined ? {} : { threads }),
        ...(device === undefined ? {} : { device }),
        ...(strict === undefined ? {} : { strict }),
        ...(offline === undefined ? {} : { offline }),
        ...(beside === undefined ? {} : { beside }),
        ...(options.adapter === undefined ? {} : { adapters: nameAdapters(options.adapter).load }),
      },
      host: options.host,
      port: options.port,
      apiKeys,
      ...(maxRequests === undefined ? {} : { maxRequests }),
      ...(maxRunning === undefined ? {} : { maxRunning }),
      ...(maxTokens === undefined ? {} : { maxTokens }),
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(options.maxBody === undefined ? {} : { maxBodyBytes: options.maxBody }),
      ...(options.maxAside === undefined ? {} : { maxAsideBytes: options.maxAside }),
      ...(options.maxForecasts === undefined ? {} : { maxForecasts: options.maxForecasts }),
      ...(options.training === undefined ? {} : { training: options.training }),
      ...timeouts,
      onLog: (line) => log.warn({ from: "engine" }, line),
      onError: (error, id) => log.error({ id, err: error }, "a request failed for a reason of the server's own"),
      ...(options.quiet === true
        ? {}
        : { onRequest: (request) => log.info(request, `${request.method} ${request.path} ${request.status}`) }),
    };
    checkServeOptions(settings);
    await interruptible(async (signal) => {
      process.stderr.write(`loading ${options.model} …\n`);
      const interrupted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      const server = await startServer({ ...settings, signal }).catch((error: unknown) => {
        if (error !== signal.reason) throw error;
        return undefined; // told to end while the model was loading: nothing is under way
      });
      if (server === undefined) return;
      process.stdout.write(`${server.url}\n`);
      await interrupted;
      process.stderr.write("finishing what is under way\n");
      await server.stop();
    });
  });

/** Collects `name=model`. */
function named(text: string, before: Record<string, string> = {}): Record<string, string> {
  const [, name, model] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || model === undefined) throw new InvalidArgumentError(`"${text}" is not name=model.`);
  if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`"${name}" is given twice.`);
  return { ...before, [name]: model };
}
