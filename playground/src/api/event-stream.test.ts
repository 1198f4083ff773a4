import fc from "fast-check";
import { expect, test } from "vitest";
import { recorded } from "../../test/recorded.ts";
import { EventStreamParser, type ServerEvent } from "./event-stream.ts";

const parse = (...pieces: string[]): ServerEvent[] => {
  const parser = new EventStreamParser();
  return pieces.flatMap((piece) => parser.push(piece));
};

test("an event is the data lines before an empty line; comments and unknown fields say nothing", () => {
  expect(parse("data: a\ndata: b\n\n: hello\nid: 7\n\nevent: error\ndata:{}\n\n")).toEqual([
    { event: "message", data: "a\nb" },
    { event: "error", data: "{}" },
  ]);
});

test("one blank after the colon is not data, further ones are", () => {
  expect(parse("data:  x\n\n")).toEqual([{ event: "message", data: " x" }]);
});

test("an event that the stream cut short is none", () => {
  expect(parse("data: a\n\ndata: b\n")).toEqual([{ event: "message", data: "a" }]);
});

test("line ends may be LF, CRLF or CR, also in between pieces", () => {
  const expected = [{ event: "message", data: "a\nb" }];
  expect(parse("data: a\r\ndata: b\r\n\r\n")).toEqual(expected);
  expect(parse("data: a\rdata: b\r\r", ":")).toEqual(expected);
  expect(parse("data: a\r", "\ndata: b\r\n", "\r", "\n")).toEqual(expected);
});

test("however a stream is cut into pieces, its events are the same", () => {
  const whole = recorded.streams.drafted!;
  const expected = whole
    .split("\n\n")
    .filter((part) => part !== "")
    .map((part) => ({ event: "message", data: part.replace(/^data: /, "") }));
  expect(expected.length).toBeGreaterThan(20);
  fc.assert(
    fc.property(fc.array(fc.nat(whole.length), { maxLength: 30 }), (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), whole.length];
      expect(parse(...at.slice(1).map((end, index) => whole.slice(at[index], end)))).toEqual(expected);
    }),
  );
});
