// npm run docs:cli: writes docs/cli.md from the help texts of the built program.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";

const help = (...args) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/cli/main.js", ...args, "--help"], {
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", COLUMNS: "120" },
  });
  if (status !== 0) throw new Error(stderr);
  return stdout.trimEnd();
};
/** Names of the commands that a help text lists. */
const namesIn = (text) =>
  (text.includes("Commands:") ? [...text.slice(text.indexOf("Commands:")).matchAll(/^ {2}([\w-]+)/gm)] : [])
    .map(([, name]) => name)
    .filter((name) => name !== "help");
/** A command's section, and those of its own commands. */
const sections = (...path) => {
  const text = help(...path);
  return [
    `${"#".repeat(path.length + 1)} ${path.join(" ")}\n\n\`\`\`\n${text}\n\`\`\`\n`,
    ...namesIn(text).flatMap((name) => sections(...path, name)),
  ];
};
const program = help();
writeFileSync(
  "docs/cli.md",
  `# The command line

Written from the program's own help by \`npm run docs:cli\`. In a checkout, \`npm run chainrule -- COMMAND …\` stands for \`chainrule COMMAND …\`.

Text goes to standard output, everything else to standard error; \`--json\` prints one object and nothing else on standard output. Exit codes: 0 done,
1 failed, 2 bad input (a refused model file too). An error is one line; \`--debug\` adds the stack.

\`\`\`
${program}
\`\`\`

${namesIn(program)
  .flatMap((name) => sections(name))
  .join("\n")}`,
);
