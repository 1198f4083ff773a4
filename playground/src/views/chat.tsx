import { signal } from "@preact/signals";
import type { Message } from "../api/wire.ts";
import { client, model, serverError, watch } from "../app-state.ts";
import { Report } from "../facts/report.tsx";
import { isUnderWay, type Run } from "../run/run.ts";
import { Runner } from "../run/runner.ts";
import { defaultSettings, type Settings } from "../run/settings.ts";
import { Answer } from "../ui/answer.tsx";
import { Answers } from "../ui/answers.tsx";
import { Composer } from "../ui/composer.tsx";
import { Snippet } from "../ui/snippet.tsx";
import { Split } from "../ui/split.tsx";

const examples = ["Why is the sky blue?", "Name three colours and a fruit of each.", "Write a haiku about rivers."];

/** A question and its answer; the last one's answer is the runner's. */
interface Turn {
  readonly question: string;
  readonly run: Run | undefined;
}

const system = signal("");
const draft = signal("");
const turns = signal<readonly Turn[]>([]);
const settings = signal<Settings>({ ...defaultSettings, maxTokens: 256 });
const runner = new Runner(client);

async function ask(question: string, earlier: readonly Turn[]): Promise<void> {
  const messages: Message[] = [
    ...(system.value.trim() === "" ? [] : [{ role: "system" as const, content: system.value }]),
    ...earlier.flatMap(({ question: content, run }) => [
      { role: "user" as const, content },
      ...(run === undefined || run.text === "" ? [] : [{ role: "assistant" as const, content: run.text }]),
    ]),
    { role: "user", content: question },
  ];
  draft.value = "";
  turns.value = [...earlier, { question, run: undefined }];
  await watch.during(runner.start({ prompt: { kind: "chat", messages }, settings: settings.value, model: model.value?.name ?? "" }));
}

/** All turns, the last with the answer as far as it is. */
function current(): readonly Turn[] {
  const list = turns.value;
  const last = list.at(-1);
  return last === undefined ? [] : [...list.slice(0, -1), { ...last, run: runner.run.value }];
}

export function ChatView() {
  const list = current();
  const last = list.at(-1)?.run;
  const send = (question: string) => void ask(question.trim(), list);
  return (
    <Split
      settings={settings.value}
      onChange={(next) => (settings.value = next)}
      aside={
        <label class="field field-wide">
          <span>System message</span>
          <textarea
            rows={2}
            value={system.value}
            placeholder="none"
            onInput={({ currentTarget }) => (system.value = currentTarget.value)}
          />
        </label>
      }
    >
      <h1 class="sr-only">Chat</h1>
      {list.length === 0 && (
        <div class="empty">
          <p>Ask something. Every token of the answer shows its probability and what else could have stood there.</p>
          <ul class="examples" aria-label="Examples">
            {examples.map((example) => (
              <li key={example}>
                <button type="button" class="example" disabled={serverError.value !== undefined} onClick={() => send(example)}>
                  {example}
                </button>
              </li>
            ))}
          </ul>
        </div>
      )}
      <ol class="turns" aria-label="Conversation">
        {list.map(({ question, run }, index) => (
          <li key={index} class="turn">
            <p class="question">{question}</p>
            {run !== undefined &&
              (index < list.length - 1 ? (
                <Answer run={run} label={`Answer ${index + 1}, token by token`} />
              ) : (
                <Answers
                  runner={runner}
                  label={`Answer ${index + 1}, token by token`}
                  onRetry={() => void ask(question, list.slice(0, -1))}
                />
              ))}
          </li>
        ))}
      </ol>
      <Composer
        label="Message"
        value={draft.value}
        placeholder={list.length === 0 ? "A question" : "Go on"}
        action="Send"
        isUnderWay={runner.isUnderWay}
        isSentByEnter
        onInput={(value) => (draft.value = value)}
        onSend={() => send(draft.value)}
        onCancel={() => runner.cancel()}
      />
      {list.length > 0 && (
        <p class="row">
          <button
            type="button"
            class="link"
            onClick={() => {
              runner.clear();
              turns.value = [];
            }}
          >
            New conversation
          </button>
        </p>
      )}
      {last !== undefined && last.tokens.length > 0 && <Report run={last} />}
      {last !== undefined && !isUnderWay(last) && last.status !== "failed" && <Snippet run={last} />}
    </Split>
  );
}
