// What SequenceMatch's backspace is worth: three small models of one shape, data and number of steps, on texts in which each letter must be one of
// three that the two before it allow. Trained by the likelihood alone, by the likelihood of texts with mistakes taken back, and by SequenceMatch;
// then they write, and every transition that is not allowed is counted.
// npm run bench:backspace -- [--steps 700] [--texts 300] [--threads 2] [--seed 1] [--letters 8]
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { load } from "../src/index.ts";
import { trainFile } from "../src/training/index.ts";

const { values: given } = parseArgs({
  options: {
    steps: { type: "string", default: "700" },
    texts: { type: "string", default: "300" },
    threads: { type: "string", default: "2" },
    seed: { type: "string", default: "1" },
    letters: { type: "string", default: "8" },
  },
});
const [steps, texts, threads, seed] = [given.steps, given.texts, given.threads, given.seed].map(Number) as [number, number, number, number];

const letters = "abcdefghijkl".slice(0, Number(given.letters)); // more of them take longer to learn
const length = 40;
/** mulberry32 */
function random(state: number): () => number {
  let at = state >>> 0;
  return () => {
    at = (at + 0x6d2b79f5) >>> 0;
    let t = Math.imul(at ^ (at >>> 15), at | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
const table = random(17);
const allowed = new Map<string, string>();
for (const a of letters)
  for (const b of letters) {
    const left = [...letters];
    allowed.set(a + b, Array.from({ length: 3 }, () => left.splice(Math.floor(table() * left.length), 1)[0]!).join(""));
  }
const isAllowed = (text: readonly string[], at: number) =>
  at < 2 || (text[at] !== "" && allowed.get(text.slice(at - 2, at).join(""))?.includes(text[at]!) === true);
const next = random(1000 + seed);
function write(): string {
  let text = letters[Math.floor(next() * letters.length)]! + letters[Math.floor(next() * letters.length)]!;
  while (text.length < length) text += allowed.get(text.slice(-2))![Math.floor(next() * 3)];
  return text;
}

const folder = mkdtempSync(join(tmpdir(), "chainrule-bench-"));
console.log(`${cpus()[0]?.model}, ${threads} threads, Node ${process.version}, ${steps} steps, ${texts} texts, seed ${seed}`);
try {
  const data = join(folder, "data.jsonl");
  writeFileSync(data, Array.from({ length: 6000 }, () => JSON.stringify({ text: write() })).join("\n"));
  const prompts = Array.from({ length: texts }, () => write().slice(0, 4));
  console.log(
    "objective | search | texts without a mistake | wrong letters in 1000 | given up in 1000 letters | of them at a wrong letter",
  );
  for (const [objective, size] of [
    ["next-token", 257],
    ["sequence-match,likelihood=1,rate=0.15", 258],
    ["sequence-match,likelihood=0.9,rate=0.15", 258],
  ] as const) {
    const out = join(folder, objective);
    await trainFile({
      data,
      start: {
        kind: "scratch",
        shape: { hiddenSize: 64, blocks: 3, heads: 4, contextLength: 64 },
        vocabulary: { size }, // the 256 bytes, the end, the backspace: a letter is a token
      },
      ...{ objective, steps, sequences: 16, length: 64, learningRate: 3e-3, threads, seed, out },
    });
    await using model = await load(join(out, "model.gguf"), { threads });
    const written = (ids: readonly number[]) => ids.map((id) => model.tokenizer.decode([id as never])); // a letter each
    for (const search of objective === "next-token" ? ["path"] : ["backspace,most=0", "backspace"]) {
      const counts = { whole: 0, wrong: 0, letters: 0, givenUp: 0, rightly: 0 };
      const one = async (prompt: string, index: number) => {
        const bias = { 0: -100, ...(search === "backspace,most=0" ? { [model.tokenizer.backspace!]: -100 } : {}) };
        const result = await model.generate(prompt, { maxTokens: length - 4, temperature: 1, seed: 1000 * seed + index, search, bias });
        const text = [...prompt, ...written(result.tokens)];
        const wrong = text.filter((_, at) => at >= 4 && !isAllowed(text, at)).length;
        counts.whole += wrong === 0 ? 1 : 0;
        counts.wrong += wrong;
        counts.letters += result.tokens.length;
        for (const { end, from, tokens } of result.facts.branches ?? []) {
          if (end !== "rewound") continue;
          const taken = [...text.slice(0, 4 + from), ...written(tokens)];
          counts.givenUp += 1;
          counts.rightly += isAllowed(taken, taken.length - 1) ? 0 : 1;
        }
      };
      for (let at = 0; at < prompts.length; at += 16) await Promise.all(prompts.slice(at, at + 16).map((prompt, i) => one(prompt, at + i)));
      const perThousand = (count: number) => ((1000 * count) / counts.letters).toFixed(1);
      const share = counts.givenUp === 0 ? "–" : `${((100 * counts.rightly) / counts.givenUp).toFixed(0)} %`;
      console.log(
        `${objective} | ${search} | ${((100 * counts.whole) / prompts.length).toFixed(1)} % | ${perThousand(counts.wrong)} | ${perThousand(counts.givenUp)} | ${share}`,
      );
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
