// npm run docs:picture: runs commands of the built program and draws what they printed as docs/images/terminal.svg, for the README.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";

const commands = [
  ["generate", "The three laws of robotics are", "--max-tokens", "48"],
  ["generate", "Once upon a time, once upon a time,", "--max-tokens", "32", "--draft", "adaptive,nodes=8"],
  ["generate", "My number is", "--guide", "grammar,regex= [0-9]{3}-[0-9]{4}"],
];
const columns = 104;
const quote = (word) => (/^[\w./=:,-]+$/.test(word) ? word : `'${word}'`);

/** Lines of at most `columns` characters, broken at spaces. */
function wrap(line) {
  const lines = [""];
  for (const word of line.split(/(?<= )/)) {
    if (lines.at(-1).length + word.trimEnd().length > columns) lines.push("");
    lines[lines.length - 1] += word;
  }
  return lines;
}

const lines = [];
for (const command of commands) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/cli/main.js", ...command], { encoding: "utf8" });
  if (status !== 0) throw new Error(`chainrule ${command.join(" ")}: exit code ${status}: ${stderr}`);
  const add = (text, kind) =>
    lines.push(
      ...text
        .trimEnd()
        .split("\n")
        .flatMap(wrap)
        .map((line) => ({ line, kind })),
    );
  add(`$ chainrule ${command.map(quote).join(" ")}`, "command");
  add(stdout, "text");
  add(stderr, "numbers");
  lines.push({ line: "", kind: "text" });
}
lines.pop();

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const [character, height, margin] = [7.83, 20, 20];
const width = Math.ceil(columns * character + 2 * margin);
const body = lines
  .map(
    ({ line, kind }, row) =>
      `<text class="${kind}" x="${margin}" y="${margin + 14 + row * height}" xml:space="preserve">${escaped(line)}</text>`,
  )
  .join("\n");
mkdirSync("docs/images", { recursive: true });
writeFileSync(
  "docs/images/terminal.svg",
  `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${lines.length * height + 2 * margin}" role="img" aria-label="Three runs of chainrule generate in a terminal, with the text and a line of numbers each">
<style>text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d8dee9}.command{fill:#88c0d0;font-weight:600}.numbers{fill:#a3be8c}</style>
<rect width="100%" height="100%" rx="10" fill="#1f2430"/>
${body}
</svg>
`,
);
