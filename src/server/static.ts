import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { serveStatic } from "@hono/node-server/serve-static";
import type { MiddlewareHandler } from "hono";

// The playground: static files beside the server's own code, for anybody, without a key.

/** Where the build puts the playground: `dist/playground`, seen from `dist/server` as from `src/server`. */
export function playgroundFolder(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "../../dist/playground" : "../playground", import.meta.url));
}

/** What a browser may load, and from where: this server alone; nothing inline, nothing evaluated. */
export const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const missing = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Chainrule</title>
<h1>The playground is not built</h1>
<p>In a checkout, <code>npm run build</code> writes it to <code>dist/playground</code>; then load this page again.
The API works without it: see <a href="/openapi.json">/openapi.json</a>.</p>
</html>
`;

const noRun = (folder: string) => `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="10"><title>Chainrule</title>
<h1>No training yet</h1>
<p>There is no report in ${folder.replace(/[&<>"]/g, "_")}; this page looks again every ten seconds.</p>
</html>
`;

/** A report is one file with its style in it, which runs and loads nothing. */
const reportPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** Shows the report of a training run as it grows. @param folder  the run's: `--out` of `chainrule train` */
export const trainingPage =
  (folder: string): MiddlewareHandler =>
  async (c) => {
    c.header("cache-control", "no-cache");
    c.header("content-security-policy", reportPolicy);
    try {
      return c.html(readFileSync(join(folder, "report.html"), "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return c.html(noRun(folder), 404);
    }
  };

/**
 * Answers GET and HEAD with the files of a folder. Files under `assets/` carry their content's hash in their name and are kept by
 * browsers; all others are asked for again. Where the folder is not there, `/` says how to build it.
 */
export function playground(folder: string): MiddlewareHandler {
  let files: MiddlewareHandler | undefined; // made when the folder is there: it writes to the console where it isn't
  return async (c, next) => {
    if (c.req.method !== "GET" && c.req.method !== "HEAD") return next();
    // looked up each time, so that a build shows without a restart
    if (!existsSync(folder)) return c.req.path === "/" ? c.html(missing, 404) : next();
    files ??= serveStatic({ root: folder });
    const response = (await files(c, next)) as Response | undefined;
    response?.headers.set("cache-control", c.req.path.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache");
    return response;
  };
}
