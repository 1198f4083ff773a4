import { apiKey, registry } from "../app-state.ts";
import type { Run } from "../run/run.ts";
import { curlSnippet, reproducible, typescriptSnippet } from "../run/snippet.ts";
import { CodeTabs } from "./code-tabs.tsx";

/** Code that gives a run's answer again. */
export function Snippet({ run }: { readonly run: Run }) {
  const request = reproducible(run);
  const methods = registry.value.kind === "ready" ? registry.value.registry : {};
  return (
    <CodeTabs
      title="Reproduce this run"
      codes={[
        { name: "TypeScript", code: typescriptSnippet(request, methods) },
        { name: "curl", code: curlSnippet(request, location.origin, apiKey.value !== undefined) },
      ]}
    />
  );
}
