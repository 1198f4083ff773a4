import { OptionError, UnsupportedError } from "../../../errors.ts";
import { anyCodePoint, codePoints, complement, writeUtf8 } from "./characters.ts";
import { choice, type Expression, literal, type RuleSet, repeat, rule, sequence } from "./expression.ts";
import type { Budget } from "./limits.ts";
import { defaultJsonOptions, type JsonOptions, schemaRules } from "./schema.ts";
import type { JsonValue } from "./schema-nodes.ts";

/**
 * llama.cpp's GBNF: rules `name ::= alternatives`, literals, classes, `.`, groups, `* + ? {m} {m,} {m,n}`, comments. The start
 * is `root`. A rule goes on over a line end inside parentheses and after `|` or `::=`. And beyond llama.cpp's, as in llguidance's
 * grammars: `%json { … }` stands for JSON text that is valid under the schema.
 *
 * @param options  how that JSON is written; given without any `%json` they are refused
 * @throws OptionError for a syntax error or a malformed schema, UnsupportedError for token references `<…>` or a schema's feature
 */
export function parseGbnf(text: string, options: Partial<JsonOptions>, budget: Budget): RuleSet {
  return new GbnfParser(text, options, budget).parse();
}

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\", "[": "[", "]": "]" };
const hexEscapes: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

class GbnfParser {
  readonly #characters: readonly string[];
  readonly #options: Partial<JsonOptions>;
  readonly #budget: Budget;
  readonly #rules = new Map<string, Expression>();
  #numSchemas = 0;
  #at = 0;

  constructor(text: string, options: Partial<JsonOptions>, budget: Budget) {
    this.#characters = Array.from(text);
    this.#options = options;
    this.#budget = budget;
  }

  parse(): RuleSet {
    const rules = this.#rules;
    this.#space(true);
    while (this.#peek() !== undefined) {
      const name = this.#name();
      this.#space(false);
      for (const character of "::=") if (!this.#eat(character)) this.#fail("::= was expected");
      this.#space(true);
      if (rules.has(name)) this.#fail(`the rule ${name} is defined twice`);
      rules.set(name, this.#alternation(0));
      if (this.#peek() !== undefined && !/[\r\n]/.test(this.#peek()!)) this.#fail(`${this.#peek()} is not allowed here`);
      this.#space(true);
    }
    if (!rules.has("root")) throw new OptionError("gbnf", "there is no rule named root");
    const [option] = Object.keys(this.#options);
    if (option !== undefined && this.#numSchemas === 0) throw new OptionError("gbnf", `${option} is about JSON, and there is no %json`);
    return { root: "root", rules };
  }

  #alternation(depth: number): Expression {
    this.#budget.depth(depth);
    const alternatives = [this.#sequence(depth)];
    while (this.#eat("|")) {
      this.#space(true);
      alternatives.push(this.#sequence(depth));
    }
    return choice(...alternatives);
  }

  #sequence(depth: number): Expression {
    const parts: Expression[] = [];
    for (let next = this.#peek(); next !== undefined && !/[|)\r\n]/.test(next); next = this.#peek()) {
      let item = this.#item(depth);
      this.#space(depth > 0);
      for (let bounds = this.#quantifier(); bounds; bounds = this.#quantifier()) {
        item = repeat(item, ...bounds);
        this.#space(depth > 0);
      }
      parts.push(item);
    }
    return sequence(...parts);
  }

  #item(depth: number): Expression {
    const next = this.#peek()!;
    if (/[A-Za-z0-9_-]/.test(next)) return rule(this.#name());
    this.#at++;
    switch (next) {
      case '"': {
        let text = "";
        while (!this.#eat('"')) text += this.#character();
        return literal(text);
      }
      case "[":
        return this.#class();
      case ".":
        return writeUtf8(anyCodePoint, this.#budget);
      case "(": {
        this.#space(true);
        const body = this.#alternation(depth + 1);
        if (!this.#eat(")")) this.#fail(") was expected");
        return body;
      }
      case "%":
        return this.#schema();
      case "<":
      case "!":
        throw new UnsupportedError(
          `gbnf: a token reference (${next}) at character ${this.#at - 1} is not supported; write the token's text`,
        );
      default:
        return this.#fail(`${next} is not allowed here`);
    }
  }

  /** After `%`: the schema's rules join the grammar's, under names that no rule of a grammar can have. */
  #schema(): Expression {
    if (this.#name() !== "json") this.#fail("%json was expected");
    this.#space(true);
    const prefix = `%json ${this.#numSchemas++} `;
    const { root, rules } = schemaRules(this.#json(), { ...defaultJsonOptions, ...this.#options }, this.#budget);
    for (const [name, body] of rules) this.#rules.set(prefix + name, withPrefix(body, prefix));
    return rule(prefix + root);
  }

  /** A JSON object: up to the brace that closes its first one. */
  #json(): JsonValue {
    const start = this.#at;
    let depth = 0;
    for (let isInString = false; this.#peek() !== undefined; this.#at++) {
      const next = this.#peek();
      if (isInString) {
        if (next === "\\") this.#at++;
        else if (next === '"') isInString = false;
      } else if (next === '"') isInString = true;
      else if (next === "{") depth++;
      else if (next === "}") depth--;
      if (depth === 0) break;
    }
    if (!this.#eat("}")) this.#fail("a JSON Schema in braces was expected");
    try {
      return JSON.parse(this.#characters.slice(start, this.#at).join("")) as JsonValue;
    } catch (error) {
      return this.#fail(`the schema is no JSON: ${(error as SyntaxError).message}`);
    }
  }

  #class(): Expression {
    const isNegated = this.#eat("^");
    const ranges: [number, number][] = [];
    while (!this.#eat("]")) {
      const first = this.#character().codePointAt(0)!;
      let last = first;
      if (this.#peek() === "-" && this.#characters[this.#at + 1] !== "]") {
        this.#at++;
        last = this.#character().codePointAt(0)!;
        if (last < first) this.#fail("a range in a class has its ends in the wrong order");
      }
      ranges.push([first, last]);
    }
    const set = codePoints(ranges);
    return writeUtf8(isNegated ? complement(set) : set, this.#budget);
  }

  /** One character of a literal or a class, escapes resolved. */
  #character(): string {
    const next = this.#characters[this.#at++];
    if (next === undefined) this.#fail("the grammar ends inside a literal or a class");
    if (next === "\n" || next === "\r") this.#fail("a literal or a class ends before the line does; write \\n for a line end");
    if (next !== "\\") return this.#checked(next!);
    const kind = this.#characters[this.#at++] ?? "";
    const plain = escapes[kind];
    if (plain !== undefined) return plain;
    const length = hexEscapes[kind];
    if (length === undefined) return this.#fail(`unknown escape \\${kind}`);
    const hex = this.#characters.slice(this.#at, this.#at + length).join("");
    this.#at += length;
    const code = Number.parseInt(hex, 16);
    if (!/^[0-9a-fA-F]+$/.test(hex) || hex.length !== length || code > 0x10ffff) return this.#fail(`\\${kind}${hex} is no code point`);
    return this.#checked(String.fromCodePoint(code));
  }

  #checked(character: string): string {
    const code = character.codePointAt(0)!;
    if (code >= 0xd800 && code <= 0xdfff) this.#fail("a lone surrogate is no character");
    return character;
  }

  #quantifier(): [number, number] | undefined {
    if (this.#eat("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#eat("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#eat("?")) return [0, 1];
    if (!this.#eat("{")) return undefined;
    this.#space(true);
    const min = this.#integer() ?? this.#fail("a number was expected");
    this.#space(true);
    let max: number | undefined = min;
    if (this.#eat(",")) {
      this.#space(true);
      max = this.#integer() ?? Number.POSITIVE_INFINITY;
      this.#space(true);
    }
    if (!this.#eat("}")) this.#fail("} was expected");
    if (max < min) this.#fail(`the repetition {${min},${max}} has its bounds in the wrong order`);
    return [min, max];
  }

  #integer(): number | undefined {
    let text = "";
    while (/[0-9]/.test(this.#peek() ?? "")) text += this.#characters[this.#at++];
    if (text === "") return undefined;
    this.#budget.repeat(Number(text));
    return Number(text);
  }

  #name(): string {
    let name = "";
    while (/[A-Za-z0-9_-]/.test(this.#peek() ?? "")) name += this.#characters[this.#at++];
    if (name === "") this.#fail("a rule's name was expected");
    return name;
  }

  /** Skips blanks and comments, and line ends where they mean nothing. */
  #space(overLines: boolean): void {
    for (let next = this.#peek(); next !== undefined; next = this.#peek()) {
      if (next === "#") while (this.#peek() !== undefined && !/[\r\n]/.test(this.#peek()!)) this.#at++;
      else if (next === " " || next === "\t" || (overLines && /[\r\n]/.test(next))) this.#at++;
      else return;
    }
  }

  #peek(): string | undefined {
    return this.#characters[this.#at];
  }

  #eat(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  #fail(message: string): never {
    const line = this.#characters.slice(0, this.#at).filter((character) => character === "\n").length + 1;
    throw new OptionError("gbnf", `line ${line}: ${message}`);
  }
}

/** An expression whose rules are named `prefix` + their name. */
function withPrefix(expression: Expression, prefix: string): Expression {
  const inner = (part: Expression) => withPrefix(part, prefix);
  switch (expression.kind) {
    case "sequence":
    case "choice":
      return { ...expression, parts: expression.parts.map(inner) };
    case "repeat":
      return { ...expression, body: inner(expression.body) };
    case "list":
      return {
        ...expression,
        members: expression.members.map((member) => ({ ...member, body: inner(member.body) })),
        separator: inner(expression.separator),
      };
    case "rule":
      return rule(prefix + expression.name);
    case "bytes":
    case "automaton":
      return expression;
    default:
      return expression satisfies never;
  }
}
