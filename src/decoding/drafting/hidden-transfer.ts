import type { Candidates } from "../../engine/index.ts";
import { UnsupportedError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { integer } from "../method.ts";
import { type DraftLimits, type DraftState, type DraftTree, defineDraft, noDraft, type Probes } from "./draft.ts";

/** Candidates of a place that are looked at: beyond these none is likely enough for a small tree. */
const width = 8;

/**
 * A tree of the likeliest continuations where each place has its own distribution, whatever stands before it: the cartesian product of the
 * places' candidates, as far as `maxNodes` goes, the likelier path first.
 */
export function productTree(places: readonly Candidates[], { maxNodes, maxDepth }: DraftLimits): DraftTree {
  const tokens: TokenId[] = [];
  const parents: number[] = [];
  interface Node {
    readonly parent: number;
    readonly depth: number;
    readonly rank: number;
    readonly before: number;
  }
  const scoreOf = ({ depth, rank, before }: Node) => before + places[depth]!.logits[rank]! - places[depth]!.logSumExp;
  const open: Node[] = [];
  const offer = (node: Node) => {
    if (node.depth < Math.min(places.length, maxDepth) && node.rank < places[node.depth]!.ids.length) open.push(node);
  };
  offer({ parent: -1, depth: 0, rank: 0, before: 0 });
  while (open.length > 0 && tokens.length < maxNodes) {
    let best = 0;
    for (const [index, node] of open.entries()) if (scoreOf(node) > scoreOf(open[best]!)) best = index;
    const [node] = open.splice(best, 1) as [Node];
    const place = tokens.push(places[node.depth]!.ids[node.rank]! as TokenId) - 1;
    parents.push(node.parent);
    offer({ ...node, rank: node.rank + 1 });
    offer({ parent: place, depth: node.depth + 1, rank: 0, before: scoreOf(node) });
  }
  return { tokens, parents };
}

/** Guesses by what the last pass's probes said of the tokens to come. Without any, as after the prompt, it guesses nothing. */
class HiddenTransferDraft implements DraftState {
  readonly probes: Probes;
  readonly #nodes: number;

  constructor(probes: Probes, nodes: number) {
    this.probes = probes;
    this.#nodes = nodes;
  }

  propose({ probed, maxNodes, maxDepth }: DraftLimits): DraftTree {
    return probed === undefined ? noDraft : productTree(probed, { maxNodes: Math.min(this.#nodes, maxNodes), maxDepth });
  }

  advance(): void {}

  rewind(): void {}

  fork(): HiddenTransferDraft {
    return this;
  }
}

export const hiddenTransfer = defineDraft({
  name: "hidden-transfer",
  summary: "the model's own middle states, moved ahead by trained maps through the upper blocks, guess in the pass that verifies",
  source: { title: "Parallel Decoding via Hidden Transfer for Lossless Large Language Model Acceleration", arxiv: "2404.12022" },
  parameters: {
    nodes: integer({ min: 1, max: 20, default: 4, doc: "tokens of the tree; each has the maps' rows in the pass too" }),
  },
  needs: ["parents", "keep", "inject"],
  refuses: { skip: "its probes take their states between blocks, in a pass that a skip cuts into parts or leaves blocks out of" },
  create({ nodes }) {
    return {
      name: "hidden-transfer",
      async start(_, { transferMaps }) {
        if (transferMaps === undefined)
          throw new UnsupportedError("draft: hidden-transfer needs a model that has blocks and maps between them");
        return new HiddenTransferDraft({ chain: await transferMaps(), top: width }, nodes);
      },
    };
  },
});
