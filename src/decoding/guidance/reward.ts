import { OptionError } from "../../errors.ts";
import { adapter as adapterParameter, boolean, model as modelParameter, number, optional } from "../method.ts";
import { ReadAlong } from "../read-along.ts";
import { defineGuide, type Guide } from "./guide.ts";
import { ModelTerms, noTerms, termRow } from "./model-terms.ts";

const name = "reward";

/**
 * Adds `weight` · log π_r(token) of an autoregressive reward model: a model whose log-probability of an answer is its reward (GenARM). Any
 * model of the same vocabulary serves, also a smaller one. Listed several times, the rewards add up.
 */
export const reward = defineGuide({
  name,
  summary: "adds the weighted log-probabilities of a reward model: list it again for each further one (GenARM)",
  source: { title: "GenARM: Reward Guided Generation with Autoregressive Reward Model for Test-time Alignment", arxiv: "2410.08193" },
  parameters: {
    model: optional(
      modelParameter({
        doc: "the reward model; it reads the same tokens as the model that writes, which it is where only an adapter is given",
      }),
    ),
    adapter: optional(adapterParameter({ doc: "an adapter loaded with the reward model, by name: with it it is one" })),
    weight: number({ min: 0, max: 100, default: 1, doc: "what its log-probabilities count; 0 changes nothing" }),
    normalize: boolean({
      default: false,
      doc: "divide the sum by 1 + all rewards' weights, as GenARM's program does: a mean of log-probabilities, so a flatter distribution",
    }),
  },
  example: { weight: 0.5 },
  neutral: { weight: 0 },
  needs: ["want.top", "want.fullLogits"],
  create({ model, adapter, weight, normalize }) {
    if (model === undefined && adapter === undefined)
      throw new OptionError("guide", "reward: needs model, or adapter for an adapter of the model that writes");
    const reading = { ...termRow, ...(adapter === undefined ? {} : { adapters: [{ name: adapter, scale: 1 }] }) };
    const guide: Guide & { readonly divides: boolean } = {
      name,
      weight,
      divides: normalize,
      async start(prompt, { companion, guides }) {
        const rewards = guides.filter((one) => one.name === name) as (typeof guide)[];
        const isLast = rewards.at(-1) === guide && rewards.some(({ divides }) => divides);
        const divisor = isLast ? 1 + rewards.reduce((sum, one) => sum + one.weight, 0) : 1;
        if (weight === 0 && divisor === 1) return noTerms;
        const terms = weight === 0 ? [] : [{ reader: await ReadAlong.start(companion(model), prompt, reading), weight }];
        return new ModelTerms(terms, { own: 0, plausible: 0, divisor });
      },
    };
    return guide;
  },
});
