import { apiKey } from "../app-state.ts";
import type { Run } from "../run/run.ts";
import { curlSnippet, reproducible, typescriptSnippet } from "../run/snippet.ts";
import { CodeTabs } from "./code-tabs.tsx";

/** Code that gives a run's answer again. */
export function Snippet({ run }: { readonly run: Run }) {
  const request = reproducible(run);
  return (
    <CodeTabs
      title="Reproduce this run"
      codes={[
        { name: "TypeScript", code: typescriptSnippet(request) },
        { name: "curl", code: curlSnippet(request, location.origin, apiKey.value !== undefined) },
      ]}
    />
  );
}
