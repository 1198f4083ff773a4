import { useState } from "preact/hooks";
import { ScrollRegion } from "./scroll-region.tsx";

interface Props {
  readonly title: string;
  readonly codes: readonly { readonly name: string; readonly code: string }[];
}

/** The same thing in several languages, to be copied. */
export function CodeTabs({ title, codes }: Props) {
  const [chosen, setChosen] = useState(codes[0]!.name);
  const [note, setNote] = useState("Copy");
  const { code } = codes.find(({ name }) => name === chosen) ?? codes[0]!;
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
      <summary>{title}</summary>
      <div class="row snippet-head">
        <fieldset class="segments" aria-label="Language">
          {codes.map(({ name }) => (
            <button key={name} type="button" aria-pressed={chosen === name} onClick={() => setChosen(name)}>
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
