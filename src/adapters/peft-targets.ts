import { runInNewContext } from "node:vm";
import { FormatError, UnsupportedError } from "../errors.ts";

type Config = Readonly<Record<string, unknown>>;

/**
 * Which modules PEFT would give an adapter, by `target_modules`, `exclude_modules` and `layers_to_transform` of its configuration: a string is a
 * regular expression for a whole path, a name of a list is a path or its end behind a dot.
 *
 * @param modules  paths such as `model.layers.0.self_attn.q_proj`
 * @throws FormatError, UnsupportedError for expressions that can't be read or take too long
 */
export function targetedModules(path: string, config: Config, modules: readonly string[]): ReadonlySet<string> {
  const { target_modules: targets } = config;
  if (targets === undefined || targets === null || targets === "all-linear") return new Set(modules);
  const included = matching(path, "target_modules", targets, modules);
  const { exclude_modules: without } = config;
  const excluded = new Set(isNone(without) ? [] : matching(path, "exclude_modules", without, modules));
  const isWhole = (module: string) => typeof targets === "string" || (targets as readonly string[]).includes(module);
  const isInLayers = layersOf(path, config); // asked of names that a path ends in, only
  return new Set(included.filter((module) => !excluded.has(module) && (isWhole(module) || isInLayers(module))));
}

const isNone = (value: unknown) => value === undefined || value === null || (Array.isArray(value) && value.length === 0);

function matching(path: string, key: string, value: unknown, modules: readonly string[]): string[] {
  if (typeof value === "string") return matchingWhole(path, key, value, modules);
  if (!Array.isArray(value) || !value.every((name) => typeof name === "string"))
    throw new FormatError(path, `${key} must be a string or a list of strings, got ${JSON.stringify(value)}`);
  const names: readonly string[] = value;
  return modules.filter((module) => names.some((name) => module === name || module.endsWith(`.${name}`)));
}

const patienceMs = 1000;

/** The expression is a stranger's, and some take for ever: it is tried where it can be ended. */
function matchingWhole(path: string, key: string, expression: string, modules: readonly string[]): string[] {
  const source = expression
    .replaceAll("(?P<", "(?<")
    .replace(/\(\?P=(\w+)\)/g, "\\k<$1>")
    .replaceAll("\\A", "^")
    .replaceAll("\\Z", "$");
  try {
    const found: boolean[] = runInNewContext(
      "const whole = new RegExp(`^(?:${source})$`); modules.map((module) => whole.test(module))",
      { source, modules },
      { timeout: patienceMs },
    );
    return modules.filter((_, i) => found[i]);
  } catch (cause) {
    throw new UnsupportedError(`${path}: ${key} ${JSON.stringify(expression)} can't be read: ${(cause as Error).message}`);
  }
}

/** By `layers_to_transform`: block indices, which are found in a path after the name of the list of blocks. */
function layersOf(path: string, { layers_to_transform: wanted, layers_pattern: pattern }: Config): (module: string) => boolean {
  if (isNone(wanted)) return () => true;
  const indices: unknown[] = Array.isArray(wanted) ? wanted : [wanted];
  const lists: unknown[] = isNone(pattern) || pattern === "" ? [] : Array.isArray(pattern) ? pattern : [pattern];
  if (!indices.every((index) => Number.isInteger(index)) || !lists.every((name) => typeof name === "string" && /^\w+$/.test(name)))
    throw new UnsupportedError(`${path}: layers_to_transform ${JSON.stringify(wanted)} of ${JSON.stringify(pattern)} can't be read`);
  return (module) => {
    const parts = module.split(".");
    const at = parts.findLastIndex((part, i) => i > 0 && /^\d+$/.test(part) && (lists.length === 0 || lists.includes(parts[i - 1])));
    return at > 0 && indices.includes(Number(parts[at]));
  };
}
