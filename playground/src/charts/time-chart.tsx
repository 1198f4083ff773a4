import { historyMs, type Sample } from "./history.ts";
import { Plot } from "./plot.tsx";
import { linear, linePath, ticks } from "./scale.ts";

interface Props {
  readonly title: string;
  readonly unit: string;
  readonly samples: readonly Sample[];
  readonly lines: readonly { readonly name: string; readonly value: (sample: Sample) => number | undefined }[];
  /** Top of the scale; default the largest value. */
  readonly most?: number;
  readonly now: string | undefined;
  readonly note?: string | undefined;
}

const margin = { left: 34, right: 4, top: 8, bottom: 20 };

/** The last two minutes of one measure. */
export function TimeChart({ title, unit, samples, lines, most, now, note }: Props) {
  const largest = most ?? Math.max(1, ...samples.flatMap((sample) => lines.map(({ value }) => value(sample) ?? 0)));
  const marks = ticks(largest, 3);
  const end = samples.at(-1)?.atMs ?? 0;
  return (
    <figure class="chart">
      <figcaption>
        <h2>{title}</h2>
        <p>
          <span class="big number">{now ?? "–"}</span> <span class="quiet">{unit}</span>
        </p>
        <p class="quiet chart-note">{note ?? "\u00A0"}</p>
      </figcaption>
      <Plot height={150} label={`${title}: ${now ?? "not known"} ${unit} now; the last two minutes as a line`}>
        {({ width, height }) => {
          const x = linear([end - historyMs, end], [margin.left, width - margin.right]);
          const y = linear([0, marks.at(-1)!], [height - margin.bottom, margin.top]);
          return (
            <>
              {marks.map((mark) => (
                <g key={mark}>
                  <line class="rule" x1={margin.left} x2={width - margin.right} y1={y(mark)} y2={y(mark)} />
                  <text class="tick" x={margin.left - 6} y={y(mark) + 4} text-anchor="end">
                    {mark}
                  </text>
                </g>
              ))}
              <text class="tick" x={margin.left} y={height - 4}>
                2 min ago
              </text>
              <text class="tick" x={width - margin.right} y={height - 4} text-anchor="end">
                now
              </text>
              {lines.map(({ name, value }, index) => (
                <path
                  key={name}
                  class={`line line-${index}`}
                  d={linePath(
                    samples.map((sample) => [x(sample.atMs), ((one) => (one === undefined ? undefined : y(one)))(value(sample))]),
                  )}
                />
              ))}
            </>
          );
        }}
      </Plot>
    </figure>
  );
}
