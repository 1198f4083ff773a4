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

/** A view's text with the settings beside it, or above it behind a button where there is no room. */
export function Split({ settings, onChange, children, aside }: Props) {
  const [isOpen, setOpen] = useState(false);
  return (
    <div class="split" data-open={isOpen ? "" : undefined}>
      <button type="button" class="settings-button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span>Settings</span>
        <span class="quiet">{summarize(settings)}</span>
      </button>
      <aside class="settings" aria-label="Settings">
        {aside}
        <Picker settings={settings} onChange={onChange} label="Settings" />
      </aside>
      <div class="body">{children}</div>
    </div>
  );
}
