import { Command } from "commander";
import { OptionError } from "../../errors.ts";
import type { AttributeHead, JudgeQuality, Model, SkipOrder, SkipPart } from "../../index.ts";
import { interruptible } from "../interrupt.ts";
import { addModelOptions, loadModel, type ModelOptions } from "../load-model.ts";
import { readTextFile } from "../read-text-file.ts";
import { showWork, type WorkLine } from "../work-line.ts";

interface Options extends ModelOptions {
  readonly text?: string;
  readonly attribute?: string;
  readonly judges?: boolean;
  readonly json?: boolean;
}

export const calibrate = addModelOptions(
  new Command("calibrate").description(
    "measures a model once and keeps the result in the home folder: in which order it does without feed-forward halves and blocks (for --skip), " +
      "an attribute's head (for --search conditional-beam), or how well it judges answers (for best-of and rewind)",
  ),
)
  .option("--text <file>", "a text of the kind the model will write; with --attribute, openings to go on from, one a line; default: ours")
  .option(
    "--attribute <name>",
    "fit a head that tells sound continuations from degenerate ones, both written by the model; kept by this name",
  )
  .option("--judges", "measure the two self-evaluations on pairs of a good and a bad answer")
  .option("--json", "print one object")
  .addHelpText(
    "after",
    "\nExamples:\n  $ chainrule calibrate --model smollm2 --text notes.txt\n  $ chainrule calibrate --attribute fluent\n  $ chainrule calibrate --judges",
  )
  .action(async (options: Options) => {
    const { text: file, attribute, judges } = options;
    if (judges === true && (attribute !== undefined || file !== undefined))
      throw new OptionError("--judges", "is measured on pairs of ours, by itself");
    const text = file === undefined ? undefined : await readTextFile(file);
    await interruptible(async (signal) => {
      await using model = await loadModel(options, signal);
      const work = showWork();
      const task = { model, text, signal, work };
      const result =
        judges === true ? await measureJudges(task) : attribute === undefined ? await measure(task) : await fit(task, attribute);
      work.clear();
      process.stdout.write(options.json === true ? `${JSON.stringify({ model: model.name, ...result.json })}\n` : result.text);
    });
  });

interface Task {
  readonly model: Model;
  readonly text: string | undefined;
  readonly signal: AbortSignal;
  readonly work: WorkLine;
}

async function measure({ model, text, signal, work }: Task) {
  const order = (part: SkipPart, name: string) => {
    const onProgress = (done: number, total: number) => work.update(`${name}:`, done, total);
    return model.skipOrder(part, { ...(text === undefined ? {} : { text }), signal, onProgress });
  };
  const ffn = await order("ffn", "feed-forward halves");
  const block = await order("block", "blocks");
  const halves = table("what it costs to leave out feed-forward halves in this order (--skip ffn)", ffn);
  return { json: { ffn, block }, text: `${halves}${table("whole blocks (--skip layers)", block)}` };
}

async function fit({ model, text, signal, work }: Task, name: string) {
  const prompts = text?.split(/\r?\n/).filter((line) => line.trim() !== "");
  const onProgress = (done: number, total: number) => work.update("written", done, total);
  const head = await model.fitAttribute(name, { ...(prompts === undefined ? {} : { prompts }), signal, onProgress });
  return { json: { attribute: head.name, ...head.facts }, text: describeHead(head) };
}

function describeHead({ name, facts }: AttributeHead): string {
  const { numGood, numBad, auc, accuracy, numHeldOut } = facts;
  return [
    `${name}: fitted on ${numGood} sound and ${numBad} degenerate continuations`,
    `on ${numHeldOut} states of prompts held out: ${percent(auc)} of pairs in order (chance 50 %), ${percent(accuracy)} of states right`,
    `use it: chainrule generate --search conditional-beam,head=${name}`,
    "",
  ].join("\n");
}

async function measureJudges({ model, signal }: Task) {
  const judges: JudgeQuality[] = [];
  for (const judge of ["restart", "options"] as const) judges.push(await model.judgeQuality(judge, { signal, remeasure: true }));
  return { json: { judges }, text: judges.map(describeJudge).join("") };
}

function describeJudge({ judge, numPairs, share, isAtChance, meanGood, meanBad }: JudgeQuality): string {
  const verdict = isAtChance ? "at chance: its scores say nothing about an answer" : "better than chance";
  const means = `mean score ${meanGood.toFixed(3)} of good answers, ${meanBad.toFixed(3)} of bad ones`;
  return `${judge.padEnd(8)} prefers the good answer in ${percent(share)} of ${numPairs} pairs, ${verdict}; ${means}\n`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function table(title: string, { blocks, costs }: SkipOrder): string {
  const line = (cost: number, step: number) =>
    `${String(step + 1).padStart(4)}  block ${String(blocks[step]).padStart(3)}  ${cost.toFixed(4)} nats  ${"█".repeat(Math.min(40, Math.max(0, Math.round(cost * 20))))}\n`;
  const rest = blocks.slice(costs.length);
  return `${title}:\n${costs.map(line).join("")}${rest.length === 0 ? "" : `      then ${rest.join(", ")}\n`}`;
}
