import { useEffect, useRef } from "preact/hooks";
import type { BranchFact } from "../api/wire.ts";
import { vocabulary } from "../app-state.ts";
import type { GrowingBranch } from "../run/run.ts";
import { ScrollRegion } from "../ui/scroll-region.tsx";
import { visible } from "./probability.ts";
import { layoutTree, type PlacedBranch } from "./tree-layout.ts";

const character = 7.3; // of the monospaced face at 12 px, a little more than it needs
const laneHeight = 26;
const gap = 26;
const rootWidth = 22;
const longest = 16;
const listed = 200;

const ends: Readonly<Record<BranchFact["end"], string>> = {
  won: "won",
  pruned: "pruned",
  rewound: "taken back",
  stopped: "complete, not the best",
};

/** The branches of a search as a tree of words that grows while the search goes on. */
export function SearchTree({
  branches,
  growing,
}: {
  readonly branches: readonly BranchFact[];
  readonly growing: readonly GrowingBranch[];
}) {
  vocabulary.version.value; // redrawn when texts come in
  const layout = layoutTree(branches, growing);
  const word = (id: number) => {
    const text = visible(vocabulary.text(id) ?? `#${id}`);
    return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
  };
  const widths = new Array<number>(layout.columns).fill(character);
  for (const { from, tokens } of layout.branches) {
    tokens.forEach((id, index) => {
      widths[from + index] = Math.max(widths[from + index]!, word(id).length * character);
    });
  }
  const lefts: number[] = [rootWidth];
  for (const width of widths) lefts.push(lefts.at(-1)! + width + gap);
  const width = lefts.at(-1)!;
  const height = layout.lanes * laneHeight;
  const y = (lane: number) => lane * laneHeight + laneHeight / 2;
  const scroll = useRef<HTMLElement>(null);
  const isAtEnd = useRef(true);
  const isUnderWay = growing.length > 0;
  useEffect(() => {
    if (isUnderWay && isAtEnd.current) scroll.current?.scrollTo({ left: scroll.current.scrollWidth });
  }, [width, isUnderWay]);
  useEffect(() => {
    if (!isUnderWay) scroll.current?.scrollTo({ left: 0 }); // one reads it from the beginning
  }, [isUnderWay]);
  const ended = branches.length;
  return (
    <figure class="figure">
      <ScrollRegion
        label="Search tree"
        box={scroll}
        onScroll={(box) => {
          isAtEnd.current = box.scrollLeft + box.clientWidth >= box.scrollWidth - 40;
        }}
      >
        <svg
          class="tree"
          width={width}
          height={height + 8}
          role="img"
          aria-label={`Tree of ${ended} branches over ${layout.columns} tokens; the table below lists them`}
        >
          <g transform="translate(0 4)">
            {layout.branches.map((branch, index) => (
              <path
                key={index}
                class="tree-line"
                data-answer={branch.isAnswer ? "" : undefined}
                data-end={branch.fact?.end}
                d={line(branch)}
              />
            ))}
            <circle class="tree-root" cx={8} cy={y(0)} r={4} />
            {layout.branches.map((branch, index) => (
              <g key={index} class="tree-words" data-answer={branch.isAnswer ? "" : undefined} data-end={branch.fact?.end ?? "live"}>
                <title>{told(branch)}</title>
                {branch.tokens.map((id, index) => (
                  <Word key={index} x={lefts[branch.from + index]!} y={y(branch.lane)} text={word(id)} />
                ))}
                {branch.tokens.length > 0 && (branch.fact?.end === "pruned" || branch.fact?.end === "rewound") && (
                  <path class="tree-cut" d={`M${endOf(branch) + 5} ${y(branch.lane) - 4}l8 8m0 -8l-8 8`} />
                )}
              </g>
            ))}
          </g>
        </svg>
      </ScrollRegion>
      <figcaption class="legend">
        <span class="legend-scale">
          <span class="swatch swatch-answer">the answer</span>
          <span class="swatch swatch-pruned">other branches</span>
          <span class="swatch swatch-cut">pruned or taken back</span>
        </span>
      </figcaption>
      <details class="more">
        <summary>Branches as a table</summary>
        <ScrollRegion label="Branches">
          <table>
            <thead>
              <tr>
                <th scope="col">Branch</th>
                <th scope="col">Left</th>
                <th scope="col">At token</th>
                <th scope="col">Tokens</th>
                <th scope="col">Score</th>
                <th scope="col">End</th>
              </tr>
            </thead>
            <tbody>
              {branches.slice(-listed).map(({ id, parent, from, tokens, score, end, why }) => (
                <tr key={id}>
                  <td class="number">{id}</td>
                  <td class="number">{parent ?? "prompt"}</td>
                  <td class="number">{from + 1}</td>
                  <td>
                    <code>{tokens.map((token) => visible(vocabulary.text(token) ?? `#${token}`)).join(" ")}</code>
                  </td>
                  <td class="number">{score.toFixed(3)}</td>
                  <td>
                    {ends[end]}
                    {why !== undefined && <span class="quiet"> {why}</span>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </ScrollRegion>
        {branches.length > listed && (
          <p class="quiet">
            The last {listed} of {branches.length}.
          </p>
        )}
      </details>
    </figure>
  );

  function endOf({ from, tokens }: PlacedBranch): number {
    const last = tokens.at(-1);
    return last === undefined ? lefts[from]! : lefts[from + tokens.length - 1]! + word(last).length * character;
  }

  /** From where it left its parent, down to its lane, along its words. */
  function line(branch: PlacedBranch): string {
    const { from, lane, parentLane } = branch;
    const [x, top] = parentLane === undefined ? [8, y(0)] : [lefts[from]! - 9, y(parentLane)];
    return `M${x} ${top}${top === y(lane) ? "" : curve(x, top, lefts[from]! - 2, y(lane))}H${endOf(branch)}`;
  }

  function told({ id, fact, tokens }: PlacedBranch): string {
    const text = tokens.map((token) => vocabulary.text(token) ?? `#${token}`).join("");
    if (fact === undefined) return `branch ${id}, under way: ${text}`;
    return `branch ${id}: ${text}\nscore ${fact.score.toFixed(3)}, ${ends[fact.end]}${fact.why === undefined ? "" : `: ${fact.why}`}`;
  }
}

const curve = (x: number, y: number, toX: number, toY: number) => `C${x} ${y + (toY - y) * 0.7} ${x} ${toY} ${toX} ${toY}`;

function Word({ x, y, text }: { readonly x: number; readonly y: number; readonly text: string }) {
  return (
    <>
      <rect class="tree-word-back" x={x - 3} y={y - 9} width={text.length * character + 6} height={18} rx={3} />
      <text x={x} y={y + 4}>
        {text}
      </text>
    </>
  );
}
