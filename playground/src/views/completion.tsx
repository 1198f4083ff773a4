import { signal } from "@preact/signals";
import { client, model, serverError, watch } from "../app-state.ts";
import { Report } from "../facts/report.tsx";
import { isUnderWay } from "../run/run.ts";
import { Runner } from "../run/runner.ts";
import { defaultSettings, type RunPrompt, type Settings } from "../run/settings.ts";
import { Answers } from "../ui/answers.tsx";
import { Composer } from "../ui/composer.tsx";
import { Snippet } from "../ui/snippet.tsx";
import { Split } from "../ui/split.tsx";

const examples = ["The three laws of robotics are", "Once upon a time, once upon a time,", "def fibonacci(n):\n"];

const prompt = signal("");
const settings = signal<Settings>(defaultSettings);
const runner = new Runner(client);
/** Why an alternative could not be taken. */
const takeError = signal<string | undefined>(undefined);

async function run(given: RunPrompt): Promise<void> {
  takeError.value = undefined;
  await watch.during(runner.start({ prompt: given, settings: settings.value, model: model.value?.name ?? "" }));
}

/** Goes on from before a token with another in its place. */
async function take(index: number, id: number): Promise<void> {
  const before = runner.run.value!;
  runner.cancel();
  const { prompt: given } = before.request;
  try {
    const start =
      given.kind === "tokens"
        ? given.tokens
        : given.kind === "text"
          ? (await client.post<{ tokens: number[] }>("/tokenize", { text: given.text })).tokens
          : [];
    const taken = [...before.tokens.slice(0, index).map(({ fact }) => fact.id), id];
    const { text } = await client.post<{ text: string }>("/detokenize", { tokens: taken, special: true });
    const base = given.kind === "chat" ? "" : given.text;
    await run({ kind: "tokens", tokens: [...start, ...taken], text: base + text });
  } catch (error) {
    takeError.value = error instanceof Error ? error.message : String(error);
  }
}

export function CompletionView() {
  const current = runner.run.value;
  const hasLayout = (current?.request.settings.axes.layout ?? []).length > 0; // tokens have no layout to go on in
  const send = () => void run({ kind: "text", text: prompt.value });
  return (
    <Split settings={settings.value} onChange={(next) => (settings.value = next)}>
      <h1 class="sr-only">Complete a text</h1>
      <Composer
        label="Prompt"
        value={prompt.value}
        placeholder="A text to continue"
        action="Continue"
        isUnderWay={runner.isUnderWay}
        onInput={(value) => (prompt.value = value)}
        onSend={send}
        onCancel={() => runner.cancel()}
      />
      {current === undefined ? (
        <Empty />
      ) : (
        <>
          {current.request.prompt.kind === "tokens" && (
            <p class="forked">
              <span class="quiet">from</span> {current.request.prompt.text}
            </p>
          )}
          {takeError.value !== undefined && <p class="notice">{takeError.value}</p>}
          <Answers
            runner={runner}
            label="Answer, token by token"
            onTake={hasLayout ? undefined : (index, id) => void take(index, id)}
            onRetry={send}
          />
          <Report run={current} />
          {!isUnderWay(current) && current.status !== "failed" && <Snippet run={current} />}
        </>
      )}
    </Split>
  );
}

function Empty() {
  return (
    <div class="empty">
      <p>
        A model gives every token a probability: p(x) = ∏ p(x<sub>t</sub> | x<sub>&lt;t</sub>). Here you see each of them, what else was
        probable, and what the method you pick made of it.
      </p>
      <ul class="examples" aria-label="Examples">
        {examples.map((example) => (
          <li key={example}>
            <button
              type="button"
              class="example"
              disabled={serverError.value !== undefined}
              onClick={() => {
                prompt.value = example;
                void run({ kind: "text", text: example });
              }}
            >
              {example.trim()}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
