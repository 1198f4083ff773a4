import { availableParallelism } from "node:os";
import { load } from "../index.ts";
import type { Build } from "../models/index.ts";
import { buildDraftModel, smollm2DraftOptions } from "../training/index.ts";
import { openGguf } from "../weights/index.ts";
import type { ProgressBar } from "./progress-bar.ts";
import { describeStart } from "./training-start.ts";

/** Makes the models that are built on the user's machine, saying first how long it takes, then how far it is. */
export function builder(bar: ProgressBar): Build {
  return async ({ name, from }, { base, folder, signal }) => {
    const threads = Math.min(availableParallelism(), 8);
    bar.note(`${name} is built once from ${from}: about 50 minutes on two cores; stopped, it goes on where it was when asked again`);
    const say = everyTenSeconds((line) => bar.note(line));
    await using writer = await load(base.path, { threads, ...(signal === undefined ? {} : { signal }) });
    using file = openGguf(base.path);
    const { path, facts, beside } = await buildDraftModel(
      writer,
      file,
      folder,
      { ...smollm2DraftOptions, threads },
      {
        signal,
        onTexts: ({ texts, tokens, secondsLeft }) =>
          say(
            `${from} has written ${texts} of ${smollm2DraftOptions.texts} texts, ${tokens} tokens; ${minutes(secondsLeft)} left for them`,
          ),
        onStart: (start) => bar.note(describeStart(start)),
        onNotice: (notice) => bar.note(`note: ${notice}`),
        onTrain: ({ step, steps, loss, validationLoss, secondsLeft }) =>
          say(
            `step ${step} of ${steps}, loss ${loss.toFixed(3)}${validationLoss === undefined ? "" : `, held out ${validationLoss.toFixed(3)}`}; ${minutes(secondsLeft)} left`,
          ),
      },
    );
    const { heldOutTexts, heldOutTokens, perplexity, agreement } = facts;
    if (perplexity !== undefined && agreement !== undefined)
      bar.note(
        `on ${heldOutTexts} held-out texts, ${heldOutTokens} tokens: perplexity ${perplexity.toFixed(1)}, ${(100 * agreement).toFixed(1)} % of the tokens that ${from} finds most probable`,
      );
    return { path, beside };
  };
}

const minutes = (seconds: number): string => `${Math.ceil(seconds / 60)} min`;

function everyTenSeconds(say: (line: string) => void): (line: string) => void {
  let lastMs = Number.NEGATIVE_INFINITY;
  return (line) => {
    if (performance.now() - lastMs < 10_000) return;
    lastMs = performance.now();
    say(line);
  };
}
