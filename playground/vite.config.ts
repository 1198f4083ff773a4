import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const root = fileURLToPath(new URL(".", import.meta.url));
const server = process.env.CHAINRULE_URL ?? "http://127.0.0.1:8080";

/** `npm run build` writes dist/playground, which the server serves; `npm run playground` serves the sources beside a running server. */
export default defineConfig({
  root,
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../dist/playground",
    emptyOutDir: true,
    target: "es2023",
    cssTarget: ["chrome123", "firefox120", "safari17.5"], // these know light-dark()
    modulePreload: { polyfill: false }, // would be an inline script, which the server's policy forbids
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  logLevel: "warn",
  server: {
    proxy: Object.fromEntries(["/v1", "/tokenize", "/detokenize", "/ready", "/health"].map((path) => [path, server])),
  },
});
