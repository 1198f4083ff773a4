import type { ComponentType } from "preact";
import { isKeyAsked, model, serverError, status, type Theme, theme, type View, view } from "./app-state.ts";
import { KeyDialog } from "./ui/key-dialog.tsx";
import { ChatView } from "./views/chat.tsx";
import { CompareView } from "./views/compare.tsx";
import { CompletionView } from "./views/completion.tsx";
import { ForecastView } from "./views/forecast.tsx";
import { ServerView } from "./views/server.tsx";

const views: readonly { readonly view: View; readonly name: string; readonly View: ComponentType }[] = [
  { view: "completion", name: "Complete", View: CompletionView },
  { view: "chat", name: "Chat", View: ChatView },
  { view: "compare", name: "Compare", View: CompareView },
  { view: "forecast", name: "Forecast", View: ForecastView },
  { view: "server", name: "Server", View: ServerView },
];

export function App() {
  return (
    <>
      <header class="bar">
        <a class="wordmark" href="#completion">
          Chainrule
        </a>
        <nav aria-label="Views">
          {views.map(({ view: name, name: label }) => (
            <a key={name} href={`#${name}`} aria-current={view.value === name ? "page" : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <div class="bar-end">
          <ModelLine />
          <ThemeButton />
        </div>
      </header>
      <Trouble />
      <main>
        {views.map(({ view: name, View: Body }) => (
          // all stay, so that a run goes on while one looks elsewhere
          <div key={name} hidden={view.value !== name}>
            <Body />
          </div>
        ))}
      </main>
      {isKeyAsked.value && <KeyDialog />}
    </>
  );
}

function ModelLine() {
  const state = serverError.value !== undefined ? "away" : status.value?.ready === true ? "ready" : "waiting";
  const words = { away: "no answer", ready: "ready", waiting: "loading" }[state];
  return (
    <p class="model">
      <span class={`dot dot-${state}`} aria-hidden="true" />
      <span class="sr-only">Server: {words}. </span>
      {model.value === undefined ? (
        <span class="quiet">{words}</span>
      ) : (
        <>
          <span class="model-name">{model.value.name}</span>
          <span class="quiet model-size">
            {model.value.blocks} blocks, {model.value.contextLength.toLocaleString("en")} tokens
          </span>
        </>
      )}
    </p>
  );
}

const themes: readonly Theme[] = ["system", "light", "dark"];

function ThemeButton() {
  const next = themes[(themes.indexOf(theme.value) + 1) % themes.length]!;
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={`Theme: ${theme.value}. Change to ${next}`}
      title={`Theme: ${theme.value}`}
      onClick={() => {
        theme.value = next;
      }}
    >
      <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
        <circle cx="10" cy="10" r="6.5" fill="none" stroke="currentColor" stroke-width="1.5" />
        {theme.value === "system" && <path d="M10 3.5a6.5 6.5 0 0 1 0 13z" fill="currentColor" />}
        {theme.value === "dark" && <circle cx="10" cy="10" r="6.5" fill="currentColor" />}
      </svg>
    </button>
  );
}

function Trouble() {
  const error = serverError.value;
  if (error === undefined || isKeyAsked.value) return null;
  return (
    <p class="banner" role="alert">
      {error.status === 401 ? (
        <>
          The server asks for a key.{" "}
          <button
            type="button"
            class="link"
            onClick={() => {
              isKeyAsked.value = true;
            }}
          >
            Enter it
          </button>
        </>
      ) : error.status === 0 ? (
        "The server does not answer. This page tries again by itself."
      ) : (
        `The server answered: ${error.message}`
      )}
    </p>
  );
}
