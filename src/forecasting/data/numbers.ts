/** What people write where a value is missing. */
const missing = new Set(["", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", ".", "?", "missing"]);

export function isMissing(text: string): boolean {
  return text === "" || (text.length <= 8 && missing.has(text.trim().toLowerCase()));
}

const plain = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const withCommas = /^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$/;
const withPoints = /^[+-]?\d{1,3}(?:[. ]\d{3})+(?:,\d+)?$/;
const decimalComma = /^[+-]?(?:\d+,?\d*|,\d+)(?:e[+-]?\d+)?$/i;

/**
 * A number as `decimal` says it is written: thousands may be grouped by the other sign, a currency sign before or a percent sign
 * after is dropped. NaN for anything else, infinity included.
 */
export function parseNumber(text: string, decimal: "." | ","): number {
  let cell = text.trim();
  if (decimal === "." && plain.test(cell)) return finite(Number(cell));
  cell = cell.replace(/^([+-]?)[$€£¥]\s*/, "$1").replace(/\s*[%€]$/, "");
  if (decimal === ".") {
    if (plain.test(cell)) return finite(Number(cell));
    return withCommas.test(cell) ? finite(Number(cell.replaceAll(",", ""))) : Number.NaN;
  }
  if (withPoints.test(cell)) return finite(Number(cell.replaceAll(/[. ]/g, "").replace(",", ".")));
  return decimalComma.test(cell) ? finite(Number(cell.replace(",", "."))) : Number.NaN;
}

function finite(value: number): number {
  return Number.isFinite(value) ? value : Number.NaN;
}
