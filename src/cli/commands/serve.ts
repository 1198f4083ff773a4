import { Command, InvalidArgumentError } from "commander";
import { serve as startServer } from "../../server/index.ts";
import { home } from "../home.ts";
import { addModelOptions, integer, type ModelOptions } from "../load-model.ts";

interface Options extends ModelOptions {
  readonly host: string;
  readonly port: number;
  readonly beside?: Record<string, string>;
  readonly apiKey?: string[];
  readonly maxRequests?: number;
  readonly maxTokens?: number;
  readonly quiet?: boolean;
}

export const serve = addModelOptions(new Command("serve").description("an OpenAI-compatible server, and a playground in the browser"))
  .option("--beside <name=model>", "a further model that requests may name in drafts and guides; may be repeated", named)
  .option("--host <address>", "where to listen; anything but 127.0.0.1 lets others in", "127.0.0.1")
  .option("--port <port>", "0 takes any that is free", integer, 8080)
  .option("--api-key <key...>", "keys that requests must bring; also from CHAINRULE_API_KEY, separated by commas")
  .option("--max-requests <count>", "requests under way before more get 429", integer)
  .option("--max-tokens <count>", "prompt tokens under way before more get 429", integer)
  .option("--quiet", "no line per request")
  .addHelpText(
    "after",
    '\nExample:\n  $ chainrule serve --port 8080\n  $ curl http://127.0.0.1:8080/v1/chat/completions -H \'content-type: application/json\' \\\n      -d \'{"messages": [{"role": "user", "content": "Hello"}], "stream": true}\'',
  )
  .action(async (options: Options) => {
    const fromEnvironment = (process.env.CHAINRULE_API_KEY ?? "").split(",").filter((key) => key !== "");
    const apiKeys = [...(options.apiKey ?? []), ...fromEnvironment];
    const { pino } = await import("pino");
    const log = pino({ base: null, redact: ["authorization", "apiKey"] }, pino.destination(2));
    const { context, cacheSize, threads, device, strict, offline, beside, maxRequests, maxTokens } = options;
    process.stderr.write(`loading ${options.model} …\n`);
    const server = await startServer({
      model: options.model,
      load: {
        home: home(),
        ...(context === undefined ? {} : { context }),
        ...(cacheSize === undefined ? {} : { cacheBytes: cacheSize }),
        ...(threads === undefined ? {} : { threads }),
        ...(device === undefined ? {} : { device }),
        ...(strict === undefined ? {} : { strict }),
        ...(offline === undefined ? {} : { offline }),
        ...(beside === undefined ? {} : { beside }),
      },
      host: options.host,
      port: options.port,
      apiKeys,
      ...(maxRequests === undefined ? {} : { maxRequests }),
      ...(maxTokens === undefined ? {} : { maxTokens }),
      onLog: (line) => log.warn({ from: "engine" }, line),
      ...(options.quiet === true
        ? {}
        : { onRequest: (request) => log.info(request, `${request.method} ${request.path} ${request.status}`) }),
    });
    process.stdout.write(`${server.url}\n`);
    await new Promise<void>((resolve) => {
      for (const signal of ["SIGTERM", "SIGINT"] as const)
        process.once(signal, () => {
          process.stderr.write(`${signal}: finishing what is under way\n`);
          void server.stop().then(resolve);
        });
    });
  });

/** Collects `name=model`. */
function named(text: string, before: Record<string, string> = {}): Record<string, string> {
  const [, name, model] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || model === undefined) throw new InvalidArgumentError(`"${text}" is not name=model.`);
  if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`"${name}" is given twice.`);
  return { ...before, [name]: model };
}
