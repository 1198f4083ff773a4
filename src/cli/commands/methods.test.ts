import { Command } from "commander";
import { afterEach, expect, test, vi } from "vitest";
import { registry } from "../../decoding/index.ts";
import { runCommand } from "../run.ts";
import { methods } from "./methods.ts";

afterEach(() => vi.restoreAllMocks());

async function run(...args: string[]): Promise<string> {
  let output = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    output += text;
    return true;
  });
  await runCommand(new Command("chainrule").addCommand(methods), ["node", "chainrule", "methods", ...args]);
  return output;
}

test("methods names every method with the range, default and source of what it takes", async () => {
  const text = await run();
  for (const [axis, list] of Object.entries(registry)) {
    expect(text).toContain(axis === "explain" ? "\nexplain --method\n" : `--${axis}\n`);
    for (const { name, parameters, source } of list) {
      expect(text).toContain(`  ${name}: `);
      expect(source?.title, `${axis} ${name} needs a source`).toMatch(/./);
      for (const key of Object.keys(parameters)) expect(text).toContain(`      ${key}: `);
    }
  }
  expect(text).toMatch(/\n--adapter\n {2}<path>: .+\n {6}scale: a number, default 1; /);
  expect(text).toContain("composes with: all of the other axes but draft auto, draft ngram");
  expect(text).toContain("p: a number in (0, 1], default 0.95; ");
  expect(text).toContain("source: Locally Typical Sampling, arXiv 2202.00666");
});

test("methods --json is what a program needs to offer them", async () => {
  const { sample, ...axes } = JSON.parse(await run("--json"));
  expect(Object.keys(axes).sort()).toEqual(["adapter", "draft", "explain", "guide", "layout", "search", "skip"]);
  expect(axes.adapter).toMatchObject([
    { name: "<path>", parameters: { scale: { type: "number", default: 1 } }, source: { arxiv: "2106.09685" } },
  ]);
  expect(sample.find(({ name }: { name: string }) => name === "typical")).toMatchObject({
    parameters: { p: { type: "number", default: 0.95, range: "a number in (0, 1]" } },
    source: { title: "Locally Typical Sampling", arxiv: "2202.00666" },
    needs: ["want.top", "want.fullLogits"],
  });
});
