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

function describeLimits({ passes, seconds }: NonNullable<Effort["limits"]> = {}): string {
  const limits = [...(passes === undefined ? [] : [`${passes} passes`]), ...(seconds === undefined ? [] : [`${seconds} s`])];
  return limits.length === 0 ? "" : `; it stops at ${limits.join(" or ")}`;
}
