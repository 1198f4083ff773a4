import { afterAll, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf, type Transformer } from "../../src/models/index.ts";
import { grad, input, Program } from "../../src/tensor/index.ts";
import { type ActionBatch, forward, sequenceMatch, setRows, unrollActions, withMistakes } from "../../src/training/index.ts";
import { openGguf, TrainingWeights } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { random, writeTinyModel } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const vocabSize = 64;
const backspace = vocabSize - 1;

async function setting() {
  const folder = temporaryFolder();
  await writeTinyModel(`${folder.path}/tiny.gguf`, { type: "f32", blocks: 2, vocabSize, hiddenSize: 64 });
  const file = openGguf(`${folder.path}/tiny.gguf`);
  const device = Device.create("cpu", 1);
  const weights = TrainingWeights.open(device, file, { isTrained: () => true });
  const model = familyOf("llama").build(file.metadata, weights);
  await weights.load();
  const dispose = () => {
    for (const one of [weights, device, file, folder]) one[Symbol.dispose]();
  };
  return { model, device, weights, [Symbol.dispose]: dispose };
}

/** Logits of every row of one sequence. */
async function logitsOf({ model, device }: Awaited<ReturnType<typeof setting>>, rows: Parameters<typeof setRows>[3] & { ids: number[] }) {
  const shape = { sequences: 1, length: rows.ids.length };
  using program = Program.compile(device, { logits: model.head(forward(model, shape).hidden) });
  setRows(program, model.config, shape, rows);
  await program.run();
  return Float32Array.from(program.peek("logits"));
}

test("in one masked pass each state's logits are those of its tokens read afresh", async () => {
  using opened = await setting();
  const next = random(12);
  for (let trial = 0; trial < 4; trial += 1) {
    const prompt = [1, 2];
    const actions: number[] = [];
    const live = [...prompt];
    const states = [[...live]];
    for (let i = 0; i < 14; i += 1) {
      const action = live.length > prompt.length && next() < 0.4 ? backspace : Math.floor(next() * (vocabSize - 1));
      actions.push(action);
      if (action === backspace) live.pop();
      else live.push(action);
      states.push([...live]);
    }
    const { ids, positions, deletedAt, actions: taken } = unrollActions(prompt, actions, backspace);
    expect(taken.filter((action) => action !== undefined)).toEqual(actions);
    const packed = await logitsOf(opened, { ids, positions, deletedAt });
    for (const [i, state] of states.entries()) {
      const row = prompt.length - 1 + i;
      const fresh = (await logitsOf(opened, { ids: state })).subarray((state.length - 1) * vocabSize);
      for (const [id, value] of fresh.entries()) expect(packed[row * vocabSize + id]).toBeCloseTo(value, 4);
    }
  }
});

test.each([
  { c: 2, rate: 0.5 },
  { c: 1e9, rate: 0 }, // without backspaces, and φ as good as linear
])("the loss is the formula's, and its gradient is its slope: %o", async ({ c, rate }) => {
  using opened = await setting();
  const { model, device, weights } = opened;
  const tokens = withMistakes([5, 9, 3, 7, 11, 2, 8], { rate, vocabSize, backspace, draw: random(3) });
  expect(tokens.includes(backspace)).toBe(rate > 0);
  const { ids, positions, deletedAt, actions } = unrollActions([1], tokens, backspace);
  const rows = ids.length;
  const isTarget = Uint8Array.from(actions, (action) => (action === undefined ? 0 : 1));
  const batch: ActionBatch = {
    ...{
      ids: Int32Array.from(ids),
      documents: new Int32Array(rows),
      positions: Int32Array.from(positions),
      deletedAt: Int32Array.from(deletedAt),
    },
    ...{ targets: Int32Array.from(actions, (action) => action ?? 0), isTarget, targetCount: rows - 1, from: [0] },
    nextRow: Int32Array.from(ids, (_, row) => (row + 1 < rows && row !== 4 ? row + 1 : -1)), // one that ends in between
    isData: Uint8Array.from(ids, (_, row) => (row % 3 === 2 ? 0 : 1)),
  };
  const [gamma, likelihood] = [0.9, 0.25];
  const logits = await logitsOf(opened, { ids, positions, deletedAt });
  const q = (row: number, id: number) => logits[row * vocabSize + id]!;
  const v = (row: number) => Math.log(Array.from({ length: vocabSize }, (_, id) => Math.exp(q(row, id))).reduce((a, b) => a + b));
  const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  const transitions = [...isTarget.keys()].filter((row) => isTarget[row] === 1);
  const facts = transitions.map((row) => {
    const after = batch.nextRow[row]! < 0 ? 0 : v(batch.nextRow[row]!);
    const own = q(row, batch.targets[row]!);
    return { isData: batch.isData[row] === 1, reward: own - gamma * after, flow: v(row) - gamma * after, logprob: own - v(row) };
  });
  const data = facts.filter(({ isData }) => isData);
  const own = facts.filter(({ isData }) => !isData);
  const matching =
    0.5 * (mean(data.map(({ flow }) => flow)) + mean(own.map(({ flow }) => flow))) -
    mean(data.map(({ reward }) => reward - reward ** 2 / (4 * c)));
  const expected = (1 - likelihood) * matching - likelihood * mean(data.map(({ logprob }) => logprob));

  const shape = { sequences: 1, length: rows };
  const objective = sequenceMatch({ gamma, c, likelihood });
  const loss = objective.loss(forward(model, shape), model);
  const name = "blk.1.ffn_down.weight";
  using program = Program.compile(device, { loss, gradient: grad(loss, [weights.parameters.tensor(name)])[0]! });
  const run = async () => {
    setRows(program, model.config, shape, { ids, positions, deletedAt });
    objective.fill(program, batch, batch.targetCount, model);
    await program.run();
    return program.peek("loss")[0]!;
  };
  expect(await run()).toBeCloseTo(expected, 4);
  const gradient = Float32Array.from(program.peek("gradient"));
  const values = weights.parameters.values(name);
  const start = values.slice();
  const step = 0.02 / Math.hypot(...gradient); // along the gradient, where the slope is its length
  const along = async (sign: number) => {
    for (const [i, value] of start.entries()) values[i] = (value + sign * step * gradient[i]!) as number;
    return run();
  };
  const slope = ((await along(1)) - (await along(-1))) / (2 * step);
  const length = gradient.reduce((sum, value) => sum + value * value, 0);
  expect(slope / length).toBeCloseTo(1, 1);
});

test("under discounted occupancies the flow of values is that of the first state, whoever acts", async () => {
  // three states with γ = 1/2, as rows in the numbers of their occupancy (1 - γ) γᵗ, eight rows to a policy; the last rows stand for what is
  // after the end, whose values are 0
  const [gamma, actions] = [0.5, 4];
  const policies = {
    straight: [0, 0, 0, 0, 1, 1, 2, 3],
    torn: [0, 0, 0, 0, 1, 2, 3, 3], // goes to state 1 or 2 and then ends
  };
  const after = { straight: [4, 4, 4, 4, 6, 6, -1, -1], torn: [4, 4, 5, 5, -1, -1, -1, -1] };
  const next = random(8);
  const q = [0, 1, 2].map(() => Array.from({ length: actions }, () => 3 * next()));
  q.push(new Array(actions).fill(-Math.log(actions))); // V = 0
  using device = Device.create("cpu", 1);
  const logits = input("logits", "f32", [24, actions]);
  const model = { head: () => logits, config: { vocabSize: actions } } as unknown as Transformer;
  const objective = sequenceMatch({ gamma, c: 1e12 });
  using program = Program.compile(device, { loss: objective.loss({ hidden: logits, states: [] }, model) });
  const lossOf = async (data: keyof typeof policies, own: (keyof typeof policies)[]) => {
    const rows = [data, ...own].flatMap((name, i) =>
      policies[name].map((state, j) => ({ state, next: after[name][j]! + (after[name][j]! < 0 ? 0 : 8 * i) })),
    );
    const spare = 24 - rows.length;
    program.input("logits").set([...rows.flatMap(({ state }) => q[state]!), ...new Array(spare * actions).fill(0)]);
    const batch: ActionBatch = {
      ...{ ids: new Int32Array(24), documents: new Int32Array(24), targets: new Int32Array(24), targetCount: rows.length, from: [0] },
      isTarget: Uint8Array.from({ length: 24 }, (_, row) => (row < rows.length ? 1 : 0)),
      nextRow: Int32Array.from({ length: 24 }, (_, row) => rows[row]?.next ?? -1),
      isData: Uint8Array.from({ length: 24 }, (_, row) => (row < 8 ? 1 : 0)),
    };
    objective.fill(program, batch, batch.targetCount, model);
    await program.run();
    return program.peek("loss")[0]!;
  };
  // what the policy's own rows add is half their flow; the data's rows stand in where there are none
  const alone = await lossOf("straight", []);
  expect(await lossOf("straight", ["torn"])).toBeCloseTo(alone, 5);
  expect(await lossOf("straight", ["straight", "torn"])).toBeCloseTo(alone, 5);
  const first = Math.log(q[0]!.reduce((sum, value) => sum + Math.exp(value), 0));
  const v = (state: number) => Math.log(q[state]!.reduce((sum, value) => sum + Math.exp(value), 0));
  const rewards = policies.straight.map(
    (state, row) => q[state]![0]! - gamma * (after.straight[row]! < 0 ? 0 : v(policies.straight[after.straight[row]!]!)),
  );
  expect(alone).toBeCloseTo((1 - gamma) * first - rewards.reduce((sum, one) => sum + one, 0) / 8, 5);
});

test("a backspace stops at the prompt", () => {
  expect(() => unrollActions([1, 2], [3, backspace, backspace], backspace)).toThrow(/a token of the prompt/);
  expect(() => sequenceMatch({ gamma: 1 })).toThrow(/gamma: must be in \(0, 1\), got 1/);
});
