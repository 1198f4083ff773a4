export { checkServeOptions } from "./check-options.ts";
export { EngineLoadError } from "./engine-client.ts";
export { type RunningServer, type ServeOptions, serve } from "./serve.ts";
