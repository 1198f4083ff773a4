import { expect, test } from "vitest";
import { OptionError } from "../errors.ts";
import { checkParameters } from "./parameters.ts";

const model = {
  name: "ar",
  parameters: {
    order: { kind: "integer", min: 1, max: 9, summary: "" },
    ridge: { kind: "number", min: 0, summary: "" },
    criterion: { kind: "choice", values: ["aic", "bic"], summary: "" },
    constant: { kind: "boolean", summary: "" },
  },
} as const;

test("values of the right kind and in range pass", () => {
  checkParameters(model, { order: 9, ridge: 0, criterion: "bic", constant: false });
});

test.each([
  [{ orders: 2 }, "orders: is not a parameter of the model ar (it has: order, ridge, criterion, constant)"],
  [{ toString: 2 }, "toString: is not a parameter"],
  [{ order: 10 }, "order: the model ar expects an integer from 1 to 9, got 10"],
  [{ order: 1.5 }, "an integer from 1 to 9"],
  [{ order: "2" }, "an integer from 1 to 9"],
  [{ ridge: -1 }, "a number >= 0"],
  [{ ridge: Number.NaN }, "a number >= 0"],
  [{ criterion: "hq" }, "aic | bic"],
  [{ constant: 1 }, "true or false"],
])("%o is refused by name", (given, message) => {
  const check = () => checkParameters(model, given as never);
  expect(check).toThrow(OptionError);
  expect(check).toThrow(message);
});
