import { defineConfig } from "vitest/config";

/** Times are there to end what hangs, not to measure: five-fold for machines that are busy, and the soak's counts are larger by thirty and more. */
const patience = process.env.CHAINRULE_SOAK ? 150 : 5;

/** Tests are grouped by need: `unit` wants nothing but Node, `native` the ggml libraries, `models` real model files, `browser` a Chromium and what `npm run build` made. */
export default defineConfig({
  test: {
    pool: "forks", // a failed native check aborts its process: it must not take the others along
    maxWorkers: 2,
    reporters: ["default"],
    setupFiles: ["test/support/property-seed.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "playground/src/**/*.test.ts", "scripts/**/*.test.ts"],
          testTimeout: 60_000 * patience,
        },
      },
      {
        extends: true,
        test: { name: "native", include: ["test/native/**/*.test.ts"], testTimeout: 120_000 * patience, hookTimeout: 120_000 * patience },
      },
      {
        extends: true,
        test: { name: "browser", include: ["playground/test/*.test.ts"], testTimeout: 120_000 * patience, hookTimeout: 120_000 * patience },
      },
      {
        extends: true,
        test: { name: "models", include: ["test/models/**/*.test.ts"], testTimeout: 300_000 * patience, hookTimeout: 300_000 * patience },
      },
    ],
  },
});
