import type { Ref } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { cropped, fanMargin, layoutFan, readable } from "./fan.ts";
import type { SeriesForecast, ShownSeries } from "./wire.ts";

interface Props {
  readonly past: ShownSeries;
  readonly forecast: SeriesForecast | undefined;
  readonly svg: Ref<SVGSVGElement>;
}

const height = 300;

/**
 * The past, the forecast and a band per level. Pointing reads a step; with the keyboard it is a slider over the steps, whose value text a
 * screen reader says.
 */
export function FanChart({ past: whole, forecast, svg }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [step, setStep] = useState<number | undefined>(undefined);
  const id = useId();
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    observer.observe(place.current!);
    return () => observer.disconnect();
  }, []);
  const past = cropped(whole, forecast?.mean.length ?? 40);
  const before = past.values.length;
  const fan = width > 0 ? layoutFan(past, forecast, { width, height }) : undefined;
  const steps = before + (forecast?.mean.length ?? 0);
  const at = step === undefined || step >= steps ? undefined : step;
  const told = (index: number) => {
    const future = index - before;
    if (future < 0) return `${past.time[index]}: ${past.values[index] === null ? "missing" : readable(past.values[index])}`;
    const bounds = Object.entries(forecast!.intervals).map(
      ([level, [lo, hi]]) => `${level} % from ${readable(lo[future])} to ${readable(hi[future])}`,
    );
    return [`${forecast!.time[future]}: forecast ${readable(forecast!.mean[future])}`, ...bounds].join(", ");
  };
  const move = (event: KeyboardEvent) => {
    const from = at ?? Math.max(0, before - 1);
    const to: Record<string, number> = {
      ...{ ArrowRight: from + 1, ArrowUp: from + 1, ArrowLeft: from - 1, ArrowDown: from - 1 },
      ...{ PageUp: from + 10, PageDown: from - 10, Home: 0, End: steps - 1 },
    };
    const next = to[event.key];
    if (event.key === "Escape") setStep(undefined);
    if (next === undefined) return;
    event.preventDefault();
    setStep(Math.min(steps - 1, Math.max(0, next)));
  };
  const value = at === undefined ? undefined : at < before ? past.values[at] : forecast!.mean[at - before];
  const name = past.series || "the series";
  const label =
    forecast === undefined
      ? `${name}: ${before} steps of the past`
      : `${name}: ${before} steps of the past and ${forecast.mean.length} of the forecast`;
  return (
    <div class="fan">
      <div
        class="fan-plot"
        ref={place}
        role="slider"
        tabIndex={0}
        aria-label={`${label}; arrow keys read a step`}
        aria-valuemin={1}
        aria-valuemax={steps}
        aria-valuenow={(at ?? Math.max(0, before - 1)) + 1}
        aria-valuetext={told(at ?? Math.max(0, before - 1))}
        aria-describedby={id}
        onKeyDown={move}
        onPointerMove={({ clientX, currentTarget }) =>
          fan !== undefined && setStep(fan.stepAt(clientX - currentTarget.getBoundingClientRect().left))
        }
        onPointerLeave={() => setStep(undefined)}
      >
        <svg ref={svg} width={width} height={height} aria-hidden="true">
          {fan !== undefined && (
            <>
              {fan.marks.map(({ y, label: mark }) => (
                <g key={y}>
                  <line class="rule" x1={fanMargin.left} x2={width - fanMargin.right} y1={y} y2={y} />
                  <text class="tick" x={fanMargin.left - 8} y={y + 4} text-anchor="end">
                    {mark}
                  </text>
                </g>
              ))}
              {fan.times.map(({ x, label: time, anchor }) => (
                <text key={x} class="tick" x={x} y={height - 6} text-anchor={anchor}>
                  {time}
                </text>
              ))}
              {forecast !== undefined && (
                <line class="fan-now" x1={fan.now} x2={fan.now} y1={fanMargin.top} y2={height - fanMargin.bottom} />
              )}
              {fan.bands.map(({ level, path }) => (
                <path key={level} class="fan-band" d={path} />
              ))}
              <path class="fan-past" d={fan.history} />
              <path class="line" d={fan.mean} />
              {at !== undefined && (
                <g data-screen="">
                  <line class="fan-cursor" x1={fan.x(at)} x2={fan.x(at)} y1={fanMargin.top} y2={height - fanMargin.bottom} />
                  {value !== undefined && value !== null && <circle class="point" cx={fan.x(at)} cy={fan.y(value)} r={4} />}
                </g>
              )}
            </>
          )}
        </svg>
      </div>
      <p class="fan-reading number" id={id}>
        {at === undefined ? (
          <span class="quiet">Point at the chart, or move along it with the arrow keys, to read its numbers.</span>
        ) : (
          told(at)
        )}
      </p>
      <p class="legend">
        <span class="legend-scale">
          <span class="swatch swatch-past">the past</span>
          {forecast !== undefined && <span class="swatch swatch-line">forecast</span>}
          {fan?.bands.map(({ level }, inside) => (
            <span key={level} class="swatch swatch-band" data-inside={Math.min(inside, 3)}>
              {level} % interval
            </span>
          ))}
        </span>
      </p>
    </div>
  );
}
