import { UnsupportedError } from "../../../errors.ts";
import { type ByteDfa, countUnits, intersection } from "./automaton.ts";
import { anyCodePoint, codePoints, complement, writeJson, writeUtf8 } from "./characters.ts";
import { byteRange, choice, type Expression, literal, sequence } from "./expression.ts";
import type { Budget } from "./limits.ts";
import { regularAutomaton } from "./nfa.ts";
import { parseRegex } from "./regex.ts";

const hex = choice(byteRange(0x30, 0x39), byteRange(0x41, 0x46), byteRange(0x61, 0x66));
const letterD = choice(literal("d"), literal("D"));
const hexButD = choice(byteRange(0x30, 0x39), byteRange(0x41, 0x43), byteRange(0x45, 0x46), byteRange(0x61, 0x63), byteRange(0x65, 0x66));

/** One character of a JSON string in any form but surrogate escapes (of which two would make one character). */
export function jsonCharacter(budget: Budget): Expression {
  const plain = complement(
    codePoints([
      [0x00, 0x1f],
      [0x22, 0x22],
      [0x5c, 0x5c],
    ]),
  );
  const unit = choice(sequence(hexButD, hex, hex, hex), sequence(letterD, byteRange(0x30, 0x37), hex, hex));
  const escaped = choice(...Array.from('"\\/bfnrt', (character) => literal(character)), sequence(literal("u"), unit));
  return choice(writeUtf8(plain, budget), sequence(literal("\\"), escaped));
}

/**
 * Texts between the quotes of a JSON string whose value matches all patterns and has `min` to `max` (maybe Infinity) characters.
 * Each value in one form, that of `JSON.stringify`.
 */
export function stringLanguage(
  patterns: readonly { readonly source: string; readonly isWhole: boolean; readonly where: string }[],
  min: number,
  max: number,
  budget: Budget,
): ByteDfa {
  const automata = patterns.map(({ source, isWhole, where }) =>
    regularAutomaton(parseRegex(source, { write: writeJson, search: !isWhole, where }, budget), budget),
  );
  const unit = regularAutomaton(writeJson(anyCodePoint, budget), budget);
  const language = automata.reduce((all, automaton) => intersection(all, automaton, budget));
  return min === 0 && max === Number.POSITIVE_INFINITY ? language : countUnits(language, unit, min, max, budget);
}

const month = "(?:0[1-9]|1[0-2])";
const anyDay = "(?:0[1-9]|1\\d|2[0-8])"; // in every month
const leapYear = "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
const date = [`\\d{4}-${month}-${anyDay}`, "\\d{4}-(?:0[13-9]|1[0-2])-(?:29|30)", "\\d{4}-(?:0[13578]|1[02])-31", `${leapYear}-02-29`].join(
  "|",
);
const clock = "(?:[01]\\d|2[0-3]):[0-5]\\d";
const time = `${clock}:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-]${clock})`;
const octet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const ipv4 = `${octet}(?:\\.${octet}){3}`;
const h16 = "[0-9a-fA-F]{1,4}";
const label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const hostname = `${label}(?:\\.${label}){0,3}`; // at most 255 characters
const atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,32}";
const pathCharacter = "[a-zA-Z0-9._~!$&'()*+,;=:@-]";

/** `::` may stand for one or more groups: before it 0 to 6, after it as many as fit. */
function ipv6(): string {
  const forms = [`(?:${h16}:){7}${h16}`];
  for (let before = 0; before <= 6; before++) {
    const head = before === 0 ? "" : `${h16}(?::${h16}){${before - 1}}`;
    const after = 6 - before;
    forms.push(`${head}::${after === 0 ? `(?:${h16})?` : `(?:${h16}(?::${h16}){0,${after}})?`}`);
  }
  return forms.join("|");
}

/** The `format` values that are supported: what may be written is valid, though not every valid text may be written. */
export const stringFormats: Readonly<Record<string, string>> = {
  date,
  time,
  "date-time": `(?:${date})T${time}`,
  duration: "P(?:\\d{1,4}W|(?:\\d{1,4}Y)?(?:\\d{1,4}M)?\\d{1,4}D|\\d{1,4}[YM]|T(?:\\d{1,4}H)?(?:\\d{1,4}M)?\\d{1,4}S|T\\d{1,4}[HM])",
  uuid: "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
  ipv4,
  ipv6: ipv6(),
  hostname,
  email: `${atom}(?:\\.${atom}){0,2}@${label}(?:\\.${label}){1,3}`,
  uri: `[a-z][a-z0-9+.-]{0,15}://(?:${hostname}|${ipv4})(?::\\d{1,4})?(?:/${pathCharacter}{0,64}){0,16}(?:\\?${pathCharacter}{0,128})?(?:#${pathCharacter}{0,64})?`,
};

export function formatPattern(format: string, pointer: string): string {
  const pattern = Object.hasOwn(stringFormats, format) ? stringFormats[format] : undefined;
  if (pattern === undefined) {
    throw new UnsupportedError(
      `${pointer}: the format ${JSON.stringify(format)} is not supported; supported are ${Object.keys(stringFormats).join(", ")}`,
    );
  }
  return pattern;
}
