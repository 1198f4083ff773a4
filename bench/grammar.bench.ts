// What a grammar costs per token: `npm run bench:grammar [-- smollm2 gemma3-270m]`. Each document is written token by token as the
// model's tokenizer cuts it; at every step the mask is asked for: first with nothing remembered, then again over the same states.
import { arch, cpus, loadavg } from "node:os";
import { compileGrammar, type GrammarSource, type GrammarState, TokenTrie } from "../src/decoding/guidance/grammar/index.ts";
import { loadVocabulary } from "../src/index.ts";

const text = "It was a bright cold day in April, and the clocks were striking thirteen. ".repeat(6);
const record = {
  title: "On Computable Numbers",
  authors: [
    { name: "A. M. Turing", orcid: null },
    { name: "Émilie du Châtelet 😀", orcid: "0000-0002-1825-0097" },
  ],
  published: "1936-11-12",
  tags: ["logic", "machines"],
};
const strict = {
  type: "object",
  properties: {
    title: { type: "string" },
    authors: {
      type: "array",
      items: {
        type: "object",
        properties: { name: { type: "string" }, orcid: { anyOf: [{ type: "string", pattern: "^\\d{4}(-\\d{4}){3}$" }, { type: "null" }] } },
        required: ["name", "orcid"],
        additionalProperties: false,
      },
    },
    published: { type: "string", format: "date" },
    tags: { type: "array", items: { type: "string", maxLength: 20 }, maxItems: 5 },
  },
  required: ["title", "authors"],
  additionalProperties: false,
};
const cases: [string, GrammarSource, string][] = [
  ["a schema", { kind: "json-schema", schema: strict }, JSON.stringify(record, undefined, 1)],
  ["any JSON", { kind: "json-schema", schema: true }, JSON.stringify({ list: [record, [record], 1.5e-7, true] })],
  ["a long string, maxLength 600", { kind: "json-schema", schema: { type: "string", maxLength: 600 } }, JSON.stringify(text)],
  ["a regular expression", { kind: "regex", pattern: "(?:[A-Z]?\\p{Ll}+[,.]? )+" }, text],
  [
    "GBNF: arithmetic",
    { kind: "gbnf", text: 'root ::= term ([-+] term)*\nterm ::= factor ([*/] factor)*\nfactor ::= [0-9]+ | "(" root ")"' },
    "12*(34+5*(6-7))-8/(9+(10*(11+12)))".repeat(3).replaceAll(")12", ")+12"),
  ],
];

const models = process.argv.slice(2);
console.log(
  `${cpus()[0]?.model} (${arch}), Node ${process.version}; load ${loadavg()[0]!.toFixed(1)}; milliseconds per step: mean; median / 99 % / most`,
);
for (const model of models.length > 0 ? models : ["smollm2", "gemma3-270m"]) {
  using vocabulary = await loadVocabulary(model);
  const { tokenizer } = vocabulary;
  const startMs = performance.now();
  const trie = new TokenTrie({
    size: tokenizer.vocabSize,
    endTokens: tokenizer.endTokens,
    piece: (token) => tokenizer.piece(token as never, { special: false }),
  });
  console.log(
    `\n${model}: ${trie.size} tokens, ${trie.numNodes} nodes, longest ${trie.maxLength} bytes; trie ${ms(performance.now() - startMs)}`,
  );
  for (const [name, source, document] of cases) {
    const compileMs = performance.now();
    const grammar = await compileGrammar(source);
    const compiledMs = performance.now() - compileMs;
    const tokens = tokenizer.encode(document, { bos: false });
    const bindMs = performance.now();
    const { start } = grammar.bind(trie);
    const boundMs = performance.now() - bindMs;
    const states: GrammarState[] = [];
    const first: number[] = [];
    for (let state: GrammarState | undefined = start, i = 0; ; i++) {
      const stepMs = performance.now();
      state.mask();
      first.push(performance.now() - stepMs);
      states.push(state);
      if (i === tokens.length) {
        if (!state.isComplete) throw new Error(`${name}: the document is not a text of its grammar`);
        break;
      }
      state = state.advance(tokens[i]!);
      if (state === undefined) throw new Error(`${name}: token ${i} is refused`);
    }
    const again = states.map((state) => {
      const stepMs = performance.now();
      state.mask();
      return performance.now() - stepMs;
    });
    const tight = states.map((state) => {
      const stepMs = performance.now();
      state.mask(state.shortestCompletion() + 3);
      return performance.now() - stepMs;
    });
    console.log(
      `  ${name}: compile ${ms(compiledMs)} (${grammar.compiled.numStates} states), bind ${ms(boundMs)}, ${tokens.length} tokens; ` +
        `first ${spread(first)}; again ${spread(again)}; few tokens left ${spread(tight)}`,
    );
  }
}

function ms(value: number): string {
  return `${value.toPrecision(3)} ms`;
}

function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return `${mean.toPrecision(2)}; ${[0.5, 0.99, 1].map((share) => sorted[Math.ceil(share * sorted.length) - 1]!.toPrecision(2)).join(" / ")}`;
}
