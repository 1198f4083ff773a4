import { useState } from "preact/hooks";
import type { Facts } from "../api/wire.ts";
import { ScrollRegion } from "../ui/scroll-region.tsx";
import { type SkipRun, skipGrid } from "./skip-grid.ts";

const blockHeight = 8;
/** Cells get narrower as the answer gets longer, down to where one still sees each. */
const cellWidth = (tokens: number) => Math.max(5, Math.min(14, Math.floor(640 / Math.max(tokens, 1))));
const margin = { left: 34, bottom: 22, top: 4, right: 4 };

interface Props {
  readonly skips: NonNullable<Facts["skips"]>;
  readonly numTokens: number;
  readonly numBlocks: number;
}

/** Skipped half-blocks, tokens from left to right, blocks from the bottom up; a cell's upper half is attention, its lower feed-forward. */
export function SkipMap({ skips, numTokens, numBlocks }: Props) {
  const [at, setAt] = useState<{ token: number; block: number } | undefined>(undefined);
  const grid = skipGrid(skips, numTokens, numBlocks);
  const cell = { width: cellWidth(grid.tokens), height: blockHeight };
  const [width, height] = [grid.tokens * cell.width, grid.blocks * cell.height];
  const half = cell.height / 2;
  const path = (runs: readonly SkipRun[], offset: number) =>
    runs
      .map(
        ([token, block, length]) =>
          `M${token * cell.width} ${height - (block + 1) * cell.height + offset}h${length * cell.width - 1}v${half - 0.5}h-${length * cell.width - 1}z`,
      )
      .join("");
  const skippedAt =
    at === undefined ? [] : skips.blocks.filter(([row, block]) => row === at.token && block === at.block).map(([, , kind]) => kind);
  const perToken = 2 * grid.blocks;
  return (
    <figure class="figure">
      <ScrollRegion label="Skipped blocks by token and block">
        <svg
          width={margin.left + width + margin.right}
          height={margin.top + height + margin.bottom}
          class="skip-map"
          role="img"
          aria-label={`${skips.total - skips.run} of ${skips.total} half-blocks were skipped over ${grid.tokens} tokens and ${grid.blocks} blocks`}
          onPointerMove={(event) => {
            const box = event.currentTarget.getBoundingClientRect();
            const token = Math.floor((event.clientX - box.left - margin.left) / cell.width);
            const block = grid.blocks - 1 - Math.floor((event.clientY - box.top - margin.top) / cell.height);
            setAt(token >= 0 && token < grid.tokens && block >= 0 && block < grid.blocks ? { token, block } : undefined);
          }}
          onPointerLeave={() => setAt(undefined)}
        >
          <g transform={`translate(${margin.left} ${margin.top})`}>
            <rect class="grid-back" width={width} height={height} />
            <path class="skip-attn" d={path(grid.attention, 0)} />
            <path class="skip-ffn" d={path(grid.feedForward, half)} />
            {at !== undefined && (
              <rect
                class="grid-cursor"
                x={at.token * cell.width}
                y={height - (at.block + 1) * cell.height}
                width={cell.width}
                height={cell.height}
              />
            )}
            {[0, Math.floor((grid.blocks - 1) / 2), grid.blocks - 1].map((block) => (
              <text key={block} class="tick" x={-6} y={height - block * cell.height - 1} text-anchor="end">
                {block}
              </text>
            ))}
            {Array.from({ length: Math.ceil(grid.tokens / 16) }, (_, index) => index * 16).map((token) => (
              <text key={token} class="tick" x={token * cell.width} y={height + 15}>
                {token + 1}
              </text>
            ))}
          </g>
        </svg>
      </ScrollRegion>
      <figcaption class="legend">
        <span class="legend-scale">
          <span class="swatch swatch-attn">attention skipped</span>
          <span class="swatch swatch-ffn">feed-forward skipped</span>
        </span>
        <span class="quiet" aria-live="polite">
          {at === undefined
            ? `blocks 0–${grid.blocks - 1} upwards, tokens to the right; ${perToken} half-blocks per token`
            : `token ${at.token + 1}, block ${at.block}: ${skippedAt.length === 0 ? "ran whole" : `skipped ${skippedAt.map((kind) => (kind === "attn" ? "attention" : "feed-forward")).join(" and ")}`}`}
        </span>
      </figcaption>
    </figure>
  );
}
