import type { SkipOrder } from "../decoding/index.ts";

export interface ShippedSkipOrders {
  readonly name: string;
  readonly ffn: SkipOrder;
  readonly block: SkipOrder;
}

/** By the beginning of a model's hash: what `npm run build:skip-orders` measured, so that nobody must wait for it at the first use. */
export const shippedSkipOrders: Readonly<Record<string, ShippedSkipOrders>> = {
  "64f16f0aa50c71dc": {
    name: "smollm2:q4_0",
    ffn: {
      blocks: [5, 17, 25, 3, 26, 13, 6, 24, 23, 11, 14, 7, 4, 27, 22, 21, 20, 1, 9, 16, 19, 18, 12, 10, 15, 2, 8, 28],
      costs: [0.0529, 0.1124, 0.2034, 0.2968, 0.3958, 0.4929, 0.6284, 0.7624, 0.8898, 1.0673, 1.2514, 1.5073, 1.7725, 1.9972, 2.2503],
    },
    block: {
      blocks: [17, 4, 5, 26, 12, 16, 18, 7, 6, 25, 3, 13, 14, 15, 22, 9, 11, 10, 20, 2, 21, 19, 23, 27, 24, 28, 8, 1],
      costs: [0.0901, 0.2089, 0.3342, 0.4674, 0.592, 0.7417, 0.8412, 0.9965, 1.1322, 1.2992, 1.4624, 1.596, 1.7342, 1.9614, 2.2478],
    },
  },
  a0947a263c1b05d3: {
    name: "smollm2",
    ffn: {
      blocks: [5, 3, 17, 25, 24, 12, 26, 11, 2, 13, 22, 23, 27, 14, 19, 18, 21, 20, 7, 6, 16, 4, 8, 15, 9, 10, 1, 28],
      costs: [0.043, 0.12, 0.1978, 0.2828, 0.3767, 0.4732, 0.5856, 0.7371, 0.9104, 1.0935, 1.3073, 1.5175, 1.7163, 2.0394, 2.4562],
    },
    block: {
      blocks: [5, 4, 26, 3, 6, 7, 14, 13, 25, 12, 11, 22, 10, 21, 9, 16, 20, 19, 18, 15, 17, 2, 27, 23, 24, 28, 8, 1],
      costs: [0.0902, 0.1912, 0.3086, 0.4391, 0.5518, 0.6866, 0.829, 0.9293, 1.0771, 1.2752, 1.4912, 1.6988, 1.9164, 2.2166, 2.5338],
    },
  },
};
