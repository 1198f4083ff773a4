import type { ComponentChildren, Ref } from "preact";

interface Props {
  readonly label: string;
  readonly box?: Ref<HTMLElement>;
  readonly onScroll?: (box: HTMLElement) => void;
  readonly children: ComponentChildren;
}

/** What is wider than the page scrolls within itself; a stop of the tab key, so that arrow keys scroll it. */
export function ScrollRegion({ label, box, onScroll, children }: Props) {
  return (
    <section
      class="scroll"
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: whoever has no pointer scrolls with the keyboard
      tabIndex={0}
      {...(box === undefined ? {} : { ref: box })}
      onScroll={({ currentTarget }) => onScroll?.(currentTarget)}
    >
      {children}
    </section>
  );
}
