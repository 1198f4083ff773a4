// argv: folder, lock's name, rounds. Each round takes the lock and makes sure that nobody else is inside; rounds 0 holds it for ever.
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { withLock } from "../lock.ts";

const [folder, name, rounds] = process.argv.slice(2) as [string, string, string];
if (rounds === "0") {
  await withLock(folder, name, {}, async () => {
    process.send!("inside");
    await new Promise(() => setInterval(() => {}, 1000));
  });
}
let entered = 0;
for (let round = 0; round < Number(rounds); round++) {
  await withLock(folder, name, {}, async () => {
    const inside = join(folder, "inside");
    await writeFile(inside, String(process.pid), { flag: "wx" }); // fails if another is inside
    await delay(round % 3);
    await rm(inside);
    entered++;
  });
}
process.send!(entered);
process.disconnect();
