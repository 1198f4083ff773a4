import { RandomNumbers } from "../../src/decoding/sampling/random.ts";
import type { TokenAttribution } from "../../src/engine/index.ts";
import type { LayoutPrompt, Model, Prompt } from "../../src/index.ts";
import type { TokenId } from "../../src/token.ts";
import { summarize } from "../statistics.ts";
import { type Findings, mean, percent, perPass, prompts, type Row, type Setting, type Steps, show } from "./harness.ts";

/** Time of the whole answer, its prompt read anew, with a layout against without, in alternating order; and the passes with it. */
async function whole(
  { model, pairs }: Setting,
  prompts: readonly (readonly [plain: Prompt, laidOut: Prompt])[],
  maxTokens: number,
): Promise<Pick<Row, "speed" | "passes">> {
  const ratios: number[] = [];
  const results = [];
  for (let round = -1; round < pairs; round += 1) {
    const two = prompts[Math.max(round, 0) % prompts.length]!;
    const ms = [0, 0];
    for (const index of round % 2 === 0 ? [0, 1] : [1, 0]) {
      const options = { maxTokens, ignoreEndTokens: true, prefixKey: `${round} ${index}` }; // no prefix is handed on
      const result = await model.generate(two[index]!, options);
      ms[index] = result.timings.promptMs + result.timings.completionMs;
      if (round >= 0 && index === 1) results.push(result);
    }
    if (round >= 0) ratios.push(ms[0]! / ms[1]!); // the first only compiles programs
  }
  return { speed: show(summarize(ratios)), passes: perPass(results) };
}

async function setRows(setting: Setting): Promise<Findings> {
  const { model, modelName, say, isQuick } = setting;
  const items = prompts.choices.slice(0, isQuick ? 3 : undefined);
  const ask = (options: readonly string[], question: string, isSet: boolean): Prompt => {
    const members = options.map((option) => ` ${option}`);
    const [head, tail] = [`${question} Options:`, ".\nThe answer is:"];
    return isSet ? { kind: "set", prompt: [head, members, tail] } : `${head}${members.join("")}${tail}`;
  };
  const choose = async (options: readonly string[], question: string, isSet: boolean) => {
    const { best } = await model.scoreChoices(
      ask(options, question, isSet),
      options.map((option) => ` ${option}`),
    );
    return options[best]!;
  };
  const found = { plain: { flips: 0, right: 0 }, set: { flips: 0, right: 0 } };
  for (const { question, options, answer } of items) {
    for (const layout of ["plain", "set"] as const) {
      const there = await choose(options, question, layout === "set");
      const back = await choose([...options].reverse(), question, layout === "set");
      found[layout].flips += there === back ? 0 : 1;
      found[layout].right += (Number(there === answer) + Number(back === answer)) / 2;
    }
  }
  const of = (value: number) => percent(value / items.length);
  const setRow: Row = {
    ...{ method: "layout set", model: modelName, claim: "the order of options no longer matters; accuracy within a few points" },
    figure: `${of(found.set.flips)} of ${items.length} answers change when the options are reversed, ${of(found.plain.flips)} without; ${of(found.set.right)} right, ${of(found.plain.right)} without`,
    met: found.set.flips === 0 ? "yes" : "no",
    ...(await whole(
      setting,
      items.map(({ question, options }) => [ask(options, question, false), ask(options, question, true)]),
      8,
    )),
  };
  say(`  set: ${setRow.figure}`);
  return { rows: [setRow] };
}

async function fewShotRows(setting: Setting): Promise<Findings> {
  const { model, modelName, say, isQuick } = setting;
  const tasks = {
    capitals: prompts.capitals.map(([input, output]) => ({ input: input!, output: output! })),
    uppercase: prompts.capitals.map(([input]) => ({ input: input!, output: input!.toUpperCase() })),
  };
  const asked = isQuick ? 3 : 12;
  const accuracies: string[] = [];
  let isRising = true;
  for (const [name, pairs] of Object.entries(tasks)) {
    const examples = pairs.slice(0, 8);
    const right = async (k: number) =>
      mean(
        await Promise.all(
          pairs.slice(8, 8 + asked).map(async ({ input, output }) => {
            const prompt: LayoutPrompt = { kind: "few-shot", prompt: input, examples, k };
            const { text } = await model.generate(prompt, { maxTokens: 8, stop: "\n" });
            return Number(text.trim().startsWith(output));
          }),
        ),
      );
    const [zero, one, eight] = [await right(0), await right(1), await right(8)];
    isRising &&= eight > zero;
    accuracies.push(`${name}: ${percent(zero)} right without, ${percent(one)} with 1, ${percent(eight)} with 8`);
  }
  const shown = (k: number): LayoutPrompt => ({
    kind: "few-shot",
    prompt: tasks.capitals.at(-1)!.input,
    examples: tasks.capitals.slice(0, 8),
    k,
  });
  const cost = await whole(setting, [[shown(0), shown(8)]], 8);
  say(`  few-shot: ${accuracies.join("; ")}`);
  const fewShotRow: Row = {
    ...{ method: "layout few-shot", model: modelName, claim: "tasks of pattern and recall rise with the number of examples" },
    figure: accuracies.join("; "),
    met: `${isRising ? "yes" : "not on every task"}; the speed is that of 8 examples against none`,
    ...cost,
  };
  return { rows: [fewShotRow] };
}

export const layoutSteps: Steps = { set: setRows, "few-shot": fewShotRows };

/** ReAGent against what is known about a prompt, and against random attributions. */
async function explainRows(setting: Setting): Promise<Findings> {
  const { model, modelName, say, isQuick } = setting;
  const items = prompts.facts.slice(0, isQuick ? 1 : undefined);
  const replaced = isQuick ? 20 : 100;
  const inTop: number[] = [];
  const chance: number[] = [];
  const soft = { ns: [] as number[], nc: [] as number[], randomNs: [] as number[], randomNc: [] as number[] };
  const perPrompt: number[] = [];
  const passes: number[] = [];
  const speeds: number[] = [];
  const deleted = { top: [] as number[], random: [] as number[] };
  /** What was said first to what it took. */
  const foretold: number[] = [];
  for (const { prompt, entity } of items) {
    const method = `reagent,replaced=${replaced},tokens=1,rationale=3,faithfulness=true`;
    let [expectedMs, spentMs] = [0, 0];
    const { attribution } = await model.explain(prompt, {
      ...{ maxTokens: 1, method },
      onEffort({ done, expected, ms }) {
        if (done === 0)
          [expectedMs, spentMs] = [expected!.ms!, -ms]; // from here on
        else if (done === replaced) spentMs += ms;
      },
    });
    const [token] = attribution.tokens;
    inTop.push(Number(token!.rationale.some((index) => attribution.prompt[index] === entity)));
    chance.push(3 / attribution.prompt.length);
    const { softSufficiency, softComprehensiveness, random } = token!.faithfulness!;
    soft.ns.push(softSufficiency);
    soft.nc.push(softComprehensiveness);
    soft.randomNs.push(random.softSufficiency);
    soft.randomNc.push(random.softComprehensiveness);
    perPrompt.push(attribution.effort.ms / (attribution.effort.done + 1));
    foretold.push(expectedMs / spentMs);
    passes.push(attribution.effort.passes);
    const { timings } = await model.generate(prompt, { maxTokens: 1 });
    speeds.push((timings.promptMs + timings.completionMs) / attribution.effort.ms);
    const lost = await deletionOf(model, prompt, token!, passes.length);
    deleted.top.push(lost.top);
    deleted.random.push(lost.random);
  }
  const [ns, nc, randomNs, randomNc] = [soft.ns, soft.nc, soft.randomNs, soft.randomNc].map(mean) as [number, number, number, number];
  const isMet = mean(inTop) > mean(chance) && nc > randomNc && mean(deleted.top) > mean(deleted.random);
  const row: Row = {
    ...{ method: "explain reagent", model: modelName, claim: "more faithful than gradients and attention" },
    figure: `the entity is among the 3 most important tokens in ${percent(mean(inTop))} of ${items.length} prompts, by chance ${percent(mean(chance))}; without these 3 tokens the answer's first one loses ${mean(deleted.top).toFixed(2)} nats, without 3 at random ${mean(deleted.random).toFixed(2)}; Soft-NS ${ns.toFixed(3)} (random ${randomNs.toFixed(3)}), Soft-NC ${nc.toFixed(3)} (random ${randomNc.toFixed(3)}); ${mean(perPrompt).toFixed(0)} ms per replaced prompt; the time said first is ${mean(foretold).toFixed(2)} of what it took`,
    met: isMet ? "yes, against chance; other methods are not here" : "not against chance in all figures",
    speed: show(summarize(speeds), 3),
    passes: `${mean(passes).toFixed(0)} for a token that plainly takes one`,
  };
  say(`  reagent: ${row.figure}`);
  return { rows: [row] };
}

/** Nats that an explained first token loses when its most important tokens are deleted from the prompt, and when as many others are, drawn at random. */
async function deletionOf(model: Model, prompt: Prompt, { id, rationale }: TokenAttribution, seed: number) {
  const { tokens } = await model.layOut(prompt);
  const nats = async (isDeleted: (index: number) => boolean) => {
    const { logprobs } = await model.score([...tokens.filter((_, index) => !isDeleted(index)), id as TokenId]);
    return -logprobs.at(-1)!;
  };
  const before = await nats(() => false);
  const random = new RandomNumbers(seed);
  const draws: number[] = [];
  for (let draw = 0; draw < 8; draw += 1) {
    const left = [...tokens.keys()].filter((index) => model.tokenizer.piece(tokens[index]!, { special: false }).length > 0);
    const drawn = rationale.map(() => left.splice(Math.floor(random.next() * left.length), 1)[0]!);
    draws.push((await nats((index) => drawn.includes(index))) - before);
  }
  return { top: (await nats((index) => rationale.includes(index))) - before, random: mean(draws) };
}

export const explainSteps: Steps = { reagent: explainRows };
