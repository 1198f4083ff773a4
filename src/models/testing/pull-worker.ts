// argv: home, hub's URL, model. Pulls it.
import { pullModel } from "../pull.ts";

const [home, url, name] = process.argv.slice(2) as [string, string, string];
await pullModel(name, { home, hub: { url } });
