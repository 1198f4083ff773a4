// Lets Node load the repository's TypeScript sources directly: `node --import ./scripts/register-typescript.mjs file.ts`.
// The unit tests start their workers with it; published code is plain JavaScript and never sees this file.
import { register } from "node:module";

register("./typescript-hooks.mjs", import.meta.url);
