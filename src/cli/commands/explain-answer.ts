import { writeFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import { describeEffort, describeToken, heat, heatMapHtml } from "../../decoding/index.ts";
import type { EffortFact, Explanation } from "../../index.ts";
import { addDecodingOptions, type DecodingOptions, decodingOptions } from "../decoding-options.ts";
import { showEffort } from "../effort.ts";
import { interruptible } from "../interrupt.ts";
import { addLayoutOptions, type LayoutOptions, laidOut } from "../layout-options.ts";
import { addModelOptions, loadModel, type ModelOptions } from "../load-model.ts";

interface Options extends ModelOptions, DecodingOptions, LayoutOptions {
  readonly method: string;
  readonly answer?: string;
  readonly chat?: boolean;
  readonly html?: string;
  readonly json?: boolean;
}

/** What the tokens of an answer owe to those of its prompt. */
export function explainAnswer(command: Command): Command {
  return addLayoutOptions(
    addDecodingOptions(addModelOptions(command.argument("[prompt]", "the prompt; standard input where it is left out or -"))),
  )
    .option("--method <method>", "how, such as reagent,replaced=300,tokens=8,seconds=60; reagent,faithfulness=true measures it", "reagent")
    .option("--answer <text>", "an answer to explain; default: the model's own")
    .option("--chat", "put the prompt to the model as a user's message, through its chat template")
    .option("--html <file>", "write a page that needs nothing else")
    .option("--json", "print one object: text, tokens, attribution")
    .action(async (argument: string | undefined, options: Options) => {
      const text = argument === undefined || argument === "-" ? await readAll(process.stdin) : argument;
      await interruptible(async (signal) => {
        await using model = await loadModel(options, signal);
        const prompt = await laidOut(options.chat === true ? [{ role: "user", content: text }] : text, options);
        const effort = showEffort((line) => process.stderr.write(`${line}\n`));
        const explanation = await model.explain(prompt, {
          ...(await decodingOptions(options)),
          ...{ method: options.method, onEffort: (fact: EffortFact) => effort.update(fact), signal },
          ...(options.answer === undefined ? {} : { answer: options.answer }),
        });
        effort.clear();
        const { attribution } = explanation;
        if (options.html !== undefined) await writeFile(options.html, heatMapHtml(attribution, explanation.text));
        if (options.json === true) {
          const { text, tokens } = explanation;
          process.stdout.write(`${JSON.stringify({ text, tokens, attribution })}\n`);
        } else process.stdout.write(heatMap(explanation, process.stdout.isTTY && process.env.NO_COLOR === undefined));
        process.stderr.write(`${describeEffort(attribution.effort)}\n`);
      });
    });
}

/** Each explained token with the prompt's tokens that matter most to it; on a terminal the whole prompt, coloured. */
export function heatMap({ attribution }: Pick<Explanation, "attribution">, isColoured: boolean): string {
  const { prompt, tokens } = attribution;
  return tokens
    .map((token) => {
      const warm = heat(token);
      const body = isColoured ? coloured(prompt, warm) : bars(prompt, token.rationale, token.scores, warm);
      return `${JSON.stringify(token.text)}  ${describeToken(token)}\n${body}\n`;
    })
    .join("\n");
}

function coloured(prompt: readonly string[], warm: readonly number[]): string {
  const spans = prompt.map((text, index) => {
    const strength = Math.round(180 * Math.abs(warm[index]!));
    if (strength < 12) return text;
    const colour = warm[index]! > 0 ? `20;${40 + (strength >> 1)};${75 + strength}` : `${75 + strength};${50 + (strength >> 1)};10`;
    // a background must not run to the end of the line
    return text.replace(/[^\n]+/g, (line) => `\x1b[48;2;${colour}m\x1b[97m${line}\x1b[0m`);
  });
  return `${spans.join("")}\n`;
}

function bars(prompt: readonly string[], rationale: readonly number[], scores: readonly number[], warm: readonly number[]): string {
  const line = (index: number) =>
    `  ${scores[index]!.toFixed(3).padStart(7)}  ${"█".repeat(Math.round(20 * Math.abs(warm[index]!))).padEnd(20)}  ${JSON.stringify(prompt[index])}`;
  return rationale.map(line).join("\n");
}
