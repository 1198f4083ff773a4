import { OptionError, UnsupportedError } from "../../../errors.ts";
import { accepts, type ByteDfa, countUnits, difference, intersection, isEmptyLanguage } from "./automaton.ts";
import { anyCodePoint, writeJson, writeUtf8 } from "./characters.ts";
import {
  byteRange,
  choice,
  type Expression,
  empty,
  type ListMember,
  literal,
  nothing,
  optional,
  type RuleSet,
  repeat,
  rule,
  sequence,
} from "./expression.ts";
import { integerExpression, type NumberBounds, numberExpression } from "./json-numbers.ts";
import { formatPattern, jsonCharacter, stringLanguage } from "./json-strings.ts";
import type { Budget } from "./limits.ts";
import { regularAutomaton } from "./nfa.ts";
import { parseRegex } from "./regex.ts";
import {
  assertions,
  canonical,
  count,
  type JsonObject,
  type JsonValue,
  list,
  nonEmptyList,
  numeric,
  object,
  SchemaDocument,
  type SchemaNode,
  strings,
  text,
} from "./schema-nodes.ts";

/** How JSON is written where a schema leaves it open. A schema's own bounds go before these. */
export interface JsonOptions {
  /** Characters of a string without `maxLength`, `pattern` or `format`. Default 4096. */
  readonly maxStringLength: number;
  /** Items of an array without `maxItems`. Default 256. */
  readonly maxItems: number;
  /** Members that the schema does not list, and characters of such a member's name. Default 64. */
  readonly maxAdditionalProperties: number;
  /** Digits before the point, and after it. Default 15, which doubles hold. */
  readonly maxDigits: number;
  /** White space characters after `{ [ , :` and before `} ]`; 0 for compact JSON. Default 20. */
  readonly maxWhitespace: number;
  /** Allow more members also where `properties` are listed and `additionalProperties` is absent. Default false. */
  readonly openObjects: boolean;
}

export const defaultJsonOptions: JsonOptions = {
  maxStringLength: 4096,
  maxItems: 256,
  maxAdditionalProperties: 64,
  maxDigits: 15,
  maxWhitespace: 20,
  openObjects: false,
};

/** What the numbers among them are at least; 0 where nothing stands here. */
export const leastJsonOptions = { maxStringLength: 1, maxDigits: 1 } as const;

const typeNames = ["null", "boolean", "object", "array", "string", "number", "integer"] as const;
type TypeName = (typeof typeNames)[number];
/** Patterns of patternProperties at one object: every subset of them may match a name. */
const maxPatterns = 4;

/**
 * JSON Schema (2020-12, and what draft 7 shares with it) as rules. Objects are written with their members in the order of the
 * schema. What the grammar gives is always valid; what is not supported is refused.
 *
 * @throws OptionError for a malformed schema, UnsupportedError (with a JSON pointer) for what is not supported
 */
export function schemaRules(schema: JsonValue, options: JsonOptions, budget: Budget): RuleSet {
  return new SchemaCompiler(schema, options, budget).compile();
}

/**
 * A value is described by a *conjunction*: all schemas that it must satisfy at once. References and `allOf` add to it, `anyOf`
 * and `oneOf` make one conjunction per alternative. A conjunction is named after its pointers, so that recursion meets itself.
 */
type Conjunction = readonly SchemaNode[];

class SchemaCompiler {
  readonly #document: SchemaDocument;
  readonly #options: JsonOptions;
  readonly #budget: Budget;
  readonly #rules = new Map<string, Expression>();
  readonly #pending: { readonly name: string; readonly conjunction: Conjunction }[] = [];
  readonly #character: Expression;
  readonly #space: Expression;
  readonly #comma: Expression;

  constructor(schema: JsonValue, options: JsonOptions, budget: Budget) {
    this.#document = new SchemaDocument(schema, budget);
    this.#options = options;
    this.#budget = budget;
    this.#character = jsonCharacter(budget);
    const blank = choice(byteRange(0x09, 0x0a), byteRange(0x0d, 0x0d), byteRange(0x20, 0x20));
    this.#space = options.maxWhitespace === 0 ? empty : repeat(blank, 0, options.maxWhitespace);
    this.#comma = sequence(literal(","), this.#space);
  }

  compile(): RuleSet {
    const root = this.#ruleName(this.#flatten([this.#document.root]));
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) {
      this.#rules.set(next.name, this.#value(next.conjunction));
    }
    return { root, rules: this.#rules };
  }

  /** A reference to the rule for what satisfies all schemas. */
  #reference(schemas: readonly SchemaNode[]): Expression {
    return rule(this.#ruleName(this.#flatten(schemas)));
  }

  /** The rule for a conjunction, which is compiled later if it is new. */
  #ruleName(conjunction: Conjunction): string {
    const pointers = conjunction.map(({ pointer, isSettled }) => pointer + (isSettled ? "*" : ""));
    const name = pointers.length === 0 ? "any value" : pointers.join(" & ");
    if (!this.#rules.has(name)) {
      this.#budget.work(500 + 100 * conjunction.length);
      this.#rules.set(name, nothing); // known; its body follows
      this.#pending.push({ name, conjunction });
    }
    return name;
  }

  /**
   * Adds schemas to a conjunction: follows `$ref` and `allOf`; drops `true`; keeps each schema once, in order of its pointer.
   * @throws OptionError for a schema that contains itself without a property or item between
   */
  #flatten(schemas: readonly SchemaNode[], conjunction: Conjunction = []): Conjunction {
    this.#budget.work(20 * (conjunction.length + schemas.length));
    const found = new Map(conjunction.map((node) => [node.pointer, node]));
    const visit = (node: SchemaNode, path: readonly string[]): void => {
      this.#budget.work(1);
      if (node.schema === true) return;
      if (path.includes(node.pointer) || found.get(node.pointer)?.isSettled) {
        throw new OptionError(node.pointer, "the schema refers to itself without end");
      }
      if (found.has(node.pointer)) return;
      if (node.schema !== false) {
        const inner = [...path, node.pointer];
        const reference = text(node, "$ref");
        if (reference !== undefined) visit(this.#document.resolve(node, reference), inner);
        for (const index of (nonEmptyList(node, "allOf") ?? []).keys()) visit(this.#document.child(node, "allOf", index), inner);
      }
      found.set(node.pointer, node);
    };
    for (const node of schemas) visit(node, []);
    return [...found.values()].sort((a, b) => (a.pointer < b.pointer ? -1 : 1));
  }

  #value(conjunction: Conjunction): Expression {
    if (conjunction.some(({ schema }) => schema === false)) return nothing;
    const open = conjunction.find((node) => !node.isSettled && (this.#has(node, "anyOf") || this.#has(node, "oneOf")));
    if (open) return this.#alternatives(open, conjunction);
    const values = this.#enumeration(conjunction);
    if (values) return choice(...values.map((value) => literal(JSON.stringify(value))));
    const types = this.#types(conjunction);
    const parts: Expression[] = [];
    if (types.has("null")) parts.push(literal("null"));
    if (types.has("boolean")) parts.push(literal("true"), literal("false"));
    if (types.has("number")) parts.push(numberExpression(this.#bounds(conjunction), this.#options.maxDigits, this.#budget));
    else if (types.has("integer")) parts.push(integerExpression(this.#bounds(conjunction), this.#options.maxDigits, this.#budget));
    if (types.has("string")) parts.push(this.#string(conjunction));
    if (types.has("array")) parts.push(this.#array(conjunction));
    if (types.has("object")) parts.push(this.#object(conjunction));
    return choice(...parts);
  }

  #has({ schema }: SchemaNode, name: string): boolean {
    return typeof schema === "object" && Object.hasOwn(schema, name);
  }

  /** One alternative of each anyOf and oneOf of a node joins the rest. */
  #alternatives(node: SchemaNode, conjunction: Conjunction): Expression {
    const rest = conjunction.map((other) => (other === node ? { ...node, isSettled: true } : other));
    let combined: SchemaNode[][] = [[]];
    for (const name of ["anyOf", "oneOf"]) {
      const branches = nonEmptyList(node, name)?.map((_, index) => this.#document.child(node, name, index));
      if (!branches) continue;
      if (name === "oneOf") this.#checkDisjoint(node, rest, branches);
      this.#budget.work(100 * combined.length * branches.length);
      combined = combined.flatMap((chosen) => branches.map((branch) => [...chosen, branch]));
    }
    return choice(...combined.map((chosen) => rule(this.#ruleName(this.#flatten(chosen, rest)))));
  }

  /** @throws UnsupportedError unless no value can satisfy two of the branches */
  #checkDisjoint(node: SchemaNode, rest: Conjunction, branches: readonly SchemaNode[]): void {
    const flat = branches.map((branch) => this.#flatten([branch], rest));
    for (const [index, a] of flat.entries()) {
      for (let other = 0; other < index; other++) {
        this.#budget.work(100);
        if (this.#areDisjoint(a, flat[other]!, 4)) continue;
        throw new UnsupportedError(
          `${node.pointer}/oneOf: alternatives ${other} and ${index} may both hold; give them a required property with different constants, or use anyOf`,
        );
      }
    }
  }

  /** Whether it is plain that no value satisfies both. Looks `depth` properties deep. */
  #areDisjoint(a: Conjunction, b: Conjunction, depth: number): boolean {
    this.#budget.work(10);
    if ([...a, ...b].some(({ schema }) => schema === false)) return true;
    const [typesA, typesB] = [this.#types(a), this.#types(b)];
    const common = [...typesA].filter((type) => typesB.has(type));
    if (common.length === 0) return true;
    const [valuesA, valuesB] = [this.#constants(a), this.#constants(b)];
    if (valuesA && valuesB) {
      const texts = new Set(valuesA.map(canonical));
      return !valuesB.some((value) => texts.has(canonical(value)));
    }
    if (common.every((type) => type === "integer" || type === "number")) {
      const [boundsA, boundsB] = [this.#bounds(a), this.#bounds(b)];
      return isBelow(boundsA, boundsB) || isBelow(boundsB, boundsA);
    }
    if (common.length > 1 || common[0] !== "object" || depth === 0) return false;
    const [requiredA, requiredB] = [this.#required(a), this.#required(b)];
    for (const key of new Set([...requiredA, ...requiredB])) {
      const [propertyA, propertyB] = [this.#property(a, key), this.#property(b, key)].map((nodes) => this.#flatten(nodes)) as [
        Conjunction,
        Conjunction,
      ];
      const isImpossible = [propertyA, propertyB].some((nodes) => nodes.some(({ schema }) => schema === false));
      if (isImpossible) return true;
      if (requiredA.has(key) && requiredB.has(key) && this.#areDisjoint(propertyA, propertyB, depth - 1)) return true;
    }
    return false;
  }

  #types(conjunction: Conjunction): Set<TypeName> {
    let types = new Set<TypeName>(typeNames);
    for (const node of conjunction) {
      const declared = this.#has(node, "type") ? (node.schema as JsonObject).type! : undefined;
      if (declared === undefined) continue;
      const names = Array.isArray(declared) ? declared : [declared];
      if (names.length === 0 || !names.every((name) => (typeNames as readonly unknown[]).includes(name))) {
        throw new OptionError(
          `${node.pointer}/type`,
          `must be one of ${typeNames.join(", ")} or a list of them, not ${JSON.stringify(declared)}`,
        );
      }
      const allowed = new Set(names as TypeName[]);
      if (allowed.has("number")) allowed.add("integer");
      types = new Set([...types].filter((type) => allowed.has(type)));
    }
    return types;
  }

  /** Values that every enum and const of the conjunction has. */
  #constants(conjunction: Conjunction): JsonValue[] | undefined {
    let values: readonly JsonValue[] | undefined;
    for (const node of conjunction) {
      const lists = [list(node, "enum"), this.#has(node, "const") ? [(node.schema as JsonObject).const!] : undefined];
      for (const allowed of lists) {
        if (!allowed) continue;
        const texts = new Set(allowed.map(canonical));
        this.#budget.work(texts.size);
        values = (values ?? allowed).filter((value) => texts.has(canonical(value)));
      }
    }
    return values && [...new Map(values.map((value) => [canonical(value), value])).values()];
  }

  /** {@link #constants}, those of an allowed type. @throws UnsupportedError if other keywords restrict them further */
  #enumeration(conjunction: Conjunction): JsonValue[] | undefined {
    const values = this.#constants(conjunction);
    if (!values) return undefined;
    for (const { schema, pointer } of conjunction) {
      const extra = Object.keys(schema).find((name) => assertions.has(name));
      if (extra) throw new UnsupportedError(`${pointer}/${extra}: beside enum or const only type is supported`);
    }
    const types = this.#types(conjunction);
    return values.filter((value) => types.has(typeOf(value)));
  }

  #bounds(conjunction: Conjunction): NumberBounds {
    let min: number | undefined;
    let max: number | undefined;
    let isMinExclusive = false;
    let isMaxExclusive = false;
    for (const node of conjunction) {
      for (const [value, isExclusive] of [
        [numeric(node, "minimum"), false],
        [numeric(node, "exclusiveMinimum"), true],
      ] as const) {
        if (value === undefined || (min !== undefined && (value < min || (value === min && !isExclusive)))) continue;
        min = value;
        isMinExclusive = isExclusive;
      }
      for (const [value, isExclusive] of [
        [numeric(node, "maximum"), false],
        [numeric(node, "exclusiveMaximum"), true],
      ] as const) {
        if (value === undefined || (max !== undefined && (value > max || (value === max && !isExclusive)))) continue;
        max = value;
        isMaxExclusive = isExclusive;
      }
    }
    const multipleOf = conjunction.flatMap((node) => {
      const value = numeric(node, "multipleOf");
      return value === undefined ? [] : [{ value, pointer: `${node.pointer}/multipleOf` }];
    });
    return { min, max, isMinExclusive, isMaxExclusive, multipleOf, pointer: conjunction[0]?.pointer ?? "#" };
  }

  #string(conjunction: Conjunction): Expression {
    const min = Math.max(0, ...conjunction.map((node) => count(node, "minLength") ?? 0));
    const max = Math.min(...conjunction.map((node) => count(node, "maxLength") ?? Number.POSITIVE_INFINITY));
    if (min > max) return nothing;
    const patterns = conjunction.flatMap((node) => {
      const pattern = text(node, "pattern");
      const format = text(node, "format");
      const found = [];
      if (pattern !== undefined) found.push({ source: pattern, isWhole: false, where: `${node.pointer}/pattern` });
      if (format !== undefined) {
        const where = `${node.pointer}/format`;
        found.push({ source: formatPattern(format, where), isWhole: true, where });
      }
      return found;
    });
    const quote = literal('"');
    if (patterns.length > 0) {
      return sequence(quote, { kind: "automaton", dfa: stringLanguage(patterns, min, max, this.#budget) }, quote);
    }
    const longest = max === Number.POSITIVE_INFINITY ? Math.max(min, this.#options.maxStringLength) : max;
    return sequence(quote, repeat(this.#character, min, longest), quote);
  }

  #array(conjunction: Conjunction): Expression {
    for (const node of conjunction) {
      if (this.#has(node, "uniqueItems") && (node.schema as JsonObject).uniqueItems !== false) {
        throw new UnsupportedError(`${node.pointer}/uniqueItems: true is not supported`);
      }
      if (Array.isArray((node.schema as JsonObject).items)) {
        throw new UnsupportedError(`${node.pointer}/items: a list of schemas is draft 7; write prefixItems`);
      }
    }
    const prefixes = conjunction.map((node) => list(node, "prefixItems") ?? []);
    const itemAt = (index: number): Conjunction =>
      conjunction.flatMap((node, i) => {
        if (index < prefixes[i]!.length) return this.#document.child(node, "prefixItems", index);
        return this.#has(node, "items") ? this.#document.child(node, "items") : [];
      });
    const isImpossible = (item: Conjunction): boolean => this.#flatten(item).some(({ schema }) => schema === false);
    let numPrefix = Math.max(0, ...prefixes.map((prefix) => prefix.length));
    const min = Math.max(0, ...conjunction.map((node) => count(node, "minItems") ?? 0));
    let max = Math.min(...conjunction.map((node) => count(node, "maxItems") ?? Number.POSITIVE_INFINITY));
    for (let index = 0; index <= numPrefix; index++) {
      if (isImpossible(itemAt(index))) max = Math.min(max, index);
    }
    if (min > max) return nothing;
    if (max === Number.POSITIVE_INFINITY) max = Math.max(min, numPrefix, this.#options.maxItems);
    numPrefix = Math.min(numPrefix, max);

    // From the end: what may follow the first `index` items.
    const further = max > numPrefix ? sequence(this.#comma, this.#reference(itemAt(numPrefix))) : nothing;
    let rest: Expression =
      max > numPrefix ? repeat(further, Math.max(0, min - Math.max(numPrefix, 1)), max - Math.max(numPrefix, 1)) : empty;
    if (numPrefix === 0) {
      rest = max === 0 ? empty : sequence(this.#reference(itemAt(0)), rest);
      if (min === 0) rest = optional(rest);
    }
    for (let index = numPrefix - 1; index >= 0; index--) {
      const item = sequence(index === 0 ? empty : this.#comma, this.#reference(itemAt(index)), rest);
      rest = index >= min ? optional(item) : item;
    }
    return sequence(literal("["), this.#space, rest, this.#space, literal("]"));
  }

  #required(conjunction: Conjunction): Set<string> {
    return new Set(conjunction.flatMap((node) => strings(node, "required") ?? []));
  }

  /** All schemas that the member `key` must satisfy. */
  #property(conjunction: Conjunction, key: string): Conjunction {
    return conjunction.flatMap((node) => {
      const found: SchemaNode[] = [];
      const properties = object(node, "properties");
      if (properties && Object.hasOwn(properties, key)) found.push(this.#document.child(node, "properties", key));
      for (const pattern of Object.keys(object(node, "patternProperties") ?? {})) {
        if (accepts(this.#keyPattern(node, pattern, writeUtf8), new TextEncoder().encode(key))) {
          found.push(this.#document.child(node, "patternProperties", pattern));
        }
      }
      if (found.length === 0 && this.#has(node, "additionalProperties")) found.push(this.#document.child(node, "additionalProperties"));
      return found;
    });
  }

  #keyPattern(node: SchemaNode, pattern: string, write: typeof writeUtf8): ByteDfa {
    const where = `${node.pointer}/patternProperties`;
    return regularAutomaton(parseRegex(pattern, { write, search: true, where }, this.#budget), this.#budget);
  }

  #object(conjunction: Conjunction): Expression {
    const required = this.#required(conjunction);
    const keys = new Set([...conjunction.flatMap((node) => Object.keys(object(node, "properties") ?? {})), ...required]);
    const members: ListMember[] = [];
    for (const key of keys) {
      const schemas = this.#property(conjunction, key);
      const isImpossible = this.#flatten(schemas).some(({ schema }) => schema === false);
      if (isImpossible && required.has(key)) return nothing;
      if (!isImpossible) members.push({ body: this.#member(literal(JSON.stringify(key)), schemas), isRequired: required.has(key) });
    }
    const additional = this.#additional(conjunction, keys);
    const min = Math.max(0, ...conjunction.map((node) => count(node, "minProperties") ?? 0));
    const max = Math.min(...conjunction.map((node) => count(node, "maxProperties") ?? Number.POSITIVE_INFINITY));
    const body = this.#members(members, additional, min, max, conjunction);
    return sequence(literal("{"), this.#space, body, this.#space, literal("}"));
  }

  #member(key: Expression, schemas: Conjunction): Expression {
    return sequence(key, literal(":"), this.#space, this.#reference(schemas));
  }

  #members(
    members: readonly ListMember[],
    additional: Expression | undefined,
    min: number,
    max: number,
    conjunction: Conjunction,
  ): Expression {
    const numRequired = members.filter(({ isRequired }) => isRequired).length;
    const most = this.#options.maxAdditionalProperties;
    /** `low` to `high` members with names of their own choice, with separators between them. */
    const more = (low: number, high: number): Expression => {
      if (!additional || high <= 0) return low === 0 ? empty : nothing;
      const some = sequence(additional, repeat(sequence(this.#comma, additional), 0, high - 1));
      return low === 0 ? optional(some) : some;
    };
    if (min <= numRequired && max >= members.length + (additional ? most : 0)) {
      const tail = additional ? [{ body: more(1, most), isRequired: false }] : [];
      return { kind: "list", members: [...members, ...tail], separator: this.#comma };
    }
    // Two members of free choice may have one name and count as one, so free members can't make up for more than one.
    if (additional && min > members.length + 1) {
      throw new UnsupportedError(`${conjunction[0]!.pointer}/minProperties: more than the listed properties and one more is not supported`);
    }
    // tails[n]: what may follow after member `index - 1` when n members are there.
    let tails = Array.from({ length: members.length + 1 }, (_, present) => {
      if (present > max) return nothing;
      const room = Math.min(most, max - present);
      const rest = more(Math.max(0, min - present) > 0 ? 1 : 0, room);
      if (min - present > 1) return nothing;
      return present === 0 || !additional
        ? rest
        : min > present
          ? sequence(this.#comma, rest)
          : optional(sequence(this.#comma, more(1, room)));
    });
    for (let index = members.length - 1; index >= 0; index--) {
      const { body, isRequired } = members[index]!;
      tails = Array.from({ length: index + 1 }, (_, present) => {
        this.#budget.work(100);
        const taken = sequence(present === 0 ? empty : this.#comma, body, tails[present + 1]!);
        return this.#share(isRequired ? taken : choice(taken, tails[present]!));
      });
    }
    return tails[0]!;
  }

  /** A rule of its own for an expression that is used in several places. */
  #share(body: Expression): Expression {
    const name = `members ${this.#rules.size}`;
    this.#rules.set(name, body);
    return rule(name);
  }

  /** A member that is not listed; undefined if there may be none. */
  #additional(conjunction: Conjunction, keys: ReadonlySet<string>): Expression | undefined {
    const says = (name: string): boolean => conjunction.some((node) => this.#has(node, name));
    const patterns = [...new Set(conjunction.flatMap((node) => Object.keys(object(node, "patternProperties") ?? {})))];
    if (patterns.length > maxPatterns) {
      throw new UnsupportedError(`${conjunction[0]!.pointer}/patternProperties: more than ${maxPatterns} patterns are not supported`);
    }
    const isClosed = (keys.size > 0 || patterns.length > 0) && !this.#options.openObjects && !says("additionalProperties");
    const quote = literal('"');
    const character = writeJson(anyCodePoint, this.#budget);
    const longest = this.#options.maxAdditionalProperties;
    const schemasFor = (matched: ReadonlySet<string>): Conjunction =>
      conjunction.flatMap((node) => {
        const own = Object.keys(object(node, "patternProperties") ?? {}).filter((pattern) => matched.has(pattern));
        if (own.length > 0) return own.map((pattern) => this.#document.child(node, "patternProperties", pattern));
        if (this.#has(node, "additionalProperties")) return this.#document.child(node, "additionalProperties");
        return [];
      });
    const parts: Expression[] = [];
    const unit = regularAutomaton(character, this.#budget);
    let names: ByteDfa | undefined;
    if (keys.size > 0 || patterns.length > 0) {
      names = regularAutomaton(repeat(character, 0, Number.POSITIVE_INFINITY), this.#budget);
      const listed = choice(...Array.from(keys, (key) => literal(JSON.stringify(key).slice(1, -1))));
      names = difference(names, regularAutomaton(listed, this.#budget), this.#budget);
    }
    for (let subset = 0; subset < 2 ** patterns.length; subset++) {
      const matched = new Set(patterns.filter((_, index) => (subset >> index) & 1));
      const schemas = schemasFor(matched);
      if (matched.size === 0 && isClosed) continue;
      if (this.#flatten(schemas).some(({ schema }) => schema === false)) continue;
      if (!names) {
        parts.push(this.#member(sequence(quote, repeat(character, 0, longest), quote), schemas));
        continue;
      }
      let own = names;
      for (const pattern of patterns) {
        const holder = conjunction.find((node) => Object.hasOwn(object(node, "patternProperties") ?? {}, pattern))!;
        const automaton = this.#keyPattern(holder, pattern, writeJson);
        own = matched.has(pattern) ? intersection(own, automaton, this.#budget) : difference(own, automaton, this.#budget);
      }
      if (isEmptyLanguage(own)) continue;
      own = countUnits(own, unit, 0, longest, this.#budget);
      parts.push(this.#member(sequence(quote, { kind: "automaton", dfa: own }, quote), schemas));
    }
    return parts.length === 0 ? undefined : choice(...parts);
  }
}

function typeOf(value: JsonValue): TypeName {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value as "boolean" | "string" | "object";
}

function isBelow(a: NumberBounds, b: NumberBounds): boolean {
  if (a.max === undefined || b.min === undefined) return false;
  return a.max < b.min || (a.max === b.min && (a.isMaxExclusive || b.isMinExclusive));
}
