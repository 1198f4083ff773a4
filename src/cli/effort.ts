import { duration } from "../decoding/index.ts";
import type { Facts } from "../index.ts";
import { showWork } from "./work-line.ts";

type Effort = NonNullable<Facts["effort"]>;

/** What a method that spends many passes is expected to take and where it stops, said before it begins; then how far it is. */
export function showEffort(note: (line: string) => void) {
  const work = showWork();
  let announced: string | undefined;
  return {
    update(effort: Effort): void {
      const { method, unit, done, planned, expected, limits } = effort;
      if (method !== announced && expected !== undefined) {
        const time = expected.ms === undefined ? "" : `, ${duration(expected.ms)}`;
        note(`${method}: ${planned} ${unit}, about ${expected.passes} passes${time} (${expected.basis})${describeLimits(limits)}`);
      }
      announced = method;
      work.update(unit, done, planned);
    },
    clear: () => work.clear(),
  };
}

/** How far it came, and what the paper's setting would have taken. */
export function describeEffort({ method, unit, done, planned, passes, ms, endedBy, paper }: Effort): string {
  const cut = endedBy === undefined ? "" : `, ended by its budget of ${endedBy}`;
  const full = paper === undefined ? "" : ` (the paper's ${paper.setting}: about ${paper.passes} passes, ${seconds(paper.ms)})`;
  return `${method}: ${done} of ${planned} ${unit} in ${passes} passes, ${seconds(ms)}${cut}${full}`;
}

function describeLimits({ passes, seconds }: NonNullable<Effort["limits"]> = {}): string {
  const limits = [...(passes === undefined ? [] : [`${passes} passes`]), ...(seconds === undefined ? [] : [`${seconds} s`])];
  return limits.length === 0 ? "" : `; it stops at ${limits.join(" or ")}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
