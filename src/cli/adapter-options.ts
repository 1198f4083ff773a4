import { existsSync } from "node:fs";
import { basename } from "node:path";
import { OptionError } from "../errors.ts";

/** The adapters of the command line, `path,scale=0.8`: what to load under which name, and the same in `generate()`'s words. */
export interface NamedAdapters {
  readonly load: Readonly<Record<string, string>>;
  readonly specs: readonly string[];
}

/** @throws OptionError for a path that is not there */
export function nameAdapters(given: readonly string[] = []): NamedAdapters {
  const load: Record<string, string> = {};
  const specs = given.map((spec) => {
    const [path, ...rest] = spec.split(",") as [string, ...string[]];
    if (!existsSync(path)) throw new OptionError("--adapter", `there is nothing at ${path}: name an adapter's folder or file`);
    const known = Object.entries(load).find(([, other]) => other === path)?.[0];
    const name = known ?? freeName(basename(path.replace(/\/(adapter\/?)?$/, "")).replace(/\.gguf$/, ""), load);
    load[name] = path;
    return [name, ...rest].join(",");
  });
  return { load, specs };
}

function freeName(wanted: string, taken: Readonly<Record<string, string>>): string {
  const base = wanted.replace(/[^\w.-]/g, "-").replace(/^[^\w]+/, "") || "adapter";
  for (let i = 1; ; i += 1) {
    const name = i === 1 ? base : `${base}-${i}`;
    if (!Object.hasOwn(taken, name)) return name;
  }
}
