/** One server-sent event. */
export interface ServerEvent {
  /** "message" where the server named none. */
  readonly event: string;
  readonly data: string;
}

/**
 * Reads server-sent events from text in any pieces, as the HTML standard has them: lines end with LF, CRLF or CR, a line that begins
 * with a colon is a comment, an empty line ends the event. An event without its empty line at the end of the stream is none.
 */
export class EventStreamParser {
  #rest = "";
  #event = "";
  #data: string[] = [];

  /** The events that a further piece completes. */
  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    this.#rest += text;
    for (;;) {
      const end = this.#rest.search(/[\r\n]/);
      if (end < 0 || (end === this.#rest.length - 1 && this.#rest[end] === "\r")) return events; // an LF may follow
      const line = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(this.#rest.startsWith("\r\n", end) ? end + 2 : end + 1);
      const event = this.#takeLine(line);
      if (event !== undefined) events.push(event);
    }
  }

  #takeLine(line: string): ServerEvent | undefined {
    if (line === "") {
      const event = { event: this.#event || "message", data: this.#data.join("\n") };
      const isEmpty = this.#data.length === 0;
      this.#event = "";
      this.#data = [];
      return isEmpty ? undefined : event;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    return undefined;
  }
}
