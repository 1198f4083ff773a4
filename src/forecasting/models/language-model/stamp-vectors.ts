import { Program, type Tensor } from "../../../tensor/index.ts";
import { forward } from "../../../training/index.ts";
import { formatTime } from "../../data/index.ts";
import type { TimeGrid } from "../../types.ts";
import type { FrozenModel } from "./frozen-model.ts";

const weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** The sentence for a step of a grid. Its last words change fastest, so that neighbouring steps share the work on their beginning. */
export function stampText(grid: TimeGrid, index: number): string {
  const [date, time] = formatTime(grid, index).split("T") as [string, string | undefined];
  const sentence = `The time series segment starts on ${date}, a ${weekdays[new Date(`${date}T00:00Z`).getUTCDay()]}`;
  return time === undefined ? sentence : `${sentence}, at ${clockText(time)}`;
}

/** "13" for a full hour, otherwise "13:15" and "13:15:30". */
function clockText(time: string): string {
  const [hour, minute, second] = time.slice(0, 8).split(":");
  return second !== "00" ? `${hour}:${minute}:${second}` : minute !== "00" ? `${hour}:${minute}` : hour!;
}

/** Rows of a pass. */
const passRows = 384;

interface Node {
  readonly token: number;
  /** Index in `nodes`, -1 for a root. */
  readonly parent: number;
  readonly depth: number;
}

/**
 * For each text the model's final state at its last token, scaled to length 1: [texts.length, C]. Common beginnings are computed once per
 * pass: a pass reads a tree of tokens, in which each sees those it follows.
 */
export function* stampVectors(frozen: FrozenModel, texts: readonly string[]): Generator<{ done: number; total: number }, Float32Array> {
  const { model, device } = frozen;
  const { hiddenSize } = model.config;
  const vectors = new Float32Array(texts.length * hiddenSize);
  const order = [...texts.keys()].sort((a, b) => (texts[a]! < texts[b]! ? -1 : texts[a]! > texts[b]! ? 1 : 0));
  const tokens = texts.map((text) => frozen.encode(text));
  const longest = Math.max(...tokens.map(({ length }) => length));
  const rows = Math.min(Math.max(passRows, longest), model.config.contextLength);
  const outputs: Record<string, Tensor> = { hidden: forward(model, { sequences: 1, length: rows }).hidden };
  using program = Program.compile(device, outputs);
  let at = 0;
  while (at < order.length) {
    const nodes: Node[] = [];
    const children = new Map<string, number>();
    const ends: { readonly text: number; readonly node: number }[] = [];
    for (; at < order.length; at++) {
      const ids = tokens[order[at]!]!;
      const fresh: Node[] = [];
      const keys: string[] = [];
      let parent = -1;
      for (const [depth, token] of ids.entries()) {
        const key = `${parent} ${token}`;
        const known = children.get(key);
        if (known !== undefined && fresh.length === 0) parent = known;
        else {
          fresh.push({ token, parent, depth });
          keys.push(key);
          parent = nodes.length + fresh.length - 1;
        }
      }
      if (nodes.length + fresh.length > rows) break;
      keys.forEach((key, i) => {
        children.set(key, nodes.length + i);
      });
      nodes.push(...fresh);
      ends.push({ text: order[at]!, node: parent });
    }
    fillTree(program, nodes, rows);
    program.runSync();
    const hidden = program.peek("hidden");
    for (const { text, node } of ends) {
      const state = hidden.subarray(node * hiddenSize, (node + 1) * hiddenSize);
      const length = Math.hypot(...state) || 1;
      vectors.set(
        state.map((value) => value / length),
        text * hiddenSize,
      );
    }
    yield { done: at, total: texts.length };
  }
  return vectors;
}

const hiddenBits = 0xfc00; // -Infinity in f16

/** Rows that no node takes see themselves. */
function fillTree(program: Program, nodes: readonly Node[], rows: number): void {
  const ids = program.input<"i32">("ids").fill(0);
  if (program.hasInput("positions")) {
    const positions = program.input<"i32">("positions").fill(0);
    for (const [row, { depth }] of nodes.entries()) positions[row] = depth;
  }
  for (const [row, { token }] of nodes.entries()) ids[row] = token;
  for (const name of program.inputNames.filter((one) => one.startsWith("mask"))) {
    const window = name === "mask" ? Number.POSITIVE_INFINITY : Number(name.slice("mask.".length));
    const mask = program.input<"f16">(name).fill(hiddenBits);
    for (let row = 0; row < rows; row++) {
      mask[row * rows + row] = 0;
      let other = nodes[row]?.parent ?? -1;
      while (other >= 0 && nodes[row]!.depth - nodes[other]!.depth < window) {
        mask[row * rows + other] = 0;
        other = nodes[other]!.parent;
      }
    }
  }
}
