import { OptionError } from "../../../errors.ts";
import { writeUtf8 } from "./characters.ts";
import { completionDistances } from "./distance.ts";
import type { RuleSet } from "./expression.ts";
import { parseGbnf } from "./gbnf.ts";
import { Budget, type GrammarLimits } from "./limits.ts";
import { type CompiledGrammar, compileNetwork } from "./network.ts";
import { parseRegex } from "./regex.ts";
import { defaultJsonOptions, type JsonOptions, schemaRules } from "./schema.ts";
import type { JsonValue } from "./schema-nodes.ts";

/** Where a grammar comes from. */
export type GrammarSource =
  /** All of the text matches the pattern (ECMAScript, flag `u`). */
  | { readonly kind: "regex"; readonly pattern: string }
  /** llama.cpp's notation; the text is what the rule `root` generates. `options` as below, for its `%json`. */
  | { readonly kind: "gbnf"; readonly text: string; readonly options?: Partial<JsonOptions> }
  /** JSON text that is valid under the schema; `options` say how it is written where the schema leaves that open. */
  | { readonly kind: "json-schema"; readonly schema: JsonValue; readonly options?: Partial<JsonOptions> };

/**
 * Compiles in the calling thread.
 * @throws OptionError for a bad source or one above the limits, UnsupportedError for a feature that is not supported
 */
export function compileSource(source: GrammarSource, limits: GrammarLimits): CompiledGrammar {
  const budget = new Budget(limits);
  try {
    const grammar = compileNetwork(ruleSet(source, budget), budget);
    const everyClass = Array.from({ length: grammar.numClasses }, () => true);
    if (!grammar.acceptsEmpty && !Number.isFinite(completionDistances(grammar, everyClass)[grammar.rules[grammar.root]!.start]!)) {
      throw new OptionError(source.kind, "it describes no text at all");
    }
    return grammar;
  } catch (error) {
    if (error instanceof RangeError && /call stack/.test(error.message)) {
      throw new OptionError("maxSourceDepth", "the source is nested too deeply");
    }
    throw error;
  }
}

function ruleSet(source: GrammarSource, budget: Budget): RuleSet {
  switch (source.kind) {
    case "regex":
      checkLength(source.pattern, budget.limits);
      return {
        root: "root",
        rules: new Map([["root", parseRegex(source.pattern, { write: writeUtf8, search: false, where: "regex" }, budget)]]),
      };
    case "gbnf":
      checkLength(source.text, budget.limits);
      return parseGbnf(source.text, source.options ?? {}, budget);
    case "json-schema":
      checkLength(JSON.stringify(source.schema), budget.limits);
      return schemaRules(source.schema, { ...defaultJsonOptions, ...source.options }, budget);
    default:
      source satisfies never;
      throw new OptionError(
        "grammar",
        `unknown kind ${JSON.stringify((source as { kind?: unknown }).kind)}; known are regex, gbnf, json-schema`,
      );
  }
}

function checkLength(text: string, { maxSourceLength }: GrammarLimits): void {
  if (text.length > maxSourceLength) {
    throw new OptionError("maxSourceLength", `the source has ${text.length} characters, more than ${maxSourceLength}`);
  }
}
