import { Ajv2020 } from "ajv/dist/2020.js";
import type { GenerateOptions } from "../../src/index.ts";
import { cutOf, trainedDraftOf } from "./drafts.ts";
import {
  alternate,
  asked,
  decodeMs,
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
import { rewardRows, weakRewardRows } from "./reward.ts";

/** The model against a cut of itself, and against smollm2-draft where it was built. */
async function contrastRows(setting: Setting): Promise<Findings> {
  const rows = [await contrastRow(setting, await cutOf(setting), "a cut of the model's first 4 blocks")];
  const trained = await trainedDraftOf(setting);
  if (trained !== undefined) rows.push(await contrastRow(setting, trained, "smollm2-draft"));
  return { rows };
}

/** What both find probable counts for less. */
async function contrastRow(setting: Setting, amateur: string, who: string): Promise<Row> {
  const { modelName, pairs, say } = setting;
  const list = await onePerKind(setting);
  const guided = { guide: `contrast,amateur=${amateur},weight=0.5`, logprobs: 0 };
  const { ratios, results } = await alternate(setting, list, [{ logprobs: 0 }, guided], pairs, false);
  const [plain, contrast] = (await Promise.all(results.map((answers) => repetition(setting, list, answers)))) as [number, number];
  const nats = results.map((answers) => mean(answers.map(({ logprobs }) => mean(logprobs!.map(({ logprob }) => logprob)))));
  const others = results[1]!.flatMap(({ facts }) => facts.models ?? []);
  const figure = `${percent(contrast)} of 4-grams repeated, greedy ${percent(plain)}; ${nats[1]!.toFixed(3)} nats per token, greedy ${nats[0]!.toFixed(3)}; the amateur's passes take ${mean(others.map(({ computeMs }) => computeMs)).toFixed(0)} of ${mean(results[1]!.map(({ timings }) => timings.completionMs)).toFixed(0)} ms`;
  say(`  contrast with ${who}: ${figure}, ${show(ratios[1]!)}`);
  return {
    ...{
      method: "guide contrast",
      model: modelName,
      claim: `what an amateur likes too, such as repetition, becomes rarer (here: ${who})`,
    },
    figure,
    met: contrast < plain ? "yes" : "no: this amateur's likings are not the model's repetitions",
    speed: show(ratios[1]!),
    passes: perPass(results[1]!),
  };
}

/** With and without the grammar: how many answers are what was asked for. */
async function grammarRows(setting: Setting): Promise<Findings> {
  const { model, modelName, pairs, say, isQuick } = setting;
  const items = prompts.records.slice(0, isQuick ? 1 : undefined);
  const ajv = new Ajv2020({ strict: false });
  const valid: [number[], number[]] = [[], []];
  const perToken: number[][] = [[], []];
  for (const { ask, schema } of items) {
    const prompt = await asked(model, [
      { role: "user", content: `${ask} Answer with a JSON object of this schema and nothing else: ${JSON.stringify(schema)}` },
    ]);
    const check = ajv.compile(schema);
    const ways: readonly GenerateOptions[] = [{}, { guide: [{ name: "grammar", schema: JSON.stringify(schema) }] }];
    for (let round = 0; round < (isQuick ? 1 : 3); round++)
      for (const index of round % 2 === 0 ? [0, 1] : [1, 0]) {
        const result = await model.generate(prompt, { maxTokens: 96, ...ways[index] });
        if (round === 0) valid[index as 0 | 1].push(Number(isValid(result.text, check)));
        perToken[index]!.push(decodeMs(result));
      }
  }
  // speed where both write equally many tokens: a grammar that allows any text
  const list = await onePerKind(setting);
  const any = { guide: [{ name: "grammar", regex: "[\\s\\S]{0,4000}" }], ignoreEndTokens: false };
  const { ratios, results } = await alternate(setting, list, [{ ignoreEndTokens: false }, any], pairs, false);
  // the schemas' own masks, per token: their answers differ in length from those without
  const schemaMs = mean(perToken[1]!) - mean(perToken[0]!);
  const isCheap = added(results) <= 1 && schemaMs <= 1;
  const figure = `${percent(mean(valid[1]))} of ${items.length} answers parse and validate, ${percent(mean(valid[0]))} without`;
  say(`  grammar: ${figure}, ${show(ratios[1]!)}`);
  const row: Row = {
    ...{
      method: "guide grammar",
      model: modelName,
      claim: "every answer that ends is what the schema says, at no more than 1 ms per token",
    },
    figure: `${figure}; ${added(results).toFixed(2)} ms per token more than without for any text, ${schemaMs.toFixed(2)} for the schemas, whose masks are made in the first of three answers`,
    met: `${mean(valid[1]) === 1 ? "yes" : "no"}; at most 1 ms per token: ${isCheap ? "met" : "missed"}`,
    speed: show(ratios[1]!),
    passes: perPass(results[1]!),
  };
  return { rows: [row] };
}

function added(results: Awaited<ReturnType<typeof alternate>>["results"]): number {
  const [plain, guided] = results.map((list) => mean(list.map(decodeMs)));
  return guided! - plain!;
}

function isValid(text: string, check: (value: unknown) => unknown): boolean {
  try {
    return check(JSON.parse(text)) === true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

export const guideSteps: Steps = { contrast: contrastRows, grammar: grammarRows, reward: rewardRows, "weak-reward": weakRewardRows };
