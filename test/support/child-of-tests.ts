import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** Arguments with which Node runs the engine's process from the sources. */
export const execArgv = ["--import", pathToFileURL(resolve("scripts/register-typescript.mjs")).href];
