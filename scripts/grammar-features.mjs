// npm run docs:grammar: writes the table of JSON Schema features in docs/grammar.md from the corpus that the tests check with ajv.
import "./register-typescript.mjs";
import { readFile, writeFile } from "node:fs/promises";

const { corpus } = await import("../src/decoding/guidance/grammar/schema-corpus.ts");
const { compileSource } = await import("../src/decoding/guidance/grammar/compile.ts");
const { defaultLimits } = await import("../src/decoding/guidance/grammar/limits.ts");
const { UnsupportedError } = await import("../src/errors.ts");

const supported = [];
const refused = [];
for (const { feature, schema } of corpus) {
  try {
    compileSource({ kind: "json-schema", schema }, defaultLimits);
    supported.push(feature);
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    refused.push(`| ${feature} | ${error.message.replaceAll("|", "\\|")} |`);
  }
}
const share = Math.round((100 * supported.length) / corpus.length);
const table = `${supported.length} of the ${corpus.length} schemas are supported (${share} %): ${supported.join("; ")}.

| refused | message |
| --- | --- |
${refused.join("\n")}`;
const file = new URL("../docs/grammar.md", import.meta.url);
const page = await readFile(file, "utf8");
const marked = /(<!-- features -->)[\s\S]*(<!-- \/features -->)/;
if (!marked.test(page)) throw new Error("docs/grammar.md has no features marks");
await writeFile(
  file,
  page.replace(marked, (_, begin, end) => `${begin}\n\n${table}\n\n${end}`),
);
console.log(`${supported.length} of ${corpus.length} supported (${share} %)`);
