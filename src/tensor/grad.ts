import { type Rule, rules } from "./gradient-rules.ts";
import { add, affine } from "./operations.ts";
import { topologicalOrder } from "./program.ts";
import { elementCount } from "./shape.ts";
import type { OperationName, Tensor } from "./tensor.ts";

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
  const depends = new Set<Tensor>(parameters);
  for (const x of order) if (x.inputs.some((source) => depends.has(source))) depends.add(x);
  const gradients = new Map<Tensor, Tensor>([[loss, affine(loss, 0, 1)]]);
  for (const y of order.reverse()) {
    const g = gradients.get(y);
    if (g === undefined || !depends.has(y) || y.inputs.length === 0) continue;
    if (!y.inputs.some((source) => depends.has(source))) continue;
    const rule = rules[y.op] as Rule<OperationName>;
    const byInput = rule(y as never, g);
    y.inputs.forEach((source, i) => {
      const part = byInput[i];
      if (part === undefined || !depends.has(source)) return;
      const sum = gradients.get(source);
      gradients.set(source, sum === undefined ? part : add(sum, part));
    });
  }
  return parameters.map((parameter, i) => {
    if (!order.includes(parameter)) throw new TypeError(`grad: the loss does not depend on parameter ${i} (${nameOf(parameter)})`);
    return gradients.get(parameter) ?? affine(parameter, 0); // on the way only what is flat, such as step
  });
}

const nameOf = (x: Tensor): string => (x.op === "leaf" ? x.attributes.storage.name : x.op === "input" ? x.attributes.name : x.op);
