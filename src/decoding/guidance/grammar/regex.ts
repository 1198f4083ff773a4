import { OptionError, UnsupportedError } from "../../../errors.ts";
import { anyCodePoint, type CharacterWriter, type CodePoints, codePoints, complement } from "./characters.ts";
import { choice, type Expression, empty, optional, repeat, sequence } from "./expression.ts";
import type { Budget } from "./limits.ts";

export interface RegexOptions {
  /** How characters become bytes. */
  readonly write: CharacterWriter;
  /** Whether the pattern may match anywhere in the text (as JSON Schema's `pattern` does) or must match all of it. */
  readonly search: boolean;
  /** What errors call the pattern, e.g. a JSON pointer. */
  readonly where: string;
}

/**
 * An ECMAScript regular expression (flag `u`) as an expression. Greedy and lazy are the same language. `^` and `$` may stand at
 * the ends of the pattern's outermost alternatives.
 *
 * @throws OptionError for a syntax error, UnsupportedError for look-around, back-references, word boundaries, inline flags
 */
export function parseRegex(pattern: string, options: RegexOptions, budget: Budget): Expression {
  return new RegexParser(pattern, options, budget).parse();
}

const digits = codePoints([[0x30, 0x39]]);
const wordCharacters = codePoints([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
/** ECMAScript's WhiteSpace and LineTerminator. */
const spaces = codePoints([
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]);
const lineTerminators = codePoints([
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
]);
const shorthands: Readonly<Record<string, CodePoints>> = {
  d: digits,
  D: complement(digits),
  w: wordCharacters,
  W: complement(wordCharacters),
  s: spaces,
  S: complement(spaces),
};
const controls: Readonly<Record<string, number>> = { t: 0x09, n: 0x0a, v: 0x0b, f: 0x0c, r: 0x0d, b: 0x08 };

class RegexParser {
  readonly #characters: readonly string[];
  readonly #options: RegexOptions;
  readonly #budget: Budget;
  #at = 0;

  constructor(pattern: string, options: RegexOptions, budget: Budget) {
    this.#characters = Array.from(pattern);
    this.#options = options;
    this.#budget = budget;
  }

  parse(): Expression {
    const anything = repeat(this.#options.write(anyCodePoint, this.#budget), 0, Number.POSITIVE_INFINITY);
    const alternatives: Expression[] = [];
    do {
      const isStartAnchored = this.#eat("^");
      const body = this.#sequence(0);
      const isEndAnchored = this.#eat("$");
      if (this.#peek() !== undefined && this.#peek() !== "|") this.#unexpected();
      const before = this.#options.search && !isStartAnchored ? anything : empty;
      const after = this.#options.search && !isEndAnchored ? anything : empty;
      alternatives.push(sequence(before, body, after));
    } while (this.#eat("|"));
    return choice(...alternatives);
  }

  #alternation(depth: number): Expression {
    this.#budget.depth(depth);
    const alternatives = [this.#sequence(depth)];
    while (this.#eat("|")) alternatives.push(this.#sequence(depth));
    return choice(...alternatives);
  }

  #sequence(depth: number): Expression {
    const parts: Expression[] = [];
    for (let next = this.#peek(); next !== undefined && next !== "|" && next !== ")"; next = this.#peek()) {
      if (next === "$" && depth === 0) break;
      parts.push(this.#quantified(this.#atom(depth)));
    }
    return sequence(...parts);
  }

  #quantified(body: Expression): Expression {
    const [min, max] = this.#quantifier() ?? [];
    if (min === undefined || max === undefined) return body;
    this.#eat("?"); // lazy: the same language
    if (this.#quantifier()) this.#fail("a quantifier follows a quantifier");
    return min === 0 && max === 1 ? optional(body) : repeat(body, min, max);
  }

  #quantifier(): readonly [number, number] | undefined {
    if (this.#eat("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#eat("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#eat("?")) return [0, 1];
    if (!this.#eat("{")) return undefined;
    const min = this.#integer();
    const max = this.#eat(",") ? (this.#peek() === "}" ? Number.POSITIVE_INFINITY : this.#integer()) : min;
    this.#expect("}");
    if (max < min) this.#fail(`the repetition {${min},${max}} has its bounds in the wrong order`);
    return [min, max];
  }

  #integer(): number {
    let text = "";
    for (let next = this.#peek(); next !== undefined && /[0-9]/.test(next); next = this.#peek()) text += this.#next();
    if (text === "") this.#fail("a repetition {n}, {n,} or {n,m} was expected");
    const value = Number(text);
    this.#budget.repeat(value);
    return value;
  }

  #atom(depth: number): Expression {
    const next = this.#next();
    switch (next) {
      case "(":
        return this.#group(depth);
      case "[":
        return this.#write(this.#class());
      case ".":
        return this.#write(complement(lineTerminators));
      case "\\":
        return this.#write(this.#escape(false));
      case "^":
      case "$":
        throw new UnsupportedError(
          `${this.#options.where}: ${next} at character ${this.#at - 1} is not at an end of an outermost alternative; only there anchors are supported`,
        );
      case "*":
      case "+":
      case "?":
      case "{":
      case "}":
      case "]":
        this.#at--;
        return this.#unexpected();
      default:
        return this.#write(this.#codePoint(next));
    }
  }

  #group(depth: number): Expression {
    if (this.#eat("?")) {
      const kind = this.#next();
      if (kind === "=" || kind === "!") this.#unsupported(`look-ahead (?${kind}`);
      else if (kind === "<") {
        const after = this.#next();
        if (after === "=" || after === "!") this.#unsupported(`look-behind (?<${after}`);
        while (this.#next() !== ">"); // the group's name
      } else if (kind !== ":") this.#unsupported(`the group (?${kind}`);
    }
    const body = this.#alternation(depth + 1);
    this.#expect(")");
    return body;
  }

  /** After `[`. */
  #class(): CodePoints {
    const isNegated = this.#eat("^");
    const ranges: (readonly [number, number])[] = [];
    while (!this.#eat("]")) {
      const first = this.#classMember();
      if (this.#peek() === "-" && this.#characters[this.#at + 1] !== "]") {
        this.#next();
        const last = this.#classMember();
        const [from, to] = [single(first), single(last)];
        if (from === undefined || to === undefined) return this.#fail("a range in a class needs a single character at each end");
        if (to < from) return this.#fail("a range in a class has its ends in the wrong order");
        ranges.push([from, to]);
      } else {
        ranges.push(...first);
      }
    }
    const set = codePoints(ranges);
    return isNegated ? complement(set) : set;
  }

  #classMember(): CodePoints {
    const next = this.#next();
    return next === "\\" ? this.#escape(true) : this.#codePoint(next);
  }

  /** After a backslash. */
  #escape(inClass: boolean): CodePoints {
    const next = this.#next();
    const shorthand = shorthands[next];
    if (shorthand) return shorthand;
    if (next === "p" || next === "P") return this.#property(next === "P");
    if ((next === "b" && !inClass) || next === "B") this.#unsupported(`the word boundary \\${next}`);
    if (next === "k" || /[1-9]/.test(next)) this.#unsupported(`the back-reference \\${next}`);
    const control = controls[next];
    if (control !== undefined) return one(control);
    if (next === "0") {
      if (/[0-9]/.test(this.#peek() ?? "")) this.#fail("octal escapes are not part of the language");
      return one(0);
    }
    if (next === "c") {
      const letter = this.#next();
      if (!/[A-Za-z]/.test(letter)) this.#fail(`\\c${letter} is no control character`);
      return one(letter.charCodeAt(0) % 32);
    }
    if (next === "x") return one(this.#hex(2));
    if (next === "u") return one(this.#unicodeEscape());
    if (/[A-Za-z]/.test(next)) this.#fail(`unknown escape \\${next}`);
    return this.#codePoint(next);
  }

  #unicodeEscape(): number {
    if (this.#eat("{")) {
      let text = "";
      for (let next = this.#next(); next !== "}"; next = this.#next()) text += next;
      const value = Number.parseInt(text, 16);
      if (!/^[0-9a-fA-F]{1,8}$/.test(text) || value > 0x10ffff) this.#fail(`\\u{${text}} is no code point`);
      return this.#scalar(value);
    }
    const unit = this.#hex(4);
    if (unit < 0xd800 || unit > 0xdbff || this.#peek() !== "\\" || this.#characters[this.#at + 1] !== "u") return this.#scalar(unit);
    this.#at += 2;
    const low = this.#hex(4);
    if (low < 0xdc00 || low > 0xdfff) this.#fail("a lone surrogate is no character");
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
  }

  #hex(length: number): number {
    let text = "";
    for (let i = 0; i < length; i++) text += this.#next();
    if (!/^[0-9a-fA-F]+$/.test(text)) this.#fail(`${text} is no hexadecimal number of ${length} digits`);
    return Number.parseInt(text, 16);
  }

  #property(isNegated: boolean): CodePoints {
    this.#expect("{");
    let name = "";
    for (let next = this.#next(); next !== "}"; next = this.#next()) name += next;
    const set = unicodeProperty(name, this.#budget);
    if (!set) return this.#fail(`\\p{${name}} is no Unicode property`);
    return isNegated ? complement(set) : set;
  }

  #codePoint(character: string): CodePoints {
    return one(this.#scalar(character.codePointAt(0)!));
  }

  #scalar(code: number): number {
    if (code >= 0xd800 && code <= 0xdfff) this.#fail("a lone surrogate is no character");
    return code;
  }

  #write(set: CodePoints): Expression {
    this.#budget.work(set.length);
    return this.#options.write(set, this.#budget);
  }

  #peek(): string | undefined {
    return this.#characters[this.#at];
  }

  #next(): string {
    const next = this.#characters[this.#at++];
    if (next === undefined) this.#fail("the pattern ends too early");
    return next!;
  }

  #eat(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#eat(character)) this.#unexpected(`; ${character} was expected`);
  }

  #unexpected(hint = ""): never {
    return this.#fail(`${this.#peek() ?? "the end"} is not allowed here${hint}`);
  }

  #fail(message: string): never {
    throw new OptionError(this.#options.where, `bad regular expression at character ${this.#at}: ${message}`);
  }

  #unsupported(what: string): never {
    throw new UnsupportedError(`${this.#options.where}: ${what} in a regular expression is not supported: it is not regular, or not text`);
  }
}

function one(code: number): CodePoints {
  return [[code, code]];
}

function single(set: CodePoints): number | undefined {
  return set.length === 1 && set[0]![0] === set[0]![1] ? set[0]![0] : undefined;
}

/** The code points of `\p{name}` as this JavaScript engine's Unicode version has them; undefined for an unknown name. */
function unicodeProperty(name: string, budget: Budget): CodePoints | undefined {
  if (!/^[A-Za-z_]+(=[A-Za-z_0-9]+)?$/.test(name)) return undefined;
  let runs: RegExp;
  try {
    runs = new RegExp(`\\p{${name}}+`, "gu");
  } catch {
    return undefined; // a SyntaxError is how the engine says that there is no such property
  }
  const utf16 = new TextDecoder("utf-16le", { ignoreBOM: true });
  const ranges: [number, number][] = [];
  const chunk = 0x800;
  for (let base = 0; base <= 0x10ffff; base += chunk) {
    budget.work(chunk);
    if (base >= 0xd800 && base <= 0xdfff) continue; // chunks don't straddle the surrogates
    const unitsPerCharacter = base > 0xffff ? 2 : 1;
    const units = new Uint16Array(chunk * unitsPerCharacter);
    for (let index = 0; index < chunk; index++) {
      const code = base + index;
      if (unitsPerCharacter === 1) {
        units[index] = code;
      } else {
        units[2 * index] = 0xd800 + ((code - 0x10000) >> 10);
        units[2 * index + 1] = 0xdc00 + (code & 0x3ff);
      }
    }
    const text = utf16.decode(units);
    for (const match of text.matchAll(runs)) {
      const first = base + match.index / unitsPerCharacter;
      ranges.push([first, first + match[0].length / unitsPerCharacter - 1]);
    }
  }
  return codePoints(ranges);
}
