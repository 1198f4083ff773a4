import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError } from "../errors.ts";
import { compactParts, describeRange, type Method, parseMethod } from "./method.ts";
import { methodsByAxis, registry } from "./registry.ts";

const axes: readonly (readonly [string, readonly Method<unknown>[]])[] = Object.entries(methodsByAxis(["mine"]));
const methods = axes.flatMap(([axis, list]) => list.map((method) => [axis, method.name, method, list] as const));

function errorOf(parse: () => unknown): OptionError {
  try {
    parse();
  } catch (error) {
    if (error instanceof OptionError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

describe.each(methods)("%s %s", (axis, name, method, list) => {
  test("a bad value names the option, the method, the parameter, its range and the value", () => {
    const needed = Object.fromEntries(
      Object.entries(method.parameters)
        .filter(([, { default: usual, isOptional }]) => usual === undefined && isOptional !== true)
        .map(([key, { type }]) => [key, type === "model" ? "other" : type === "examples" ? [{ input: "a", output: "b" }] : { 1: 1 }]),
    );
    for (const [key, parameter] of Object.entries(method.parameters)) {
      const { type, min, max, isMinOpen } = parameter;
      const bad: unknown[] = [null, ["text", "model", "adapter"].includes(type) ? 7 : "seven", [[]], Number.NaN];
      if (type === "integer") bad.push(1.5);
      if (type === "number" || type === "integer") {
        if (min !== undefined) bad.push(isMinOpen === true ? min : min - 1);
        if (max !== undefined) bad.push(max + 1);
        bad.push(Number.POSITIVE_INFINITY);
      }
      if (type === "token values") bad.push({ "-1": 1 }, { 3: max! + 1 }, { 3: min! - 1 });
      for (const value of bad) {
        const { message } = errorOf(() => parseMethod(list, { name, ...needed, [key]: value }, axis));
        const shown =
          typeof value === "object" && value !== null ? JSON.stringify(value) : typeof value === "string" ? `"${value}"` : `${value}`;
        expect(message).toBe(`${axis}: ${name}: ${key} must be ${describeRange(parameter)}, got ${shown}`);
        if (min !== undefined) expect(message).toContain(`${min}`);
        if (max !== undefined) expect(message).toContain(`${max}`);
      }
    }
    expect(errorOf(() => parseMethod(list, { name, ...needed, budgget: 1 }, axis)).message).toMatch(
      new RegExp(`^${axis}: ${name} has no parameter "budgget"; it has `),
    );
  });
});

test("an unknown method names those that there are", () => {
  for (const [axis, list] of axes)
    expect(errorOf(() => parseMethod(list, "nobody", axis)).message).toBe(
      `${axis}: no method "nobody"; there are ${list.map(({ name }) => name).join(", ")}`,
    );
});

describe("the compact form", () => {
  const valuesOf = (spec: string) => {
    const { method, values } = parseMethod(registry.guide, spec, "guide");
    expect(method.name).toBe("grammar");
    return values.regex;
  };

  test.each([
    ["grammar,regex=a{2}", "a{2}"],
    ['grammar,regex="a{1,3}"', "a{1,3}"],
    ['grammar, regex="a{1,3}" , finish=false', "a{1,3}"],
    ['grammar,regex="\\\\d{1,3}=\\"x\\",\\n"', '\\d{1,3}="x",\n'],
    ['grammar,regex="a=@b,c=@d"', "a=@b,c=@d"],
    ['grammar,regex="a"b', '"a"b'], // not in quotes as a whole
    ['grammar,regex="', '"'],
    ['grammar,regex=a"b"', 'a"b"'],
    ["grammar,regex=", ""],
  ])("%s", (spec, regex) => expect(valuesOf(spec)).toBe(regex));

  test.each([
    ['grammar,regex="\\d"', /^guide: regex="\\d" is no JSON string: /],
    ['grammar,regex="a,b', /^guide: "b" is not key=value, in "grammar,regex=\\"a,b"$/],
    ['grammar,regex="a,b",', /^guide: "" is not key=value/],
  ])("%s is refused", (spec, message) => expect(() => valuesOf(spec)).toThrow(message));

  test("its parts are what stands between commas outside quotes", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.stringMatching(/^[a-z]{1,4}$/), fc.string({ unit: "binary" })), { maxLength: 4 }), (given) => {
        const parts = ["name", ...given.map(([key, value]) => `${key}=${JSON.stringify(value)}`)];
        expect(compactParts(parts.join(","))).toEqual(parts);
        expect(compactParts(parts.join(" , "))).toEqual(parts);
      }),
    );
  });
});
