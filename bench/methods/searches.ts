import { repeatedShare as repeatedWithin } from "../../src/decoding/search/fit-attribute.ts";
import { openings } from "../../src/decoding/search/openings.ts";
import type { GenerateOptions, GenerateResult, Judged } from "../../src/index.ts";
import { summarize } from "../statistics.ts";
import {
  alternate,
  asked,
  curveAmid,
  type Findings,
  mean,
  onePerKind,
  percent,
  perPass,
  prompts,
  type Row,
  repetition,
  type Setting,
  type Steps,
  show,
} from "./harness.ts";

const verdict = (isMet: boolean) => (isMet ? "met" : "missed");

/** Searches of four rows against 1.15 · T(4)/T(1) of this run, and what they change: probability, repetition. */
async function fourRows(setting: Setting): Promise<Findings> {
  const { modelName, pairs, say } = setting;
  const list = await onePerKind(setting);
  const settings = [
    { search: "contrastive,k=4", logprobs: 0 },
    { search: "beam,width=4", logprobs: 0 },
    { search: "conditional-beam,width=4,ngram=4", logprobs: 0 },
  ];
  const { ratios, results } = await alternate(setting, list, [{ logprobs: 0 }, ...settings], pairs, false);
  const repeats = await Promise.all(results.map((answers) => repetition(setting, list, answers)));
  const within = results.map((answers) => mean(answers.map(({ tokens }) => repeatedWithin(tokens, 4))));
  const probability = results.map((answers) => mean(answers.map(({ logprobs }) => mean(logprobs!.map(({ logprob }) => logprob)))));
  const limit = 1.15 * (await curveAmid(setting, list)).ratio(4);
  const row = (index: number, method: string, claim: string, figure: string, isMet: boolean, why: string): Row => {
    const cost = 1 / ratios[index]!.median;
    const bound = `${cost.toFixed(2)} times greedy's time, aim at most 1.15 · T(4)/T(1) = ${limit.toFixed(2)}: ${verdict(cost <= limit)}`;
    say(`  ${method}: ${bound}`);
    const met = `${isMet ? "yes" : `no: ${why}`}${index < 3 ? `; ${bound}` : ""}`;
    return { method, model: modelName, claim, figure, met, speed: show(ratios[index]!), passes: perPass(results[index]!) };
  };
  const nats = (index: number) => `${probability[index]!.toFixed(3)} nats per token, greedy ${probability[0]!.toFixed(3)}`;
  const copies = (index: number) => `${percent(repeats[index]!)} of 4-grams repeated, greedy ${percent(repeats[0]!)}`;
  const rows = [
    row(1, "search contrastive", "less repetition than greedy", copies(1), repeats[1]! < repeats[0]!, "the texts are too short to loop"),
    row(2, "search beam", "more probable answers than greedy", nats(2), probability[2]! >= probability[0]!, "its answers end elsewhere"),
    row(
      3,
      "search conditional-beam",
      "no 4-gram twice in an answer, at a small loss of probability",
      `${percent(within[3]!)} of an answer's 4-grams repeated in it, greedy ${percent(within[0]!)}, beam ${percent(within[2]!)}; ${nats(3)}`,
      within[3]! === 0,
      "a repeated 4-gram stands in an answer",
    ),
  ];
  const { isotropy, withoutFirst } = await setting.model.isotropy();
  const note = `Isotropy of ${modelName}'s last states: ${isotropy.toFixed(3)}, ${withoutFirst.toFixed(3)} without first tokens: what \`contrastive\` tells tokens apart by.`;
  return { rows, notes: [note] };
}

const head = "fluent";
/** Share of repeated 4-grams from which on an answer counts as degenerate: as the head was fitted. */
const degenerate = 0.3;

/** The fitted head, on openings held out from its fit: how often answers degenerate. */
async function headRows(setting: Setting): Promise<Findings> {
  const { model, modelName, say, isQuick } = setting;
  const known = model.attributeHead(head);
  if (known === undefined && isQuick) return { rows: [], notes: [`No head "${head}" for ${modelName} yet; the full run fits one.`] };
  const { facts } = known ?? (await model.fitAttribute(head));
  const heldOut = openings.filter((_, index) => index % 4 === 3).slice(0, isQuick ? 2 : 12);
  const ways: readonly (readonly [string, GenerateOptions])[] = [
    ["greedy", { temperature: 0 }],
    ["beam", { search: "beam,width=4,length=0" }],
    ["head", { search: `conditional-beam,width=4,head=${head}` }],
    ["head, weight 5", { search: `conditional-beam,width=4,head=${head},weight=5` }],
    ["ngram=4", { search: "conditional-beam,width=4,ngram=4" }],
  ];
  const maxTokens = isQuick ? 32 : 96;
  const measured = new Map<string, { repeated: number[]; ms: number[] }>();
  const answers: GenerateResult[] = [];
  for (const [index, prompt] of heldOut.entries())
    for (const place of ways.keys()) {
      const [name, options] = ways[(place + index) % ways.length]!;
      const result = await model.generate(prompt, { maxTokens, ...options });
      const found = measured.get(name) ?? { repeated: [], ms: [] };
      measured.set(name, found);
      found.repeated.push(repeatedWithin(result.tokens, 4));
      found.ms.push(result.timings.completionMs / Math.max(result.tokens.length - 1, 1));
      if (name === "head") answers.push(result);
    }
  const of = (name: string) => measured.get(name)!;
  const share = (name: string) => percent(mean(of(name).repeated.map((value) => Number(value >= degenerate))));
  const part = ([name]: (typeof ways)[number]) =>
    `${name} ${share(name)} degenerate, ${percent(mean(of(name).repeated))} of 4-grams repeated`;
  const speed = summarize(of("head").ms.map((ms, index) => of("greedy").ms[index]! / ms));
  const [beam, weighed] = [mean(of("beam").repeated), Math.min(mean(of("head").repeated), mean(of("head, weight 5").repeated))];
  const figure = `${heldOut.length} openings held out: ${ways.map(part).join("; ")}; the head orders ${percent(facts.auc)} of held-out pairs rightly`;
  say(`  head: ${figure}`);
  const row: Row = {
    ...{
      method: "search conditional-beam",
      model: modelName,
      claim: "conditioned on a fitted attribute, answers are likely and not degenerate",
    },
    figure,
    met:
      weighed < beam
        ? "yes: less repetition than the beam without it"
        : "no: the head's weight changes little beside the log-probabilities",
    speed: show(speed),
    passes: perPass(answers),
  };
  return { rows: [row] };
}

/** Questions with an answer that can be looked for in what is written. */
async function questions(setting: Setting, count: number) {
  return Promise.all(
    prompts.capitals.slice(0, setting.isQuick ? 1 : count).map(async ([country, capital]) => ({
      capital: capital!,
      prompt: await asked(setting.model, [{ role: "user", content: `What is the capital of ${country}?` }]),
    })),
  );
}

interface Asked {
  readonly accuracy: number;
  readonly results: readonly GenerateResult[];
}

/** Every way on every question, in alternating order. */
async function ask(
  setting: Setting,
  list: Awaited<ReturnType<typeof questions>>,
  ways: Readonly<Record<string, (capital: string) => GenerateOptions>>,
): Promise<Record<string, Asked>> {
  const names = Object.keys(ways);
  const results: Record<string, GenerateResult[]> = Object.fromEntries(names.map((name) => [name, []]));
  const right: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  for (const [index, { prompt, capital }] of list.entries())
    for (const place of names.keys()) {
      const name = names[(place + index) % names.length]!;
      const result = await setting.model.generate(prompt, { maxTokens: 16, seed: index, ...ways[name]!(capital) });
      results[name]!.push(result);
      right[name]!.push(Number(result.text.includes(capital)));
    }
  return Object.fromEntries(
    names.map((name) => [
      name,
      {
        accuracy: mean(right[name]!),
        results: results[name]!,
      },
    ]),
  );
}

/** Time of one way over that of another, question by question. */
function ratioOf(one: Asked, other: Asked) {
  return summarize(one.results.map(({ timings }, index) => timings.completionMs / other.results[index]!.timings.completionMs));
}

/** What was expected first, and what it came to. */
function foretold(results: readonly GenerateResult[]): string {
  const efforts = results.map(({ facts }) => facts.effort!).filter(({ done }) => done > 0);
  const total = (of: (effort: (typeof efforts)[number]) => number) => efforts.reduce((sum, effort) => sum + of(effort), 0);
  const { unit = "units" } = efforts[0] ?? {};
  const expectedMs = total(({ expected }) => expected?.ms ?? 0);
  return [
    `${(
      total(({ passes }) => passes) /
        Math.max(
          total(({ done }) => done),
          1,
        )
    ).toFixed(1)} passes per ${unit.replace(/s$/, "")}`,
    `said first ${total(({ expected }) => expected?.passes ?? 0)} passes and ${(expectedMs / 1000).toFixed(1)} s for ${total(({ planned }) => planned)}, took ${total(({ passes }) => passes)} and ${(total(({ ms }) => ms) / 1000).toFixed(1)} s for ${total(({ done }) => done)}`,
  ].join("; ");
}

const oracle =
  (capital: string) =>
  ({ text, isComplete }: Judged) =>
    text.includes(capital) ? 1 : isComplete ? 0 : 0.5;

async function bestOfRows(setting: Setting): Promise<Findings> {
  const { modelName, say, model } = setting;
  const list = await questions(setting, 12);
  const drawn = { temperature: 1 };
  const found = await ask(setting, list, {
    drawn: () => drawn,
    restart: () => ({ ...drawn, search: "best-of,n=4,judge=restart" }),
    options: () => ({ ...drawn, search: "best-of,n=4,judge=options" }),
    pruned: () => ({ ...drawn, search: "best-of,n=4,judge=restart,check=8" }),
    adaptive: () => ({ ...drawn, search: "best-of,n=16,judge=restart,check=8,enough=0.9" }),
    "adaptive oracle": (capital) => ({ ...drawn, search: { name: "best-of", n: 16, check: 8, enough: 0.9, judge: oracle(capital) } }),
    oracle: (capital) => ({ ...drawn, search: { name: "best-of", n: 4, judge: oracle(capital) } }),
  });
  const quality = await model.judgeQuality("restart");
  const drawnOf = ({ results }: Asked) => mean(results.map(({ facts }) => facts.branches!.length));
  const rowsOf = ({ results }: Asked) => mean(results.map(({ facts }) => facts.rows));
  /** Of what all that may be drawn gain over one, how much the adaptive number keeps. */
  const kept = (found["adaptive oracle"]!.accuracy - found.drawn!.accuracy) / (found.oracle!.accuracy - found.drawn!.accuracy);
  const adaptive = [
    `enough=0.9 of 16 draws ${drawnOf(found.adaptive!).toFixed(1)} answers in the mean, ${drawnOf(found["adaptive oracle"]!).toFixed(1)} with a judge that knows`,
    Number.isFinite(kept) ? `which keeps ${percent(kept)} of that judge's gain with 4` : "where that judge gains nothing with 4",
    `check=8 reads ${percent(rowsOf(found.pruned!) / rowsOf(found.restart!))} of the rows`,
  ].join(", ");
  const figure = `${list.length} questions of fact, right: ${Object.entries(found)
    .map(([name, { accuracy }]) => `${name === "drawn" ? "one answer drawn" : `judge ${name}`} ${percent(accuracy)}`)
    .join(", ")}; ${adaptive}; ${foretold(found.restart!.results)}`;
  say(`  best-of: ${figure}`);
  const row: Row = {
    ...{
      method: "search best-of",
      model: modelName,
      claim: "the model's own judgement of whether it would do better finds the better of 16 answers (8 B parameters, tuned for it)",
    },
    figure,
    met:
      found.restart!.accuracy > found.drawn!.accuracy
        ? "yes"
        : `no: the judge is ${quality.isAtChance ? "at chance" : "weak"} (${percent(quality.share)} of ${quality.numPairs} pairs); one that knows the answer does gain`,
    speed: show(ratioOf(found.drawn!, found.restart!)),
    passes: perPass(found.restart!.results),
  };
  return { rows: [row] };
}

async function rewindRows(setting: Setting): Promise<Findings> {
  const { modelName, say, model, isQuick } = setting;
  const list = await questions(setting, 4);
  const drawn = { temperature: 1 };
  const iterations = isQuick ? 2 : 12;
  const found = await ask(setting, list, {
    drawn: () => drawn,
    options: () => ({ ...drawn, search: `rewind,iterations=${iterations}` }),
    oracle: (capital) => ({ ...drawn, search: { name: "rewind", iterations, judge: oracle(capital) } }),
    "fewer, oracle": (capital) => ({ ...drawn, search: { name: "rewind", iterations: Math.ceil(iterations / 4), judge: oracle(capital) } }),
  });
  const quality = await model.judgeQuality("options");
  const figure = `${list.length} questions of fact, ${iterations} iterations per segment, right: one answer drawn ${percent(found.drawn!.accuracy)}, judge options ${percent(found.options!.accuracy)}, a judge that knows ${percent(found.oracle!.accuracy)}, with ${Math.ceil(iterations / 4)} iterations ${percent(found["fewer, oracle"]!.accuracy)}; ${foretold(found.options!.results)}`;
  say(`  rewind: ${figure}`);
  const row: Row = {
    ...{
      method: "search rewind",
      model: modelName,
      claim: "a frozen model aligns its own answers (harmlessness 82 to 97 %, 30 B parameters), at 4 times the time",
    },
    figure,
    met:
      found.options!.accuracy > found.drawn!.accuracy
        ? "yes"
        : `no: the judge is ${quality.isAtChance ? "at chance" : "weak"} (${percent(quality.share)} of ${quality.numPairs} pairs)`,
    speed: show(ratioOf(found.drawn!, found.options!), 3),
    passes: perPass(found.options!.results),
  };
  return { rows: [row] };
}

export const searchSteps: Steps = { "four-rows": fourRows, head: headRows, "best-of": bestOfRows, rewind: rewindRows };

/** Momentum against greedy: repetition, at one pass per token. */
async function momentumRows(setting: Setting): Promise<Findings> {
  const { modelName, pairs, say } = setting;
  const list = await onePerKind(setting);
  const { ratios, results } = await alternate(setting, list, [{}, { sample: "momentum" }], pairs, false);
  const [greedy, momentum] = (await Promise.all(results.map((answers) => repetition(setting, list, answers)))) as [number, number];
  say(`  momentum: ${percent(momentum)} repeated, greedy ${percent(greedy)}, ${show(ratios[1]!)}`);
  const row: Row = {
    ...{ method: "sample momentum", model: modelName, claim: "less repetition than greedy, at greedy's speed" },
    figure: `${percent(momentum)} of 4-grams repeated, greedy ${percent(greedy)}`,
    met: momentum < greedy ? "yes" : "no: greedy hardly repeats on these prompts",
    speed: show(ratios[1]!),
    passes: perPass(results[1]!),
  };
  return { rows: [row] };
}

export const samplerSteps: Steps = { momentum: momentumRows };
