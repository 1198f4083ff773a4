import { OptionError } from "../../../errors.ts";
import { elementCount, type Shape, type Tensor } from "../../../tensor/index.ts";
import { Parameters } from "../../../weights/index.ts";
import { FrozenModel } from "./frozen-model.ts";

/** Which language model a forecaster was trained over. */
export interface FittedOver {
  /** Path of the file, or "none". */
  readonly languageModel: string;
  readonly fingerprint: string;
  readonly blocks?: number | undefined;
  readonly threads: number;
}

type Values<Name extends string> = Readonly<Record<Name, Float64Array>>;
type Shapes<Name extends string> = Readonly<Record<Name, Shape>>;

/** @throws RangeError for a list that doesn't fill its shape */
export function checkCounts<Name extends string>(fitted: Values<NoInfer<Name>>, shapes: Shapes<Name>): void {
  for (const [name, shape] of Object.entries<Shape>(shapes) as [Name, Shape][])
    if (fitted[name].length !== elementCount(shape))
      throw new RangeError(`${fitted[name].length} values of ${name}, expected ${elementCount(shape)}`);
}

/** Opens the language model with the fitted maps beside it. @throws OptionError where the file is another one by now */
export function withFitted<Name extends string, R>(
  fitted: FittedOver & Values<NoInfer<Name>>,
  shapes: Shapes<Name>,
  use: (frozen: FrozenModel, tensor: (name: Name) => Tensor) => R,
): R {
  const { languageModel, fingerprint, blocks, threads } = fitted;
  using frozen = FrozenModel.openSync(languageModel, { threads, blocks });
  if (frozen.fingerprint !== fingerprint)
    throw new OptionError("languageModel", `${languageModel} is not the file that this head was trained over: train it again`);
  const names = Object.keys(shapes) as Name[];
  using weights = Parameters.create(
    frozen.device,
    names.map((name) => ({ name, shape: shapes[name] })),
  );
  for (const name of names) weights.values(name).set(fitted[name]);
  return use(frozen, (name) => weights.tensor(name));
}
