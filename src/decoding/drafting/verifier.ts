import type { Candidates, DraftFacts, ForwardRequest, ForwardResult, RowResult, Sequence, TokenFact, Want } from "../../engine/index.ts";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import type { RowWant, StepSampler } from "../sampling/step.ts";
import { type DraftState, type DraftTree, maxDraftTokens, noDraft, type Probes } from "./draft.ts";
import { expectedGain } from "./worth.ts";

export interface VerifierOptions {
  readonly sequence: Sequence;
  readonly sampler: StepSampler;
  /** Tokens that were generated before it. Default 0. */
  readonly length?: number;
  /** Absent: every token has a pass of its own. */
  readonly draft?: { readonly name: string; readonly state: DraftState };
  /** Tokens after which nothing is drafted, since they end the answer. */
  readonly isEnd: (token: TokenId) => boolean;
  readonly maxTokens: number;
  /** How many candidates each row must have for the facts. */
  readonly top: number;
  /** Undefined once the deadline has passed. */
  readonly forward: (request: ForwardRequest) => Promise<ForwardResult | undefined>;
}

/**
 * Gives the row after each token of a path: from the pass that verified a draft where the token was drafted, from a new pass
 * over the token and the next draft otherwise.
 *
 * The run chooses every token from the target's own row by its own rules and random number, then asks here how to go on. A
 * drafted token is *accepted* when it is what the run chose. With deterministic drafts this accepts a token with the target's
 * probability of it, as speculative rejection sampling does for a proposal of a single token (Leviathan et al. 2023, arXiv
 * 2211.17192; on trees: SpecInfer, arXiv 2305.09781), and beyond having the same law the answer is the same tokens, whatever is
 * drafted: the sampling is drafter-invariant (Daliri et al. 2024, arXiv 2408.07978). So a seed gives one answer even where the
 * width of drafts follows measured times.
 *
 * Between two passes the sequence may hold a whole tree; {@link settle} leaves the path that was taken.
 */
export class Verifier {
  readonly #options: VerifierOptions;
  /** What the last pass verified. Row 0 is the last token, row i + 1 the draft's token i. */
  #tree: DraftTree = noDraft;
  #rows: readonly RowResult[] = [];
  /** Rows of the last pass that are on the path; empty when the sequence holds the path alone. */
  #path: number[] = [];
  /** Tokens generated so far. */
  #length = 0;
  /** What probes said after each row of the last pass. */
  #probed: readonly (readonly Candidates[])[] = [];
  readonly #byPosition: number[] = [];
  #drafted = 0;
  readonly #byWidth = new Map<number, { passes: number; accepted: number }>();

  constructor(options: VerifierOptions) {
    this.#options = options;
    this.#length = options.length ?? 0;
  }

  /** Where the token now chosen comes from. */
  sourceOf(token: TokenId): Pick<TokenFact, "source" | "drafted"> {
    const { draft } = this.#options;
    const guesses = this.#path.length === 0 ? [] : this.#childrenOf(this.#path.at(-1)!);
    if (draft === undefined || guesses.length === 0) return { source: "model" };
    const accepted = guesses.some((node) => this.#tree.tokens[node] === token);
    if (accepted) this.#byWidth.get(this.#tree.tokens.length)!.accepted++;
    if (accepted) this.#byPosition[this.#path.length - 1] = (this.#byPosition[this.#path.length - 1] ?? 0) + 1;
    return { source: accepted ? "draft" : "model", drafted: { by: draft.name, accepted } };
  }

  /** The row after `token`, which the run has chosen. Moves sampler and draft on. Undefined once the deadline has passed. */
  async after(token: TokenId): Promise<RowResult | undefined> {
    const { sampler, draft, forward, isEnd } = this.#options;
    this.#length++;
    draft?.state.advance(token);
    sampler.advance(token);
    if (this.#path.length > 0) {
      const node = this.#childrenOf(this.#path.at(-1)!).find((child) => this.#tree.tokens[child] === token);
      if (node !== undefined) {
        this.#path.push(node + 1);
        return (await sampler.prepare()) ? this.#rows[node + 1] : undefined;
      }
    }
    const probed = this.#probed[this.#path.at(-1) ?? -1];
    this.settle();
    const { tree, wants } = this.#admit(draft === undefined ? noDraft : await this.#propose(draft.state, token, probed));
    const rows = tree.tokens.length + 1;
    const probes = draft !== undefined && this.#allows(draft.state, rows - 1) && !isEnd(token) ? draft.state.probes : undefined;
    const request = withProbes(probes, {
      input: [token, ...tree.tokens],
      ...(tree.tokens.length === 0 ? {} : { parents: [-1, ...tree.parents.map((parent) => parent + 1)] }),
      want: wantOfRows([
        ...wants,
        ...Array.from(
          { length: rows * (probes?.chain.length ?? 0) },
          (): RowWant => ({ logits: "last", fullLogits: false, top: probes!.top }),
        ),
      ]),
    });
    const [result, isReady] = await Promise.all([forward(request), sampler.prepare(tree)]); // a guide's model runs beside ours
    if (result === undefined || !isReady) return undefined;
    if (draft === undefined) return result.rows[0];
    this.#tree = tree;
    this.#rows = result.rows.slice(0, rows);
    this.#probed = probedOf(probes, result.rows, rows);
    this.#path = [0];
    this.#drafted += tree.tokens.length;
    const width = this.#byWidth.get(tree.tokens.length) ?? { passes: 0, accepted: 0 };
    this.#byWidth.set(tree.tokens.length, width);
    width.passes++;
    return result.rows[0];
  }

  /** The row of the last token again, as the sampler now wants it: when its candidates did not suffice. Gives up the draft. */
  async again(last: TokenId): Promise<RowResult | undefined> {
    const { sequence, sampler, forward, top } = this.#options;
    this.settle();
    sequence.rewind(sequence.length - 1);
    const result = await forward({ input: [last], want: sampler.want({ top, isPrompt: false }) });
    return result?.rows[0];
  }

  /** Leaves of the last pass's rows those that were taken. */
  settle(): void {
    if (this.#path.length === 0) return;
    this.#options.sequence.keep(this.#path);
    this.#path = [];
    this.#tree = noDraft;
    this.#rows = [];
    this.#probed = [];
  }

  facts(): DraftFacts | undefined {
    const { draft } = this.#options;
    if (draft === undefined) return undefined;
    const byPosition = Array.from(this.#byPosition, (count) => count ?? 0);
    const { offBecause, curve } = draft.state.report?.() ?? {};
    const byWidth = [...this.#byWidth].sort(([a], [b]) => a - b).map(([drafted, width]) => ({ drafted, ...width }));
    return {
      method: draft.name,
      drafted: this.#drafted,
      accepted: byPosition.reduce((sum, count) => sum + count, 0),
      byPosition,
      byWidth,
      ...(curve === undefined ? {} : { expectedGain: expectedGain(curve, byWidth) }),
      ...(offBecause === undefined ? {} : { offBecause }),
    };
  }

  /** Draft tokens after a row of the last pass. */
  #childrenOf(row: number): number[] {
    const { parents } = this.#tree;
    return [...parents.keys()].filter((node) => parents[node] === row - 1);
  }

  /** A draft within what the answer may still take: a pass gives one token more than it has accepted ones. */
  async #propose(state: DraftState, token: TokenId, probed: readonly Candidates[] | undefined): Promise<DraftTree> {
    const { maxTokens, isEnd } = this.#options;
    const left = maxTokens - this.#length;
    const maxNodes = this.#allows(state, 0) ? Math.floor(this.#room() / rowsPerToken(state)) - 1 : this.#room() - 1;
    const limits = { maxNodes, maxDepth: left - 1, ...(probed === undefined ? {} : { probed }) };
    if (limits.maxNodes <= 0 || limits.maxDepth <= 0 || isEnd(token)) return noDraft;
    const { tokens, parents } = await state.propose(limits);
    return { tokens: tokens.slice(0, limits.maxNodes), parents: parents.slice(0, limits.maxNodes) };
  }

  /** Rows of a pass. A tree's rows are all held for a while: they stay within the room that the run was promised. */
  #room(): number {
    const { sequence, maxTokens } = this.#options;
    return Math.min(maxTokens - this.#length, maxDraftTokens, sequence.contextLength - sequence.length - 1) + 1;
  }

  /** Whether there is room for a state's probes beside so many drafted tokens, and use for them. */
  #allows(state: DraftState, nodes: number): boolean {
    return state.probes !== undefined && (nodes + 1) * rowsPerToken(state) <= this.#room() && this.#options.maxTokens - this.#length > 1;
  }

  /**
   * The part of a draft that can be accepted at all (no deeper than the answer may become, nothing after an end token, nothing
   * that a guide forbids), and what each row must come with, the row of the last token first: a guide changes other tokens on
   * each path.
   */
  #admit({ tokens, parents }: DraftTree): { tree: DraftTree; wants: RowWant[] } {
    const { sampler, sequence, isEnd, maxTokens, top } = this.#options;
    const admitted: { tokens: TokenId[]; parents: number[] } = { tokens: [], parents: [] };
    const wants = [sampler.want({ top, isPrompt: false })];
    const children = new Map<number, number[]>();
    for (const [node, parent] of parents.entries()) {
      if (!Number.isInteger(parent) || parent < -1 || parent >= node || parents.length !== tokens.length)
        throw new OptionError("draft", `internal: token ${node} of a draft has parent ${parent}`);
      const token = tokens[node]!;
      if (!Number.isInteger(token) || token < 0 || token >= sequence.vocabSize)
        throw new OptionError("draft", `internal: drafted token ${token} is outside the vocabulary`);
      const siblings = children.get(parent);
      if (siblings === undefined) children.set(parent, [node]);
      else siblings.push(node);
    }
    const visit = (node: number, place: number, depth: number): void => {
      for (const child of children.get(node) ?? []) {
        const token = tokens[child]!;
        if (!sampler.allows(token)) continue;
        const childPlace = admitted.tokens.push(token) - 1;
        admitted.parents.push(place);
        if (!sampler.hasGuides) wants.push(wants[0]!);
        else {
          sampler.advance(token);
          wants.push(sampler.want({ top, isPrompt: false }));
        }
        if (this.#length + depth + 1 < maxTokens && !isEnd(token)) visit(child, childPlace, depth + 1);
        if (sampler.hasGuides) sampler.rewind(this.#length + depth - 1);
      }
    };
    visit(-1, -1, 1);
    return { tree: admitted, wants };
  }
}

/** One request for rows that each want their own. */
function wantOfRows(wants: readonly RowWant[]): Want {
  const [first] = wants;
  if (wants.length === 1) return first!;
  return {
    logits: "all",
    top: Math.max(...wants.map(({ top }) => top)),
    ...(wants.some(({ scores }) => scores !== undefined) ? { scores: wants.map(({ scores }) => scores?.[0] ?? []) } : {}),
    fullLogits: wants.some(({ fullLogits }) => fullLogits),
  };
}

/** Rows that a token takes in a pass: itself and the probes after it. */
const rowsPerToken = ({ probes }: DraftState): number => 1 + (probes?.chain.length ?? 0);

/** A request of the last token and a draft with the chain of probes after each of its rows, row by row. */
function withProbes(
  probes: Probes | undefined,
  request: Omit<ForwardRequest, "input"> & { readonly input: readonly TokenId[] },
): ForwardRequest {
  if (probes === undefined) return request;
  const rows = request.input.length;
  const { length } = probes.chain;
  const parents = [...(request.parents ?? [-1])];
  for (let row = 0; row < rows; row++) for (let i = 0; i < length; i++) parents.push(i === 0 ? row : parents.length - 1);
  const from = Array.from({ length: rows }, (_, row) => row);
  return {
    ...request,
    input: [...request.input, ...from.flatMap((row) => probes.chain.map(() => request.input[row]!))],
    parents,
    inject: probes.chain.map((step, i) => ({ ...step, from, rows: from.map((row) => rows + row * length + i) })),
  };
}

/** Per row of a pass what the probes after it said. */
function probedOf(probes: Probes | undefined, results: readonly RowResult[], rows: number): Candidates[][] {
  if (probes === undefined) return [];
  const { length } = probes.chain;
  return Array.from({ length: rows }, (_, row) =>
    results.slice(rows + row * length, rows + (row + 1) * length).map(({ candidates }) => candidates!),
  );
}
