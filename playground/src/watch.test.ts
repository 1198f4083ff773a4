import { signal } from "@preact/signals";
import { expect, test } from "vitest";
import { Watch } from "./watch.ts";

test("the server is watched while its view is shown or any run is under way, whichever ends first", async () => {
  const isShown = signal(true);
  const watch = new Watch(() => isShown.value);
  expect(watch.isWatched.value).toBe(true);
  await watch.during(Promise.resolve());
  expect(watch.isWatched.value).toBe(true); // a run that ends leaves the view shown
  isShown.value = false;
  expect(watch.isWatched.value).toBe(false);
  const ends: (() => void)[] = [];
  const [first, second] = [0, 1].map(() => watch.during(new Promise<void>((resolve) => ends.push(resolve))));
  ends[0]!();
  await first;
  expect(watch.isWatched.value).toBe(true);
  const failed = watch.during(Promise.reject(new Error("no answer")));
  await expect(failed).rejects.toThrow("no answer");
  ends[1]!();
  await second;
  expect(watch.isWatched.value).toBe(false);
});
