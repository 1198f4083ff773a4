import { OptionError } from "../../errors.ts";
import { adapter, model, number, optional } from "../method.ts";
import type { ModelSource } from "../model.ts";
import { type Judge, type JudgeFunction, type JudgeName, judgeNames, startJudge } from "./judge.ts";
import { describeRanking, reportJudge } from "./judge-quality.ts";
import { startRewardJudge } from "./reward-judge.ts";
import { questionerOf, type Run } from "./search.ts";

/** Who judges: the model itself by one of its questions, a reward model, or a function. */
export type JudgeChoice = JudgeName | "reward" | JudgeFunction;
export const judgeChoices: readonly string[] = [...judgeNames, "reward"];

/** Parameters of every search that asks a judge, beside `judge`. */
export const rewardParameters = {
  model: optional(model({ doc: "of judge reward: the reward model; the model that writes where only an adapter is given" })),
  adapter: optional(adapter({ doc: "of judge reward: an adapter loaded with the reward model, by name" })),
  beta: optional(
    number({
      min: 0,
      isMinOpen: true,
      max: 100,
      doc: "of judge reward: a score is exp(beta · log-probability of the answer); 0.05 if left out",
    }),
  ),
};

export interface ChosenJudge {
  readonly judge: JudgeChoice;
  readonly good: string;
  readonly bad: string;
  readonly model: ModelSource | undefined;
  readonly adapter: string | undefined;
  readonly beta: number | undefined;
}

/** @throws OptionError where the judge and its parameters don't belong together */
export function checkJudge(search: string, { judge, model: source, adapter, beta }: Omit<ChosenJudge, "good" | "bad">): void {
  const given = Object.entries({ model: source, adapter, beta }).find(([, value]) => value !== undefined)?.[0];
  if (judge !== "reward" && given !== undefined)
    throw new OptionError(
      "search",
      `${search}: ${given} belongs to judge reward, and the judge is ${typeof judge === "string" ? judge : "a function"}`,
    );
  if (judge === "reward" && source === undefined && adapter === undefined)
    throw new OptionError("search", `${search}: judge reward needs model, or adapter for an adapter of the model that writes`);
}

/** Begins to judge a run's answers, and says in its facts what the judge is worth, where that is known. */
export async function beginJudge(run: Run, { judge, good, bad, model: source, adapter, beta = 0.05 }: ChosenJudge): Promise<Judge> {
  if (judge === "reward") {
    const companion = run.companion(source);
    const who = adapter === undefined ? companion.name : `${companion.name} with ${adapter}`;
    const ranked = describeRanking(await companion.model.heldOutRanking?.(adapter));
    const because = `answers are scored by the log-probability that ${who} gives them; ${ranked}`;
    run.reportChoices([{ what: "judge", chosen: "reward", because }]);
    return startRewardJudge({ companion, adapter, beta, prompt: run.prompt });
  }
  const begun = await startJudge({ judge, good, bad }, questionerOf(run));
  if (typeof judge === "string") await reportJudge(run, judge);
  return begun;
}
