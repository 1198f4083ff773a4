import { createHash } from "node:crypto";
import { NotFoundError, OptionError } from "../errors.ts";
import { type BuiltEntry, built, type CatalogueEntry, catalogue, type Location, type ShippedEntry, shipped } from "./catalogue.ts";

/** What the name of a model means. */
export type ModelName =
  | { readonly kind: "catalogue"; readonly entry: CatalogueEntry }
  | { readonly kind: "shipped"; readonly entry: ShippedEntry }
  | { readonly kind: "built"; readonly entry: BuiltEntry }
  | { readonly kind: "quantized"; readonly base: { readonly name: string }; readonly type: string }
  | { readonly kind: "remote"; readonly location: Location }
  | { readonly kind: "path"; readonly path: string };

const forms = "hf:OWNER/REPO/FILE.gguf, pypi:PACKAGE[==VERSION], npm:PACKAGE[@VERSION] or the path of a GGUF file";

/**
 * Reads a model's name: one of the catalogue's, one that is shipped or built here, `NAME:TYPE` for one of those quantized by us to a tensor type, `hf:owner/repo/file.gguf`,
 * `pypi:package[==version]`, `npm:package[@version]`, or a path (anything that holds a separator or ends in `.gguf`).
 *
 * @throws OptionError   a form that is known, with something in it that can't be
 * @throws NotFoundError a word that is none of these
 */
export function parseModelName(name: string): ModelName {
  const colon = name.indexOf(":");
  const head = colon < 0 ? name : name.slice(0, colon);
  const rest = colon < 0 ? undefined : name.slice(colon + 1);
  const known = [
    ...catalogue.map((entry) => ({ kind: "catalogue" as const, entry })),
    ...shipped.map((entry) => ({ kind: "shipped" as const, entry })),
    ...built.map((entry) => ({ kind: "built" as const, entry })),
  ];
  const found = known.find(({ entry }) => entry.name === head);
  if (found !== undefined) {
    if (rest === undefined) return found;
    if (!/^[a-z0-9_]+$/.test(rest)) throw new OptionError("model", `"${name}": write a tensor type after the colon, as in ${head}:q4_0`);
    return { kind: "quantized", base: found.entry, type: rest };
  }
  if (rest !== undefined) {
    if (head === "hf") return { kind: "remote", location: parseHub(name, rest) };
    if (head === "pypi") return { kind: "remote", location: parsePypi(name, rest) };
    if (head === "npm") return { kind: "remote", location: parseNpm(name, rest) };
  }
  if (/[/\\]/.test(name) || /\.gguf$/i.test(name)) return { kind: "path", path: name };
  const names = known.map(({ entry }) => entry.name).join(", ");
  throw new NotFoundError(`"${name}" is no model known here; there are ${names}, ${forms}`);
}

function parseHub(name: string, rest: string): Location {
  const [owner, repo, ...path] = rest.split("/");
  const segments = [owner, repo, ...path];
  // Letters, digits and a few signs: nothing that would change the meaning of a URL or of a path.
  const isPlain = segments.every((segment) => segment !== undefined && /^[\p{L}\p{N}_][\p{L}\p{N} ._+()=,-]*$/u.test(segment));
  if (!isPlain || path.length === 0 || !/\.gguf$/i.test(rest)) {
    throw new OptionError("model", `"${name}": a file on the hub is written hf:OWNER/REPO/FILE.gguf`);
  }
  return { kind: "hub", repo: `${owner}/${repo}`, path: path.join("/") };
}

// Names and versions become arguments of pip and npm: no leading dash, no path, no URL, no range.
const version = /^[0-9A-Za-z][0-9A-Za-z.+_!-]*$/;

function parsePypi(name: string, rest: string): Location {
  const [, packageName, packageVersion] = /^([^=]*)(?:==(.*))?$/.exec(rest) ?? [];
  if (packageName === undefined || !/^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(packageName) || !isVersion(packageVersion)) {
    throw new OptionError("model", `"${name}": a package on PyPI is written pypi:PACKAGE or pypi:PACKAGE==VERSION`);
  }
  return { kind: "pypi", packages: [{ name: packageName, ...(packageVersion === undefined ? {} : { version: packageVersion }) }] };
}

function parseNpm(name: string, rest: string): Location {
  const [, packageName, packageVersion] = /^(@?[^@]*)(?:@(.*))?$/.exec(rest) ?? [];
  if (
    packageName === undefined ||
    !/^(?:@[a-z0-9~][a-z0-9._~-]*\/)?[a-z0-9~][a-z0-9._~-]*$/.test(packageName) ||
    !isVersion(packageVersion)
  ) {
    throw new OptionError("model", `"${name}": a package on npm is written npm:PACKAGE or npm:PACKAGE@VERSION`);
  }
  return { kind: "npm", packages: [{ name: packageName, ...(packageVersion === undefined ? {} : { version: packageVersion }) }] };
}

function isVersion(text: string | undefined): boolean {
  return text === undefined || version.test(text);
}

/**
 * The folder name under which a model is kept: safe on every file system, different for different names.
 * Names of the catalogue stay readable as they are; the others end in a hash, since `a/b` and `a-b` would look alike.
 */
export function modelSlug(name: string): string {
  const readable = name.replace(/[^A-Za-z0-9._-]+/g, "-");
  const parsed = parseModelName(name);
  if (parsed.kind !== "remote") return readable;
  return `${readable.slice(0, 100)}-${createHash("sha256").update(name).digest("hex").slice(0, 10)}`;
}
