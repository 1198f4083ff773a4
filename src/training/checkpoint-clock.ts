import { OptionError } from "../errors.ts";

/** When to write a checkpoint: as asked, and by the clock never more than a twentieth of the time. */
export function checkpointClock(every: { readonly steps: number } | { readonly seconds: number }, now = () => performance.now()) {
  const value = "steps" in every ? every.steps : every.seconds;
  if (!(value > 0)) throw new OptionError("checkpointEvery", `must be > 0, got ${value}`);
  const startMs = now();
  let lastMs = startMs;
  let spentMs = 0;
  return {
    isDue(step: number): boolean {
      if ("steps" in every) return step % every.steps === 0;
      return now() - lastMs >= every.seconds * 1000 && spentMs <= 0.05 * (now() - startMs);
    },
    time(save: () => void): void {
      const beforeMs = now();
      save();
      lastMs = now();
      spentMs += lastMs - beforeMs;
    },
  };
}
