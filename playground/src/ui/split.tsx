import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Picker } from "../picker/picker.tsx";
import { type Settings, summarize } from "../run/settings.ts";

interface Props {
  readonly settings: Settings;
  readonly onChange: (settings: Settings) => void;
  readonly children: ComponentChildren;
  /** Above the settings. */
  readonly aside?: ComponentChildren;
}

/** A view's text with the settings of a run beside it. */
export function Split({ settings, onChange, children, aside }: Props) {
  return (
    <SplitLayout
      summary={summarize(settings)}
      aside={
        <>
          {aside}
          <Picker settings={settings} onChange={onChange} label="Settings" />
        </>
      }
    >
      {children}
    </SplitLayout>
  );
}

interface LayoutProps {
  /** The settings in a line. */
  readonly summary: string;
  readonly aside: ComponentChildren;
  readonly children: ComponentChildren;
}

/** A view's body with its settings beside it, or above it behind a button where there is no room. */
export function SplitLayout({ summary, aside, children }: LayoutProps) {
  const [isOpen, setOpen] = useState(false);
  return (
    <div class="split" data-open={isOpen ? "" : undefined}>
      <button type="button" class="settings-button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span>Settings</span>
        <span class="quiet">{summary}</span>
      </button>
      <aside class="settings" aria-label="Settings">
        {aside}
      </aside>
      <div class="body">{children}</div>
    </div>
  );
}
