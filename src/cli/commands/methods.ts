import { Command } from "commander";
import {
  anyAdapter,
  cannotCompose,
  describeRange,
  describeRegistry,
  listAxes,
  type Method,
  methodsByAxis,
  type Parameter,
} from "../../decoding/index.ts";

export const methods = new Command("methods")
  .description("lists the decoding methods by axis, with their parameters and sources")
  .option("--json", "print one object per axis: name, summary, parameters, source, needs")
  .addHelpText("after", "\nExample:\n  $ chainrule methods --json")
  .action(({ json }: { json?: boolean }) => {
    process.stdout.write(json === true ? `${JSON.stringify(describeRegistry())}\n` : describe());
  });

function describe(): string {
  const axes = Object.entries<readonly Method<unknown>[]>(methodsByAxis([anyAdapter])).map(
    ([axis, list]) => `${optionOf(axis)}\n${list.map(describeMethod).join("")}`,
  );
  return axes.join("\n");
}

/** How the command line names a method of an axis. */
function optionOf(axis: string): string {
  return axis === "explain" ? "explain --method" : `--${axis}`;
}

function describeMethod(method: Method<unknown>): string {
  const { name, summary, parameters, source } = method;
  const lines = [
    `  ${name}: ${summary}`,
    ...Object.entries(parameters).map(([key, parameter]) => `      ${key}: ${describeParameter(parameter)}`),
    ...(source === undefined ? [] : [`      source: ${source.title}${source.arxiv === undefined ? "" : `, arXiv ${source.arxiv}`}`]),
    `      composes with: ${describeComposition(method)}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** "every axis but draft (auto, ngram: its branches …)". */
function describeComposition(method: Method<unknown>): string {
  const byReason = new Map<string, string[]>();
  for (const [other, why] of Object.entries(cannotCompose(method))) byReason.set(why, [...(byReason.get(why) ?? []), other]);
  const others = listAxes.includes(method.axis) ? "all others" : "all of the other axes";
  const refused = [...byReason].map(([why, names]) => `${names.join(", ")} (${why})`);
  return refused.length === 0 ? others : `${others} but ${refused.join("; ")}`;
}

function describeParameter(parameter: Parameter): string {
  const { doc } = parameter;
  const otherwise = parameter.isOptional
    ? "may be left out"
    : parameter.default === undefined
      ? "must be given"
      : `default ${JSON.stringify(parameter.default)}`;
  return `${describeRange(parameter)}, ${otherwise}; ${doc}`;
}
