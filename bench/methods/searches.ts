import { alternate, type Findings, kinds, mean, percent, promptsOf, type Row, repeatedShare, type Setting, show } from "./harness.ts";

/** Searches of four rows against 1.15 · T(4)/T(1) of this run, and what they change: probability, repetition. */
export async function searchRows(setting: Setting): Promise<Findings> {
  const { model, modelName, pairs, say } = setting;
  const curve = await model.costCurve();
  const prompts = (await Promise.all(kinds.slice(0, 6).map(async (kind) => (await promptsOf(setting, kind))[0]!))).slice(
    0,
    setting.isQuick ? 2 : 6,
  );
  const settings = [
    { search: "contrastive,k=4", logprobs: 0 },
    { search: "beam,width=4", logprobs: 0 },
    { search: "conditional-beam,width=4,ngram=4", logprobs: 0 },
  ];
  const { ratios, results } = await alternate(setting, prompts, [{ logprobs: 0 }, ...settings], pairs, false);
  const repeats = await Promise.all(
    results.map(async (list) =>
      mean(await Promise.all(list.map(async ({ tokens }, index) => repeatedShare((await model.layOut(prompts[index]!)).tokens, tokens)))),
    ),
  );
  const probability = results.map((list) => mean(list.map(({ logprobs }) => mean(logprobs!.map(({ logprob }) => logprob)))));
  const limit = 1.15 * curve.ratio(4);
  const row = (index: number, method: string, claim: string, figure: string, isMet: boolean, why: string): Row => {
    const cost = 1 / ratios[index]!.median;
    const bound = `${cost.toFixed(2)} times greedy, aim at most 1.15 · T(4)/T(1) = ${limit.toFixed(2)}${cost <= limit ? "" : ": missed"}`;
    const passes = `${mean(results[index]!.map(({ facts }) => facts.passes)).toFixed(0)} passes`;
    say(`  ${method}: ${bound}`);
    const met = `${isMet ? "yes" : `no: ${why}`}${index < 3 ? `; ${bound}` : ""}`;
    return { method, model: modelName, claim, figure, met, speed: show(ratios[index]!), passes };
  };
  const nats = (index: number) => `${probability[index]!.toFixed(3)} nats per token, greedy ${probability[0]!.toFixed(3)}`;
  const copies = (index: number) => `${percent(repeats[index]!)} of 4-grams repeated, greedy ${percent(repeats[0]!)}`;
  const rows = [
    row(1, "search contrastive", "less repetition than greedy", copies(1), repeats[1]! < repeats[0]!, "the texts are too short to loop"),
    row(2, "search beam", "more probable answers than greedy", nats(2), probability[2]! >= probability[0]!, "its answers end elsewhere"),
    row(
      3,
      "search conditional-beam",
      "no repeated 4-gram, at a small loss of probability",
      `${copies(3)}; ${nats(3)}`,
      repeats[3]! <= repeats[0]!,
      "4-grams of the prompt count, which it may use",
    ),
  ];
  return { rows };
}

/** Momentum against greedy: repetition, at one pass per token. */
export async function samplerRows(setting: Setting): Promise<Findings> {
  const { model, modelName, pairs, say } = setting;
  const prompts = (await Promise.all(kinds.slice(0, 6).map(async (kind) => (await promptsOf(setting, kind))[0]!))).slice(
    0,
    setting.isQuick ? 2 : 6,
  );
  const { ratios, results } = await alternate(setting, prompts, [{}, { sample: "momentum" }], pairs, false);
  const repeats = await Promise.all(
    results.map(async (list) =>
      mean(await Promise.all(list.map(async ({ tokens }, index) => repeatedShare((await model.layOut(prompts[index]!)).tokens, tokens)))),
    ),
  );
  say(`  momentum: ${percent(repeats[1]!)} repeated, greedy ${percent(repeats[0]!)}, ${show(ratios[1]!)}`);
  const row: Row = {
    ...{ method: "sample momentum", model: modelName, claim: "less repetition than greedy, at greedy's speed" },
    figure: `${percent(repeats[1]!)} of 4-grams repeated, greedy ${percent(repeats[0]!)}`,
    met: repeats[1]! < repeats[0]! ? "yes" : "no: greedy hardly repeats on these prompts",
    speed: show(ratios[1]!),
  };
  return { rows: [row] };
}
