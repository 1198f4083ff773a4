import { entries, type Outcome, type Pair } from "./composition.ts";

/** docs/composition.md, from what the tests found. */
export function compositionPage(outcomes: ReadonlyMap<Pair, Outcome>): string {
  const numbers = new Map(entries.map((entry, index) => [entry, index + 1]));
  const reasons = new Map<string, string[]>();
  for (const [[a, b], outcome] of outcomes) {
    if (outcome.kind !== "refused") continue;
    const why = outcome.message.replace(/^.*?can't be combined: /s, "");
    reasons.set(why, [...(reasons.get(why) ?? []), `${a.method.name} and ${b.method.name}`]);
  }
  const letters = new Map([...reasons.keys()].map((why, index) => [why, String.fromCharCode(97 + index)]));
  const of = new Map<string, Outcome>();
  for (const [[a, b], outcome] of outcomes) {
    of.set(`${numbers.get(a)} ${numbers.get(b)}`, outcome);
    of.set(`${numbers.get(b)} ${numbers.get(a)}`, outcome);
  }
  const cell = (row: number, column: number): string => {
    const outcome = of.get(`${row} ${column}`);
    if (outcome === undefined) return "";
    return outcome.kind === "works" ? "✓" : letters.get(outcome.message.replace(/^.*?can't be combined: /s, ""))!;
  };
  const columns = entries.map((_, index) => index + 1);
  const working = [...outcomes.values()].filter(({ kind }) => kind === "works").length;
  return `# What composes with what

Written by \`npm run docs:composition\`, which runs the tests it speaks of; \`test/native/composition.test.ts\` fails when this page is stale.

Of ${outcomes.size} pairs of methods that one call can name, ${working} work and ${outcomes.size - working} are refused by a typed error that names both and says why. ✓: the pair works on a random
checkpoint with a random LoRA (\`adapter\` \`random\`), head and maps, by these laws; a letter: it is refused; empty: of that axis a call has one value.

- A draft and an explanation change no token, log-probability, text or ending of what stands beside them.
- A neutral value (weight 0, alpha 0, k 1, budget 0, one branch, a text without sets) changes nothing either.
- A set gives the same in every order. Additive guides (\`bias\`, \`presence\`, \`frequency\`, \`reward\`) commute.
- The facts of both are there and agree with the answer; each token has its log-probability. Searches with a judge are tried with a function and
  with the model's own judgement.
- The same call gives the same answer; stop texts cut it where they stand (a search's answer has none of them: another branch may win); limits hold; an abort, before or while it runs, throws the signal's
  reason and leaves no cells in use.

|   | axis | method | ${columns.join(" | ")} |
| --: | --- | --- | ${columns.map(() => "---").join(" | ")} |
${entries.map(({ axis, method }, index) => `| ${index + 1} | ${axis} | \`${method.name}\` | ${columns.map((column) => cell(index + 1, column)).join(" | ")} |`).join("\n")}

${[...reasons].map(([why, names]) => `- **${letters.get(why)}**: ${why} (${names.join("; ")})`).join("\n")}
`;
}

/** A page without what a formatter may change. */
export function plainPage(page: string): string {
  return page
    .replace(/ +/g, " ")
    .replace(/-{3,}/g, "---")
    .replace(/\|\s*-+:?/g, "| ---")
    .trim();
}
