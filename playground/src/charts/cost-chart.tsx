import type { CostCurve } from "../api/wire.ts";
import { Plot } from "./plot.tsx";
import { linear, linePath, ticks } from "./scale.ts";

const margin = { left: 40, right: 12, top: 12, bottom: 36 };

/** T(n)/T(1) over n, with the line on which fusing rows would save nothing. */
export function CostChart({ curve: { points, singleRowMs } }: { readonly curve: CostCurve }) {
  const most = Math.max(...points.map(({ rows }) => rows));
  const highest = Math.max(...points.map(({ ratio }) => ratio));
  const [rowMarks, ratioMarks] = [ticks(most, 6), ticks(highest, 4)];
  return (
    <figure class="chart chart-wide">
      <Plot height={260} label={`Time of a pass by rows; one row takes ${singleRowMs.toFixed(1)} ms. The table below has the numbers`}>
        {({ width, height }) => {
          const x = linear([0, rowMarks.at(-1)!], [margin.left, width - margin.right]);
          const top = ratioMarks.at(-1)!;
          const y = linear([0, top], [height - margin.bottom, margin.top]);
          const reach = Math.min(top, rowMarks.at(-1)!);
          return (
            <>
              {ratioMarks.map((mark) => (
                <g key={mark}>
                  <line class="rule" x1={margin.left} x2={width - margin.right} y1={y(mark)} y2={y(mark)} />
                  <text class="tick" x={margin.left - 6} y={y(mark) + 4} text-anchor="end">
                    {mark}×
                  </text>
                </g>
              ))}
              {rowMarks.map((mark) => (
                <text key={mark} class="tick" x={x(mark)} y={height - margin.bottom + 16} text-anchor="middle">
                  {mark}
                </text>
              ))}
              <text class="tick" x={width - margin.right} y={height - 4} text-anchor="end">
                rows in one pass
              </text>
              <path
                class="line line-ideal"
                d={linePath([
                  [x(1), y(1)],
                  [x(reach), y(reach)],
                ])}
              />
              <path class="line line-0" d={linePath(points.map(({ rows, ratio }) => [x(rows), y(ratio)]))} />
              {points.map(({ rows, ratio }) => (
                <circle key={rows} class="point" cx={x(rows)} cy={y(ratio)} r={3}>
                  <title>
                    {rows} rows: {ratio.toFixed(2)} times one row
                  </title>
                </circle>
              ))}
            </>
          );
        }}
      </Plot>
      <figcaption class="legend">
        <span class="legend-scale">
          <span class="swatch swatch-line">measured</span>
          <span class="swatch swatch-ideal">one row after the other</span>
        </span>
        <span class="quiet">one row takes {singleRowMs.toFixed(1)} ms</span>
      </figcaption>
      <details class="more">
        <summary>The curve as a table</summary>
        <table>
          <thead>
            <tr>
              <th scope="col">Rows</th>
              <th scope="col">Times one row</th>
            </tr>
          </thead>
          <tbody>
            {points.map(({ rows, ratio }) => (
              <tr key={rows}>
                <td class="number">{rows}</td>
                <td class="number">{ratio.toFixed(2)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}
