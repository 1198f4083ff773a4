import { homedir } from "node:os";
import { defaultHome } from "../models/index.ts";

/** The folder for models and measurements, as the environment has it. */
export function home(): string {
  return defaultHome(process.env, process.platform, homedir());
}
