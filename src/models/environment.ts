import { join, resolve } from "node:path";
import type { HubAccess } from "./sources/source.ts";

/**
 * The folder in which Chainrule keeps models and measurements: `CHAINRULE_HOME`, else the platform's cache folder.
 * Pure: only the command line and `load()` read the environment, and hand it in with the platform and the home directory of the user.
 *
 * @returns an absolute path; the folder need not exist
 */
export function defaultHome(env: Readonly<Record<string, string | undefined>>, platform: NodeJS.Platform, homedir: string): string {
  if (env.CHAINRULE_HOME) return resolve(env.CHAINRULE_HOME);
  if (platform === "win32") return join(env.LOCALAPPDATA || join(homedir, "AppData", "Local"), "chainrule", "Cache");
  if (platform === "darwin") return join(homedir, "Library", "Caches", "chainrule");
  return join(env.XDG_CACHE_HOME || join(homedir, ".cache"), "chainrule");
}

/** The hub as the tools of its makers find it: `HF_ENDPOINT` names a mirror, `HF_TOKEN` says who asks. */
export function hubFromEnvironment(env: Readonly<Record<string, string | undefined>>): HubAccess {
  return { ...(env.HF_ENDPOINT ? { url: env.HF_ENDPOINT } : {}), ...(env.HF_TOKEN ? { accessToken: env.HF_TOKEN } : {}) };
}
