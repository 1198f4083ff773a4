import { type Rule, rules, transposedCopy } from "./gradient-rules.ts";
import { add, affine, contiguous } from "./operations.ts";
import { topologicalOrder } from "./program.ts";
import { elementCount } from "./shape.ts";
import { node, type OperationName, type Tensor } from "./tensor.ts";

/**
 * Gradients of a loss by tensors of its graph, as tensors of their shapes in f32.
 *
 * ```ts
 * const [dWeight] = grad(loss, [weight]);
 * using program = Program.compile(device, { loss, dWeight });
 * ```
 *
 * @param loss        f32 with one element
 * @param parameters  leaves, inputs or intermediate results the loss depends on
 * @throws TypeError for a loss of several elements, or a parameter that the loss doesn't depend on; UnsupportedError naming an operation
 *   on the way that has no gradient (`attention`: use `explicitAttention`; `setRows`, `window`: train without a cache)
 */
export function grad(loss: Tensor, parameters: readonly Tensor[]): Tensor[] {
  if (loss.dtype !== "f32" || elementCount(loss.shape) !== 1)
    throw new TypeError(`grad: the loss must be f32 with one element, got ${loss.dtype} [${loss.shape.join(", ")}]`);
  const order = topologicalOrder([loss]);
  const reached = new Set(order);
  const gradients = backward(order, affine(loss, 0, 1), new Set(parameters));
  return parameters.map((parameter, i) => {
    if (!reached.has(parameter)) throw new TypeError(`grad: the loss does not depend on parameter ${i} (${nameOf(parameter)})`);
    return gradients.get(parameter) ?? affine(parameter, 0); // on the way only what is flat, such as step
  });
}

/**
 * f(x), of which only x is kept until the gradient needs the rest: {@link grad} then computes f once more. Costs one more forward pass of f
 * and saves its intermediate results' memory.
 *
 * @param f  pure: builds new nodes at each call; tensors it takes from outside (weights, masks) are shared by both calls
 * @see Chen et al. 2016, Training deep nets with sublinear memory cost, https://arxiv.org/abs/1604.06174
 */
export function recompute(f: (x: Tensor) => Tensor, x: Tensor): Tensor {
  return { ...f(x), again: { x, f } };
}

/**
 * Gradients by the parameters and by every tensor between them and the last of `order`, whose own is `seed`.
 * @param around  tensors outside `order` that exist once: a recomputation shares them
 */
function backward(
  order: readonly Tensor[],
  seed: Tensor,
  parameters: ReadonlySet<Tensor>,
  around: ReadonlySet<Tensor> = new Set(),
): Map<Tensor, Tensor> {
  const depends = new Set(parameters);
  for (const x of order) if (x.inputs.some((source) => depends.has(source))) depends.add(x);
  const gradients = new Map<Tensor, Tensor>();
  const accumulate = (x: Tensor, part: Tensor | undefined): void => {
    if (part === undefined || !depends.has(x)) return;
    const sum = gradients.get(x);
    gradients.set(x, sum === undefined ? part : add(sum, part));
  };
  const existing = new Set([...around, ...order]);
  const copies = new Map<Tensor, Tensor>();
  const transposed = (x: Tensor): Tensor => {
    const copy = copies.get(x) ?? transposedCopy(x);
    copies.set(x, copy);
    return copy;
  };
  accumulate(order.at(-1)!, seed);
  for (const y of [...order].reverse()) {
    const g = gradients.get(y);
    if (g === undefined || !y.inputs.some((source) => depends.has(source))) continue;
    if (y.again !== undefined) {
      const { x, f } = y.again;
      const start = node("reshape", [contiguous(x)], {}, x.shape, x.dtype); // the same memory as a new node
      const fresh = topologicalOrder([f(start)]).filter((one) => one !== start && !existing.has(one));
      const shared = new Set(fresh.flatMap(({ inputs }) => inputs).filter((one) => existing.has(one) && depends.has(one)));
      const parts = backward(fresh, g, new Set([start, ...shared]), existing);
      accumulate(x, parts.get(start));
      for (const one of shared) accumulate(one, parts.get(one));
      continue;
    }
    const rule = rules[y.op] as Rule<OperationName>;
    const byInput = rule(y as never, g, transposed);
    y.inputs.forEach((source, i) => {
      accumulate(source, byInput[i]);
    });
  }
  return gradients;
}

const nameOf = (x: Tensor): string => (x.op === "leaf" ? x.attributes.storage.name : x.op === "input" ? x.attributes.name : x.op);
