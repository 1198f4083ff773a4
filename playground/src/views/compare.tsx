import { type Signal, signal } from "@preact/signals";
import { client, model, watch } from "../app-state.ts";
import { numbersOf, Report } from "../facts/report.tsx";
import { Picker } from "../picker/picker.tsx";
import { firstDifference, isUnderWay, type Run } from "../run/run.ts";
import { Runner } from "../run/runner.ts";
import { defaultSettings, type Settings, summarize } from "../run/settings.ts";
import { Answers } from "../ui/answers.tsx";
import { Composer } from "../ui/composer.tsx";
import { Snippet } from "../ui/snippet.tsx";

const prompt = signal("The three laws of robotics are");
interface Side {
  readonly name: string;
  readonly settings: Signal<Settings>;
  readonly runner: Runner;
}
const sides: readonly [Side, Side] = [
  { name: "A", settings: signal(defaultSettings), runner: new Runner(client) },
  { name: "B", settings: signal({ ...defaultSettings, temperature: 0.8, seed: 7 }), runner: new Runner(client) },
];

async function run(): Promise<void> {
  await watch.during(
    Promise.all(
      sides.map(({ settings, runner }) =>
        runner.start({ prompt: { kind: "text", text: prompt.value }, settings: settings.value, model: model.value?.name ?? "" }),
      ),
    ),
  );
}

export function CompareView() {
  const [a, b] = sides.map(({ runner }) => runner.run.value) as [Run | undefined, Run | undefined];
  const difference = a === undefined || b === undefined ? undefined : firstDifference(a.tokens, b.tokens);
  return (
    <div class="compare">
      <h1 class="sr-only">Compare two settings</h1>
      <Composer
        label="Prompt for both"
        value={prompt.value}
        placeholder="A text to continue, twice"
        action="Run both"
        isUnderWay={sides.some(({ runner }) => runner.isUnderWay)}
        onInput={(value) => (prompt.value = value)}
        onSend={() => void run()}
        onCancel={() => {
          for (const { runner } of sides) runner.cancel();
        }}
      />
      {a !== undefined && b !== undefined && <Numbers a={a} b={b} difference={difference} />}
      <div class="sides">
        {sides.map(({ name, settings, runner }) => {
          const side = runner.run.value;
          return (
            <section key={name} class="side" aria-label={`Setting ${name}`}>
              <details class="side-settings">
                <summary>
                  <span class="side-name">{name}</span> <span>{summarize(settings.value)}</span>
                </summary>
                <Picker settings={settings.value} onChange={(next) => (settings.value = next)} label={`Settings ${name}`} />
              </details>
              {side === undefined ? (
                <p class="quiet empty-side">Open {name} to change its settings, then run both.</p>
              ) : (
                <>
                  <Answers runner={runner} label={`Answer of ${name}, token by token`} marked={difference} onRetry={() => void run()} />
                  <Report run={side} hasNumbers={false} />
                  {!isUnderWay(side) && side.status !== "failed" && <Snippet run={side} />}
                </>
              )}
            </section>
          );
        })}
      </div>
    </div>
  );
}

/** Both runs' numbers, and where the answers part. */
function Numbers({ a, b, difference }: { readonly a: Run; readonly b: Run; readonly difference: number | undefined }) {
  const [left, right] = [numbersOf(a), new Map(numbersOf(b).map(([label, value]) => [label, value]))];
  const isOver = !isUnderWay(a) && !isUnderWay(b);
  return (
    <div class="compare-numbers">
      <dl class="numbers">
        {left.map(([label, value, unit]) => (
          <div key={label}>
            <dt>
              {label} {unit}
            </dt>
            {[
              ["A", value],
              ["B", right.get(label) ?? "–"],
            ].map(([name, number]) => (
              <dd key={name}>
                <span class="badge">{name}</span> {number}
              </dd>
            ))}
          </div>
        ))}
      </dl>
      <p class="quiet" role="status">
        {difference !== undefined
          ? `The answers part at token ${difference + 1}, marked in both.`
          : isOver
            ? a.tokens.length === b.tokens.length
              ? "Both gave the same tokens."
              : "One answer is the other's beginning."
            : ""}
      </p>
    </div>
  );
}
