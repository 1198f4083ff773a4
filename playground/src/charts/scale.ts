/** Round values from 0 to at least `max`, about `count` of them: steps of 1, 2 or 5 times a power of ten. */
export function ticks(max: number, count = 4): number[] {
  if (!(max > 0) || !Number.isFinite(max)) return [0, 1];
  const rough = max / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough - 1e-12)!;
  const numSteps = Math.ceil(max / step - 1e-9);
  return Array.from({ length: numSteps + 1 }, (_, index) => Number((index * step).toPrecision(12)));
}

/** A linear scale. */
export const linear =
  (domain: readonly [number, number], range: readonly [number, number]) =>
  (value: number): number =>
    range[0] + ((value - domain[0]) / (domain[1] - domain[0] || 1)) * (range[1] - range[0]);

/** Points as the data of an SVG path; undefined values leave gaps. */
export function linePath(points: readonly (readonly [x: number, y: number | undefined])[]): string {
  let isDown = false;
  let path = "";
  for (const [x, y] of points) {
    if (y === undefined) isDown = false;
    else {
      path += `${isDown ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      isDown = true;
    }
  }
  return path;
}
