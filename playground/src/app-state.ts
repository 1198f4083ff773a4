import { computed, effect, signal } from "@preact/signals";
import { ApiError, Client } from "./api/client.ts";
import type { Registry, ServerStatus } from "./api/wire.ts";
import { History, type Sample } from "./charts/history.ts";
import { Vocabulary } from "./run/vocabulary.ts";
import { Watch } from "./watch.ts";

// What the whole page knows: the key, the server, the theme. The key lives in this tab only.

const keyName = "chainrule key";
export const apiKey = signal<string | undefined>(sessionStorage.getItem(keyName) ?? undefined);
export const isKeyAsked = signal(false);
effect(() => {
  if (apiKey.value === undefined) sessionStorage.removeItem(keyName);
  else sessionStorage.setItem(keyName, apiKey.value);
});

export const client = new Client(
  () => apiKey.value,
  () => {
    isKeyAsked.value = true;
  },
);
export const vocabulary = new Vocabulary((lists) =>
  client.post<{ texts: string[] }>("/detokenize", { tokens: lists, special: true }).then(({ texts }) => texts),
);

/** The registry, or why there is none yet. */
export const registry = signal<{ kind: "loading" } | { kind: "ready"; registry: Registry } | { kind: "failed"; message: string }>({
  kind: "loading",
});
export const status = signal<ServerStatus | undefined>(undefined);
/** Why the server could not be asked last time. */
export const serverError = signal<ApiError | undefined>(undefined);
export const samples = signal<readonly Sample[]>([]);
export const model = computed(() => status.value?.model ?? undefined);

/** Whether somebody looks at the charts, or something runs: then the server is asked every second, otherwise rarely. */
export const watch = new Watch(() => view.value === "server");
const history = new History();

async function refresh(): Promise<void> {
  try {
    const now = await client.get<ServerStatus>("/v1/chainrule/status");
    history.add(now, performance.now());
    samples.value = history.samples;
    status.value = now;
    serverError.value = undefined;
    if (now.model !== null && registry.value.kind !== "ready") {
      registry.value = { kind: "ready", registry: await client.get<Registry>("/v1/chainrule/methods") };
    }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    serverError.value = error;
    if (error.status === 401) status.value = undefined;
    if (registry.value.kind !== "ready") registry.value = { kind: "failed", message: error.message };
  }
}

let timer: ReturnType<typeof setTimeout> | undefined;
/** Asks now, and from then on again and again while the page is visible. */
export async function poll(): Promise<void> {
  clearTimeout(timer);
  if (!document.hidden) await refresh();
  clearTimeout(timer);
  const isIncomplete = registry.value.kind !== "ready" && !isKeyAsked.value;
  timer = setTimeout(() => void poll(), watch.isWatched.value || isIncomplete ? 1000 : 10_000);
}

export function start(): void {
  void poll();
  document.addEventListener("visibilitychange", () => void poll());
  effect(() => {
    if (watch.isWatched.value) void poll();
  });
}

export type Theme = "system" | "light" | "dark";
const themeName = "chainrule theme";
const stored = localStorage.getItem(themeName);
export const theme = signal<Theme>(stored === "light" || stored === "dark" ? stored : "system");
effect(() => {
  if (theme.value === "system") {
    localStorage.removeItem(themeName);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(themeName, theme.value);
    document.documentElement.dataset.theme = theme.value;
  }
});

export type View = "completion" | "chat" | "compare" | "forecast" | "server";
const views: readonly View[] = ["completion", "chat", "compare", "forecast", "server"];
const viewOfHash = (): View => views.find((view) => location.hash === `#${view}`) ?? "completion";
export const view = signal<View>(viewOfHash());
addEventListener("hashchange", () => {
  view.value = viewOfHash();
});
