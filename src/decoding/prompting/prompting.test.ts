import { describe, expect, test } from "vitest";
import type { Message } from "../../chat/index.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { layoutOfRows } from "./layout.ts";
import { type LayoutPrompt, layOutPrompt, type Prompt, withLayout } from "./prompt.ts";
import { splitMarked } from "./set.ts";

const letters = Array.from({ length: 95 }, (_, id) => String.fromCharCode(32 + id));
const tokenizer = toyTokenizer([...letters, "\n", "\u{F5E10}", "\u{F5E11}", "\u{F5E12}"]);
const model = toyModel(tokenizer, { logits: () => new Array(tokenizer.vocabSize).fill(0) });
const read = async (prompt: Prompt) => tokenizer.decode((await layOutPrompt(model, prompt)).tokens, { special: true });
const examples = ["a", "b", "c", "d"].map((input) => ({ input, output: input.toUpperCase() }));

describe("set", () => {
  const set = (prompt: LayoutPrompt["prompt"], more: object = {}): LayoutPrompt => ({ kind: "set", prompt, ...more });

  test("members begin at one position, don't see each other, and what follows begins after the longest", async () => {
    const { tokens, positions, visible } = await layOutPrompt(model, set(["ab", ["c", "def", "gh"], "ij", ["k", "l"], "m"]));
    expect(tokenizer.decode(tokens)).toBe("abcdefghijklm");
    expect(positions).toEqual([0, 1, 2, 2, 3, 4, 2, 3, 5, 6, 7, 7, 8]);
    expect(visible).toEqual([
      {
        rows: [3, 6],
        sees: [
          [0, 2],
          [3, 6],
        ],
      },
      {
        rows: [6, 8],
        sees: [
          [0, 2],
          [6, 8],
        ],
      },
      {
        rows: [11, 12],
        sees: [
          [0, 10],
          [11, 12],
        ],
      },
    ]);
  });

  test("text with marks is the same as its parts, and as the same set in another order", async () => {
    const parts = await layOutPrompt(model, set(["ab", ["c", "def"], "ij"]));
    expect(await layOutPrompt(model, set("ab[[c||def]]ij"))).toEqual(parts);
    expect(await layOutPrompt(model, set("ab[[def||c]]ij"))).toEqual(parts);
    expect(await layOutPrompt(model, set("ab<def|c>ij", { start: "<", split: "|", end: ">" }))).toEqual(parts);
    expect(await layOutPrompt(model, withLayout("set,start=<,split=|,end=>", "ab<def|c>ij"))).toEqual(parts);
  });

  test("a set of one member, and a text without sets, are the plain prompt", async () => {
    const tokens = tokenizer.encode("abcij");
    expect(await layOutPrompt(model, set("ab[[c]]ij"))).toEqual({ kind: "laid-out", tokens });
    expect(await layOutPrompt(model, set("abcij"))).toEqual({ kind: "laid-out", tokens });
    expect(splitMarked("a||b", { start: "[[", split: "||", end: "]]" })).toEqual(["a||b"]);
  });

  test("BOS stands before a set that begins the prompt, once", async () => {
    const withBos = { ...model, tokenizer: toyTokenizer(letters, { addBos: true }) };
    const { tokens, positions } = await layOutPrompt(withBos, set([["b", "a"], "c"]));
    expect(withBos.tokenizer.decode(tokens, { special: true })).toBe("<bos>abc");
    expect(positions).toEqual([0, 1, 1, 2]);
  });

  test("sets in messages go through the chat template, whatever marks the template itself writes", async () => {
    const chat = { render: async (messages: readonly Message[]) => `[[x]]${messages.map(({ content }) => content).join("|")}||a` };
    const messages: Message[] = [
      { role: "system", content: "S" },
      { role: "user", content: "u[[d||c]]v" },
    ];
    const { tokens, positions } = await layOutPrompt({ ...model, chat }, set(messages));
    expect(tokenizer.decode(tokens)).toBe("[[x]]S|ucdv||a");
    expect(positions).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12]);
    const twice = { render: async ([first]: readonly Message[]) => `${first!.content}${first!.content}` };
    await expect(layOutPrompt({ ...model, chat: twice }, set([{ role: "user", content: "[[a||b]]c" }]))).rejects.toThrow(
      "does not write every set once",
    );
  });

  test.each<[LayoutPrompt["prompt"], object, string]>([
    ["ab[[c||d", {}, "prompt: the set that [[ opens at character 2 is not closed by ]]"],
    ["ab]]c", {}, "prompt: has ]] at character 2 without a [[ before it"],
    ["a[[b||[[c]]d]]e", {}, "prompt: a set within the set at character 1; sets can't be nested"],
    ["a[[b||c]]", {}, "prompt: ends with a set; the answer follows the last token, so text must stand behind the last set"],
    ["a[[b||]]c", {}, "prompt: member 2 of set 1 is empty; each needs at least one token"],
    [["a", [], "b"], {}, "prompt: part 1 must be a text or a set: a list of at least one text, and nothing else"],
    ["a", { start: "" }, "layout: set: start must not be empty"],
    ["a", { start: "|" }, "layout: set: start (|) must not be a part of another marker"],
    ["a", { start: 3 }, "layout: set: start must be text, got 3"],
    ["a", { mark: "x" }, 'layout: set has no parameter "mark"; it has start, split, end'],
  ])("is refused by name: %j %j", async (prompt, more, message) => {
    await expect(layOutPrompt(model, set(prompt, more) as LayoutPrompt)).rejects.toThrow(message);
  });

  test("rows of a request see what the layout says, wherever the prompt is cut", async () => {
    const laidOut = await layOutPrompt(model, set(["ab", ["cd", "ef"], "g"]));
    expect(layoutOfRows(laidOut, 0, 7)).toEqual({ positions: laidOut.positions, visible: laidOut.visible });
    expect(layoutOfRows(laidOut, 5, 2)).toEqual({
      positions: [3, 4],
      visible: [
        {
          rows: [0, 1],
          sees: [
            [0, 2],
            [4, 6],
          ],
        },
      ],
    });
    expect(layoutOfRows(laidOut, 0, 5)).toEqual({
      positions: [0, 1, 2, 3, 2],
      visible: [
        {
          rows: [4, 5],
          sees: [
            [0, 2],
            [4, 5],
          ],
        },
      ],
    });
  });
});

describe("few-shot", () => {
  const shots = (more: object = {}, prompt: LayoutPrompt["prompt"] = "z") =>
    ({ kind: "few-shot", prompt, examples, ...more }) as LayoutPrompt;

  test("solved examples by the template, then the question up to its answer without the space", async () => {
    expect(await read(shots({ k: 2 }))).toBe("Q: a\nA: A\n\nQ: b\nA: B\n\nQ: z\nA:");
    expect(await read(shots({ k: 1, template: "{input}={output}", separator: ";", description: "Upper" }))).toBe("Upper;a=A;z=");
    expect(await read(shots())).toContain("Q: d\nA: D");
  });

  test("no examples: the question alone; and what an example holds is never read as a template", async () => {
    expect(await read(shots({ k: 0 }))).toBe("Q: z\nA:");
    expect(await read(shots({ examples: [{ input: "$& {output}", output: "{input}" }] }))).toBe("Q: $& {output}\nA: {input}\n\nQ: z\nA:");
  });

  test("a seed draws which examples are shown and in which order: always the same, and every one of them for some seed", async () => {
    const order = async (seed: number) =>
      [...(await read(shots({ k: 2, seed }))).matchAll(/A: ([A-D])/g)].map(([, answer]) => answer).join("");
    expect(await order(3)).toBe(await order(3));
    const seen = new Map<string, number>();
    for (let seed = 0; seed < 600; seed++) seen.set(await order(seed), (seen.get(await order(seed)) ?? 0) + 1);
    expect(seen.size).toBe(12); // ordered pairs of four, each expected 50 times
    expect(Math.min(...seen.values())).toBeGreaterThan(20);
  });

  test("before messages examples are turns, after the system message", async () => {
    const messages: Message[] = [
      { role: "system", content: "S" },
      { role: "user", content: "z" },
    ];
    expect(await read(shots({ k: 1 }, messages))).toBe("<bos>sS|ua|aA|uz|a");
    expect(await read(shots({ k: 1, description: "D" }, messages.slice(1)))).toBe("<bos>sD|ua|aA|uz|a");
  });

  test("any order: the examples are a set", async () => {
    const one = await layOutPrompt(model, shots({ anyOrder: true }));
    expect(await layOutPrompt(model, shots({ anyOrder: true, examples: [...examples].reverse() }))).toEqual(one);
    expect(one.visible).toHaveLength(3);
  });

  test("whole examples are left out from the first on when the prompt is too long, and the facts say so", async () => {
    const { tokens, choices } = await layOutPrompt(model, shots({ template: "{input}:{output}", separator: ";" }), { maxPromptTokens: 11 });
    expect(tokenizer.decode(tokens)).toBe("c:C;d:D;z:");
    expect(choices).toEqual([
      {
        what: "few-shot",
        chosen: "2 examples, without the first 2",
        because: "the prompt with 4 examples and the answer exceed the context",
      },
    ]);
  });

  test.each<[object, string]>([
    [{ k: 5 }, "layout: few-shot: k must be an integer in [0, 4], the number of examples, got 5"],
    [{ k: -1 }, "layout: few-shot: k must be an integer in [0, 10000], got -1"],
    [{ template: "{input}" }, 'layout: few-shot: template must hold {input} once and {output} once, got "{input}"'],
    [
      { template: "{output}{input}" },
      'few-shot: template must have {input} before {output}, which the model is to write, got "{output}{input}"',
    ],
    [{ examples: [{ input: "a" }] }, "layout: few-shot: examples must be a list of { input, output }, both texts"],
    [{ examples: undefined }, "layout: few-shot needs examples (a list of { input, output }, both texts)"],
    [{ anyOrder: true, prompt: [{ role: "user", content: "a" }] }, "few-shot: anyOrder needs a text prompt"],
  ])("is refused by name: %j", async (more, message) => {
    await expect(layOutPrompt(model, shots(more))).rejects.toThrow(message);
  });
});

test("a layout is chosen by name for a text, not for tokens or what has one", () => {
  expect(() => withLayout("sets", "a")).toThrow('layout: no method "sets"; there are set, few-shot');
  expect(() => withLayout("set", tokenizer.encode("a"))).toThrow("this prompt is tokens or has a layout already");
});
