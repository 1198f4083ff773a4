// @ts-check
const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/**
 * Python's `strftime` in the C locale, for the directives that templates use; `%-d` and the like leave out the padding.
 *
 * @param {Date} date  its UTC fields are taken
 * @param {string} format
 * @throws {Error} for a directive that is not one of `a A b B d e H I j m M p S y Y %`
 * @returns {string}
 */
export function strftime(date, format) {
  const hour = date.getUTCHours();
  const dayOfYear =
    (Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000 + 1;
  /** @type {Record<string, string | [value: number, width: number, pad?: string]>} */
  const fields = {
    a: days[date.getUTCDay()].slice(0, 3),
    A: days[date.getUTCDay()],
    b: months[date.getUTCMonth()].slice(0, 3),
    B: months[date.getUTCMonth()],
    d: [date.getUTCDate(), 2],
    e: [date.getUTCDate(), 2, " "],
    H: [hour, 2],
    I: [hour % 12 || 12, 2],
    j: [dayOfYear, 3],
    m: [date.getUTCMonth() + 1, 2],
    M: [date.getUTCMinutes(), 2],
    p: hour < 12 ? "AM" : "PM",
    S: [date.getUTCSeconds(), 2],
    y: [date.getUTCFullYear() % 100, 2],
    Y: [date.getUTCFullYear(), 4],
    "%": "%",
  };
  return format.replace(/%(-?)(.?)/gsu, (directive, unpadded, letter) => {
    const field = Object.hasOwn(fields, letter) ? fields[letter] : undefined;
    if (field === undefined) throw new Error(`strftime_now: ${JSON.stringify(directive)} is not supported`);
    if (typeof field === "string") return field;
    const [value, width, pad = "0"] = field;
    return unpadded ? String(value) : String(value).padStart(width, pad);
  });
}
