import { adapterMethods } from "./adapters.ts";
import { adaptive } from "./drafting/adaptive.ts";
import { auto } from "./drafting/auto.ts";
import type { Draft } from "./drafting/draft.ts";
import { hiddenTransfer } from "./drafting/hidden-transfer.ts";
import { model } from "./drafting/model.ts";
import { nested } from "./drafting/nested.ts";
import { ngram } from "./drafting/ngram.ts";
import { off } from "./drafting/off.ts";
import type { Explainer } from "./explaining/explainer.ts";
import { reagent } from "./explaining/reagent.ts";
import { bias } from "./guidance/bias.ts";
import { contrast } from "./guidance/contrast.ts";
import { frequency } from "./guidance/frequency.ts";
import { grammar } from "./guidance/grammar.ts";
import type { Guide } from "./guidance/guide.ts";
import { presence } from "./guidance/presence.ts";
import { repetition } from "./guidance/repetition.ts";
import { reward } from "./guidance/reward.ts";
import type { Method } from "./method.ts";
import { fewShot } from "./prompting/few-shot.ts";
import type { Layout } from "./prompting/layout.ts";
import { set } from "./prompting/set.ts";
import { greedy } from "./sampling/greedy.ts";
import { minP } from "./sampling/min-p.ts";
import { momentum } from "./sampling/momentum.ts";
import type { Sampler } from "./sampling/sampler.ts";
import { temperature } from "./sampling/temperature.ts";
import { topK } from "./sampling/top-k.ts";
import { topP } from "./sampling/top-p.ts";
import { typical } from "./sampling/typical.ts";
import { backspace } from "./search/backspace.ts";
import { beam } from "./search/beam.ts";
import { bestOf } from "./search/best-of.ts";
import { conditionalBeam } from "./search/conditional-beam.ts";
import { contrastive } from "./search/contrastive.ts";
import { path } from "./search/path.ts";
import { rewind } from "./search/rewind.ts";
import type { Search } from "./search/search.ts";
import { ffn } from "./skipping/ffn.ts";
import { layers } from "./skipping/layers.ts";
import type { Skip } from "./skipping/skip.ts";

/** Every method, by axis: what options accept, `chainrule methods` prints and the server offers. A method is its file and a line here. */
export const registry = {
  layout: [set, fewShot] as readonly Method<Layout>[],
  skip: [ffn, layers] as readonly Method<Skip>[],
  draft: [off, auto, ngram, adaptive, model, nested, hiddenTransfer] as readonly Method<Draft>[],
  guide: [bias, repetition, presence, frequency, grammar, reward, contrast] as readonly Method<Guide>[],
  sample: [greedy, temperature, topK, topP, minP, typical, momentum] as readonly Method<Sampler>[],
  search: [path, beam, conditionalBeam, contrastive, bestOf, rewind, backspace] as readonly Method<Search>[],
  explain: [reagent] as readonly Method<Explainer>[],
};

/** Every axis of a call of `generate`. The methods of the axis `adapter` are what a model has loaded, by these names. */
export const methodsByAxis = (adapters: readonly string[]) => ({ ...registry, adapter: adapterMethods(adapters) });

/** Stands for the name of any adapter, where no model says which there are. */
export const anyAdapter = "<path>";
