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
const program = help();
const names = [...program.slice(program.indexOf("Commands:")).matchAll(/^ {2}([\w-]+)/gm)]
  .map(([, name]) => name)
  .filter((name) => name !== "help");
const section = (name) => `## ${name}\n\n\`\`\`\n${help(name)}\n\`\`\`\n`;
writeFileSync(
  "docs/cli.md",
  `# The command line

Written from the program's own help by \`npm run docs:cli\`. In a checkout, \`npm run chainrule -- COMMAND …\` stands for \`chainrule COMMAND …\`.

Text goes to standard output, everything else to standard error; \`--json\` prints one object and nothing else on standard output. Exit codes: 0 done,
1 failed, 2 bad input (a refused model file too). An error is one line; \`--debug\` adds the stack.

\`\`\`
${program}
\`\`\`

${names.map(section).join("\n")}`,
);
