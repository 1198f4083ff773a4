import { describeRange, type Method, type Parameter } from "./method.ts";
import { refusalOf } from "./refusal.ts";
import { anyAdapter, methodsByAxis } from "./registry.ts";

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
  /** Values that show it at work; a model is whatever serves. */
  readonly example: Readonly<Record<string, unknown>>;
  /** Methods of other axes, or of its own where that takes a list, with which it can't be combined, each as "axis name" with the reason. */
  readonly cannotCompose: Readonly<Record<string, string>>;
}

/** Names that one model's methods can take. */
export interface Named {
  /** Adapters that it has loaded: methods of the axis `adapter`, and what parameters can name. */
  readonly adapters: readonly string[];
  /** Models beside it. */
  readonly models: readonly string[];
}

/**
 * Every method by axis, as plain data. An axis without methods is left out.
 * @param named  what a request can name; left out: any model, and any adapter, which stands as `<path>`
 */
export function describeRegistry(named?: Named): Readonly<Record<string, readonly DescribedMethod[]>> {
  const axes: Readonly<Record<string, readonly Method<unknown>[]>> = methodsByAxis(named?.adapters ?? [anyAdapter]);
  const offered = Object.entries(axes).filter(([, list]) => list.length > 0);
  return Object.fromEntries(offered.map(([axis, list]) => [axis, list.map((method) => described(method, named))]));
}

function described(method: Method<unknown>, named: Named | undefined): DescribedMethod {
  const { name, summary, parameters, source, needs, isNeutral = false, refuses, example } = method;
  return {
    name,
    summary,
    parameters: Object.fromEntries(
      Object.entries(parameters).map(([key, declared]) => {
        const parameter = withChoices(declared, named);
        return [key, { ...parameter, range: describeRange(parameter) }];
      }),
    ),
    ...(source === undefined ? {} : { source }),
    needs,
    isNeutral,
    refuses: { ...refuses },
    example: { ...example },
    cannotCompose: cannotCompose(method, named?.adapters),
  };
}

function withChoices(parameter: Parameter, named: Named | undefined): Parameter {
  if (named === undefined || (parameter.type !== "model" && parameter.type !== "adapter")) return parameter;
  return { ...parameter, choices: parameter.type === "model" ? named.models : named.adapters };
}

/** What a method can't be combined with, of all that one call can name beside it. @param adapters  those of the model; left out: any */
export function cannotCompose(method: Method<unknown>, adapters: readonly string[] = [anyAdapter]): Readonly<Record<string, string>> {
  const others = (Object.values(methodsByAxis(adapters)).flat() as readonly Method<unknown>[]).filter(
    (other) => other !== method && (other.axis !== method.axis || listAxes.includes(other.axis)),
  );
  return Object.fromEntries(
    others.flatMap((other) => {
      const why = refusalOf(method, other);
      return why === undefined ? [] : [[`${other.axis} ${other.name}`, why]];
    }),
  );
}

/** Axes that take a list; of every other one a call has one value. */
export const listAxes: readonly string[] = ["guide", "sample"];
