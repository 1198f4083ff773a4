import { useEffect, useRef } from "preact/hooks";
import { apiKey, isKeyAsked, poll } from "../app-state.ts";

/** Asks for the server's key. It stays in this tab. */
export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const wasRefused = apiKey.value !== undefined;
  const close = () => {
    isKeyAsked.value = false;
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="key-title" onClose={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          apiKey.value = field.current!.value.trim() || undefined;
          close();
          void poll();
        }}
      >
        <h2 id="key-title">This server asks for a key</h2>
        <p class="quiet">
          One of those that <code>chainrule serve --api-key</code> was given. It is kept in this tab only and forgotten with it.
        </p>
        {wasRefused && <p class="error-text">The key in use was refused.</p>}
        <label class="field">
          <span>Key</span>
          <input ref={field} type="password" autocomplete="off" required />
        </label>
        <div class="row row-end">
          <button type="button" class="button" onClick={() => dialog.current?.close()}>
            Not now
          </button>
          <button type="submit" class="button button-primary">
            Use this key
          </button>
        </div>
      </form>
    </dialog>
  );
}
