import { useLayoutEffect, useRef } from "preact/hooks";

interface Props {
  readonly label: string;
  readonly value: string;
  readonly placeholder: string;
  readonly action: string;
  readonly isUnderWay: boolean;
  /** Enter alone sends, and with Shift makes a line; otherwise Ctrl or Cmd with Enter sends. */
  readonly isSentByEnter?: boolean;
  readonly onInput: (value: string) => void;
  readonly onSend: () => void;
  readonly onCancel: () => void;
}

/** A text that grows with its content, and a button that sends or cancels. */
export function Composer({ label, value, placeholder, action, isUnderWay, isSentByEnter = false, onInput, onSend, onCancel }: Props) {
  const field = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const { current } = field;
    if (current === null) return;
    current.style.height = "auto";
    if (current.scrollHeight > 0) current.style.height = `${current.scrollHeight + 2}px`;
  }, [value]);
  const isEmpty = value.trim() === "";
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isEmpty && !isUnderWay) onSend();
      }}
    >
      <textarea
        ref={field}
        class="prompt"
        aria-label={label}
        placeholder={placeholder}
        rows={1}
        value={value}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
        onKeyDown={(event) => {
          const isSend = event.key === "Enter" && !event.isComposing && (isSentByEnter ? !event.shiftKey : event.ctrlKey || event.metaKey);
          if (!isSend) return;
          event.preventDefault();
          if (!isEmpty && !isUnderWay) onSend();
        }}
      />
      <div class="composer-foot">
        <span class="quiet hint">{isSentByEnter ? "Enter sends, Shift + Enter makes a line" : "Ctrl + Enter runs"}</span>
        {isUnderWay ? (
          // keys, so that the one never becomes the other under a click, which would then send
          <button key="cancel" type="button" class="button" onClick={onCancel}>
            Cancel
          </button>
        ) : (
          <button key="send" type="submit" class="button button-primary" disabled={isEmpty}>
            {action}
          </button>
        )}
      </div>
    </form>
  );
}
