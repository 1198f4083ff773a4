import { useState } from "preact/hooks";
import { apiKey } from "../app-state.ts";
import type { Run } from "../run/run.ts";
import { curlSnippet, reproducible, typescriptSnippet } from "../run/snippet.ts";
import { ScrollRegion } from "./scroll-region.tsx";

const kinds = [
  { kind: "typescript", name: "TypeScript" },
  { kind: "curl", name: "curl" },
] as const;

/** Code that gives a run's answer again. */
export function Snippet({ run }: { readonly run: Run }) {
  const [kind, setKind] = useState<"typescript" | "curl">("typescript");
  const [note, setNote] = useState("Copy");
  const request = reproducible(run.request, run.facts);
  const code = kind === "typescript" ? typescriptSnippet(request) : curlSnippet(request, location.origin, apiKey.value !== undefined);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code);
      setNote("Copied");
    } catch {
      setNote("Select and copy by hand"); // no clipboard outside secure contexts
    }
    setTimeout(() => setNote("Copy"), 2000);
  };
  return (
    <details class="section more">
      <summary>Reproduce this run</summary>
      <div class="row snippet-head">
        <fieldset class="segments" aria-label="Language">
          {kinds.map(({ kind: one, name }) => (
            <button key={one} type="button" aria-pressed={kind === one} onClick={() => setKind(one)}>
              {name}
            </button>
          ))}
        </fieldset>
        <button type="button" class="link" onClick={() => void copy()} aria-live="polite">
          {note}
        </button>
      </div>
      <ScrollRegion label="Code">
        <pre class="code">
          <code>{code}</code>
        </pre>
      </ScrollRegion>
    </details>
  );
}
