import { Command } from "commander";
import { describeRange, describeRegistry, type Method, type Parameter, registry } from "../../decoding/index.ts";

export const methods = new Command("methods")
  .description("lists the decoding methods by axis, with their parameters and sources")
  .option("--json", "print one object per axis: name, summary, parameters, source, needs")
  .addHelpText("after", "\nExample:\n  $ chainrule methods --json")
  .action(({ json }: { json?: boolean }) => {
    process.stdout.write(json === true ? `${JSON.stringify(describeRegistry())}\n` : describe());
  });

function describe(): string {
  const axes = Object.entries(registry).map(([axis, list]) => `--${axis}\n${list.map(describeMethod).join("")}`);
  return axes.join("\n");
}

function describeMethod({ name, summary, parameters, source }: Method<unknown>): string {
  const lines = [
    `  ${name}: ${summary}`,
    ...Object.entries(parameters).map(([key, parameter]) => `      ${key}: ${describeParameter(parameter)}`),
    ...(source === undefined ? [] : [`      source: ${source.title}${source.arxiv === undefined ? "" : `, arXiv ${source.arxiv}`}`]),
  ];
  return `${lines.join("\n")}\n`;
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
