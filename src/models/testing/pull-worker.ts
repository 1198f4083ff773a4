// argv: home, hub's URL, model. Pulls it.
import { resolveModel } from "../pull.ts";

const [home, url, name] = process.argv.slice(2) as [string, string, string];
await resolveModel(name, { home, hub: { url } });
