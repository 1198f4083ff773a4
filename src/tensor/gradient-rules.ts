import { UnsupportedError } from "../errors.ts";
import {
  add,
  affine,
  clamp,
  contiguous,
  cumsum,
  div,
  expand,
  gather,
  leaf,
  linear,
  mul,
  narrow,
  outer,
  pad,
  permute,
  reshape,
  rope,
  scatterAdd,
  sub,
  sumLast,
  unary,
} from "./operations.ts";
import { elementCount, type Shape, sameShape } from "./shape.ts";
import type { Operation, OperationName, Tensor, UnaryName } from "./tensor.ts";

// One vector-Jacobian rule per operation. A rule gets the operation's node y and the loss's gradient g by y, and returns
// the loss's gradients by y's inputs, written with forward operations; undefined where an input has none (indices, masks of f16).
// Rules are made of operations that have rules, so gradients can be differentiated again; what is flat almost everywhere
// (step, sgn, clamp's edges) counts as constant.

/**
 * From a node and the loss's gradient by it to the gradients by its inputs.
 * @param transposed  a copy with the last two axes in the other order; the same one for all rules that ask for it, as layers that read one state do
 */
export type Rule<N extends OperationName> = (
  y: Operation<N> & Tensor,
  g: Tensor,
  transposed: (x: Tensor) => Tensor,
) => readonly (Tensor | undefined)[];

const noGradient =
  (advice: string): Rule<OperationName> =>
  (y) => {
    throw new UnsupportedError(`grad: ${y.op} has no gradient; ${advice}`);
  };

/** y's derivative by x, elementwise, or undefined where it is zero almost everywhere. */
const derivatives: Record<UnaryName, (x: Tensor, y: Tensor) => Tensor | undefined> = {
  sqr: (x) => affine(x, 2),
  sqrt: (_x, y) => div(affine(y, 0, 0.5), y),
  log: (x) => div(affine(x, 0, 1), x),
  exp: (_x, y) => y,
  sin: (x) => unary("cos", x),
  cos: (x) => affine(unary("sin", x), -1),
  abs: (x) => unary("sgn", x),
  neg: (x) => affine(x, 0, -1),
  step: () => undefined,
  sgn: () => undefined,
  relu: (x) => unary("step", x),
  gelu: (x) => {
    // ½x(1 + tanh u), u = √(2/π)(x + 0.044715x³)
    const slope = Math.sqrt(2 / Math.PI);
    const square = unary("sqr", x);
    const tanh = unary("tanh", mul(x, affine(square, slope * 0.044715, slope)));
    const inner = affine(square, slope * 3 * 0.044715, slope); // du/dx
    return affine(add(mul(mul(x, oneMinusSquare(tanh)), inner), tanh), 0.5, 0.5);
  },
  geluErf: (x, y) => {
    // Φ(x) + xφ(x). Φ is y/x, and near 0, where that divides by nothing, ½ + xφ(0)(1 - x²/6 + x⁴/40 - x⁶/336)
    const square = unary("sqr", x);
    const isFar = unary("step", affine(unary("abs", x), 1, -0.25));
    const isNear = affine(isFar, -1, 1);
    const quotient = div(y, add(mul(x, isFar), isNear));
    const density0 = 1 / Math.sqrt(2 * Math.PI);
    const series = affine(mul(square, affine(mul(square, affine(square, -1 / 336, 1 / 40)), 1, -1 / 6)), density0, density0);
    const cumulative = add(mul(quotient, isFar), mul(affine(mul(x, series), 1, 0.5), isNear));
    return add(mul(mul(x, affine(unary("exp", affine(square, -0.5)), density0)), affine(square, 0, 1)), cumulative);
  },
  geluQuick: (x) => {
    const s = unary("sigmoid", affine(x, 1.702));
    return mul(s, affine(mul(affine(x, 1.702), affine(s, -1, 1)), 1, 1));
  },
  silu: (x) => {
    const s = unary("sigmoid", x);
    return mul(s, affine(mul(x, affine(s, -1, 1)), 1, 1));
  },
  tanh: (_x, y) => oneMinusSquare(y),
  sigmoid: (_x, y) => mul(y, affine(y, -1, 1)),
  softplus: (x) => unary("sigmoid", x),
  elu: (x) => unary("exp", clamp(x, Number.NEGATIVE_INFINITY, 0)),
};
const oneMinusSquare = (x: Tensor): Tensor => affine(unary("sqr", x), -1, 1);

/** One rule per operation. */
export const rules: { [N in OperationName]: Rule<N> } = {
  leaf: () => [],
  input: () => [],
  add: ({ inputs: [, b] }, g) => [g, sumTo(g, b!.shape)],
  sub: ({ inputs: [, b] }, g) => [g, affine(sumTo(g, b!.shape), -1)],
  mul: ({ inputs: [a, b] }, g) => [mul(g, b!), sumTo(mul(g, a!), b!.shape)],
  div: (y, g) => {
    const b = y.inputs[1]!;
    const byA = div(g, b);
    return [byA, affine(sumTo(mul(byA, y), b.shape), -1)];
  },
  unary: (y, g) => {
    const slope = derivatives[y.attributes.name](y.inputs[0]!, y);
    return [slope && mul(g, slope)];
  },
  affine: (y, g) => [affine(g, y.attributes.scale)],
  clamp: (y, g) => {
    const { min, max } = y.attributes;
    const x = y.inputs[0]!;
    const above = Number.isFinite(min) ? unary("step", affine(x, 1, -min)) : affine(x, 0, 1);
    const below = Number.isFinite(max) ? unary("step", affine(x, -1, max)) : above;
    return [mul(g, mul(above, below))];
  },
  glu: (y, g) => {
    const { gate: kind } = y.attributes;
    const [gate, up] = y.inputs as [Tensor, Tensor];
    const active = unary(kind, gate);
    return [mul(mul(g, up), derivatives[kind](gate, active)!), mul(g, active)];
  },
  linear: (y, g, transposed) => {
    const [x, weight] = y.inputs as [Tensor, Tensor];
    // a product with the transposed weight is faster than the outer one, which alone reads quantized weights as they lie
    const kept = weight.op === "leaf" ? weight.attributes.storage.transposed : undefined;
    const isQuantized = !["f32", "f16", "bf16"].includes(weight.dtype);
    const rows = matrix(x, weight.shape);
    const gradient = matrix(g, weight.shape);
    const byX =
      kept !== undefined
        ? linear(gradient, leaf(kept))
        : isQuantized
          ? outer(weight, transpose(gradient))
          : linear(gradient, transposed(weight));
    const byWeight =
      weight.shape.length === 2 && rows.shape.length === 2
        ? linear(transposed(gradient), transposed(rows)) // two copies and a fast product take half the time of the outer one
        : sumGroups(alongLonger(rows, gradient), weight.shape);
    return [reshape(byX, x.shape), byWeight];
  },
  chosenLinear: noGradient("train one adapter at a time, with linear"),
  outer: (y, g, transposed) => {
    const [a, b] = y.inputs as [Tensor, Tensor];
    return [sumGroups(linear(b, transposed(g)), a.shape), transpose(linear(g, a))];
  },
  gather: ({ inputs: [table, ids] }, g) => [scatterAdd(g, ids!, table!.shape[0]!), undefined],
  scatterAdd: ({ inputs: [, ids] }, g) => [gather(g, ids!), undefined],
  setRows: noGradient("train without a cache"),
  rmsNorm: (y, g) => {
    const x = y.inputs[0]!;
    const size = unary("sqrt", affine(meanLast(unary("sqr", x)), 1, y.attributes.eps));
    return [div(sub(g, mul(y, meanLast(mul(g, y)))), size)];
  },
  layerNorm: (y, g) => {
    const x = y.inputs[0]!;
    const spread = unary("sqrt", affine(meanLast(unary("sqr", sub(x, meanLast(x)))), 1, y.attributes.eps));
    return [div(sub(sub(g, meanLast(g)), mul(y, meanLast(mul(g, y)))), spread)];
  },
  l2Norm: (y, g) => {
    const { eps } = y.attributes;
    const length = unary("sqrt", sumLast(unary("sqr", y.inputs[0]!)));
    const isLong = unary("step", affine(length, 1, -eps)); // shorter rows are divided by eps, a constant
    const along = mul(sumLast(mul(g, y)), isLong);
    return [div(sub(g, mul(y, along)), clamp(length, eps, Number.POSITIVE_INFINITY))];
  },
  rope: (y, g) => {
    const [, positions, factors] = y.inputs;
    return [rope(g, positions!, { ...y.attributes, transposed: !y.attributes.transposed }, factors), undefined, undefined];
  },
  softmax: (y, g) => {
    const [x, mask] = y.inputs;
    const byScores = mul(y, sub(g, sumLast(mul(g, y))));
    return [reshape(affine(byScores, y.attributes.scale), x!.shape), mask?.dtype === "f32" ? sumTo(byScores, mask.shape) : undefined];
  },
  attention: noGradient("use explicitAttention"),
  window: noGradient("train without a cache"),
  reshape: ({ inputs: [x] }, g) => [reshape(g, x!.shape)],
  permute: ({ attributes: { axes } }, g) => {
    const inverse: number[] = [];
    axes.forEach((axis, i) => {
      inverse[axis] = i;
    });
    return [permute(g, inverse)];
  },
  narrow: ({ inputs: [x], attributes: { axis, start }, shape }, g) => [pad(g, axis, start, x!.shape[axis]! - start - shape[axis]!)],
  contiguous: (_y, g) => [g],
  concat: ({ inputs: [a, b], attributes: { axis } }, g) => {
    const split = a!.shape[axis]!;
    return [narrow(g, axis, 0, split), narrow(g, axis, split, b!.shape[axis]!)];
  },
  pad: ({ inputs: [x], attributes: { axis, before } }, g) => [narrow(g, axis, before, x!.shape[axis]!)],
  expand: ({ inputs: [x] }, g) => [sumTo(g, x!.shape)],
  sumLast: ({ inputs: [x] }, g) => [expand(g, x!.shape)],
  // position j takes part in the sums from j on: all of them but those before it
  cumsum: (_y, g) => [add(sub(expand(sumLast(g), g.shape), cumsum(g)), g)],
  cast: (_y, g) => [g],
  argmax: noGradient("its result is an index"),
  topK: noGradient("its result are indices"),
};

const meanLast = (x: Tensor): Tensor => affine(sumLast(x), 1 / (x.shape.at(-1) ?? 1));

/** A copy with the last two axes in the other order. */
export function transposedCopy(x: Tensor): Tensor {
  const [rows, columns] = x.shape as [number, number];
  if (x.shape.length > 2 || columns < 2048 || columns % panel > 0) return contiguous(transpose(x));
  // elements of a column lie so far apart that their cache lines push each other out: a third of the time in narrow panels
  const panels = contiguous(permute(reshape(x, [rows, columns / panel, panel]), [1, 0, 2])); // [C / 32, R, 32]
  return reshape(contiguous(permute(panels, [0, 2, 1])), [columns, rows]);
}
const panel = 32;

/** The last two axes in the other order. */
function transpose(x: Tensor): Tensor {
  const rank = x.shape.length;
  return permute(x, [...Array(rank - 2).keys(), rank - 1, rank - 2]);
}

/** `outer(a, b)`, computed so that its rows are long: rows of 32 take five times as long for as many products as rows of 256. */
const alongLonger = (a: Tensor, b: Tensor): Tensor => (a.shape.at(-1)! >= b.shape.at(-1)! ? outer(a, b) : transpose(outer(b, a)));

/** As [rows, columns] where the weight is a matrix, so that rows of all leading axes share one product; otherwise as it is. */
function matrix(x: Tensor, weightShape: Shape): Tensor {
  if (weightShape.length > 2 || x.shape.length === 2) return x;
  const columns = x.shape.at(-1)!;
  return reshape(x, [elementCount(x.shape) / columns, columns]);
}

/** Sums over the axes along which `shape` was stretched to x. */
function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const shift = x.shape.length - shape.length;
  const axes = [...x.shape.keys()];
  const isStretched = (axis: number) => axis < shift || (shape[axis - shift] === 1 && x.shape[axis] !== 1);
  const order = [...axes.filter((axis) => !isStretched(axis)), ...axes.filter(isStretched)];
  const kept = elementCount(shape);
  return reshape(sumLast(reshape(permute(x, order), [kept, elementCount(x.shape) / kept])), shape);
}

/** Sums over the members of groups: leading axes of x that are multiples of those of `shape`, or that it has not. */
function sumGroups(x: Tensor, shape: Shape): Tensor {
  const shift = x.shape.length - shape.length;
  let result = x;
  for (let axis = 0; axis < x.shape.length - 2; axis += 1) {
    const groups = axis < shift ? 1 : shape[axis - shift]!;
    const members = x.shape[axis]! / groups;
    if (members === 1) continue;
    const before = elementCount(result.shape.slice(0, axis)) * groups;
    const after = elementCount(result.shape.slice(axis + 1));
    const summed = sumLast(permute(reshape(result, [before, members, after]), [0, 2, 1])); // [before, after, 1]
    result = reshape(
      summed,
      result.shape.map((length, i) => (i === axis ? groups : length)),
    );
  }
  return reshape(result, shape);
}
