import { describeRange, type Parameter } from "./method.ts";
import { registry } from "./registry.ts";

/** The registry without its code: what a program needs to offer the methods. */
export interface DescribedMethod {
  readonly name: string;
  readonly summary: string;
  readonly parameters: Readonly<Record<string, Parameter & { readonly range: string }>>;
  readonly source?: { readonly title: string; readonly arxiv?: string };
  readonly needs: readonly string[];
  /** Whether it does what is done without any method of its axis. */
  readonly isNeutral: boolean;
  /** Axes of which nothing but the neutral methods can stand beside it, each with the reason. */
  readonly refuses: Readonly<Record<string, string>>;
}

/** Every method by axis, as plain data. */
export function describeRegistry(): Readonly<Record<string, readonly DescribedMethod[]>> {
  return Object.fromEntries(
    Object.entries(registry).map(([axis, list]) => [
      axis,
      list.map(({ name, summary, parameters, source, needs, isNeutral = false, refuses }) => ({
        name,
        summary,
        parameters: Object.fromEntries(
          Object.entries(parameters).map(([key, parameter]) => [key, { ...parameter, range: describeRange(parameter) }]),
        ),
        ...(source === undefined ? {} : { source }),
        needs,
        isNeutral,
        refuses: { ...refuses },
      })),
    ]),
  );
}
