import { standard } from "../method.ts";
import { defineDraft, noDraft } from "./draft.ts";

export const off = defineDraft({
  name: "off",
  summary: "nobody guesses ahead: a pass per token",
  source: standard,
  parameters: {},
  isNeutral: true,
  needs: [],
  create: () => {
    const state = {
      propose: () => noDraft,
      advance() {},
      rewind() {},
      fork: () => state,
      report: () => ({ offBecause: "the option says so" }),
    };
    return { name: "off", start: () => state };
  },
});
