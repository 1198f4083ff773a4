import { memo } from "preact/compat";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { vocabulary } from "../app-state.ts";
import { type AnswerToken, shownTexts } from "../run/run.ts";
import { percent, probabilityStep } from "./probability.ts";
import { TokenCard } from "./token-card.tsx";

interface Props {
  readonly tokens: readonly AnswerToken[];
  readonly label: string;
  readonly isUnderWay: boolean;
  /** A token to mark: the first in which another answer differs. */
  readonly marked?: number | undefined;
  /** Goes on from before a token with another in its place. */
  readonly onTake?: ((index: number, id: number) => void) | undefined;
}

/**
 * An answer token by token, each shaded by its probability. One stop of the tab key: arrows move from token to token, Enter opens the
 * alternatives so that one can be taken, Escape closes them. Pointing at a token shows the same.
 */
export function TokenStrip({ tokens, label, isUnderWay, marked, onTake }: Props) {
  const [active, setActive] = useState<{ index: number; isPinned: boolean } | undefined>(undefined);
  const area = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const id = useRef(`tokens-${Math.random().toString(36).slice(2)}`).current;
  vocabulary.version.value; // redrawn when texts come in
  const texts = shownTexts(tokens, vocabulary.text);
  const index = active !== undefined && active.index < tokens.length ? active.index : undefined;

  const move = (event: KeyboardEvent) => {
    const at = index ?? -1;
    const steps: Record<string, number> = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: tokens.length - 1,
    };
    const to = steps[event.key];
    if (to !== undefined) {
      event.preventDefault();
      setActive({ index: Math.min(Math.max(to, 0), tokens.length - 1), isPinned: false });
    } else if (event.key === "Enter" && index !== undefined) {
      event.preventDefault(); // the same key would press the button that gets the focus
      setActive({ index, isPinned: true });
    } else if (event.key === "Escape") setActive(undefined);
  };
  const indexAt = (target: EventTarget | null) => {
    const element = (target as Element | null)?.closest?.("[data-index]");
    return element == null ? undefined : Number((element as HTMLElement).dataset.index);
  };

  return (
    <div
      class="token-area"
      ref={area}
      onPointerLeave={() => setActive((now) => (now?.isPinned === true ? now : undefined))}
      onFocusOut={(event) => {
        if (area.current?.contains(event.relatedTarget as Node | null) === false) setActive(undefined);
      }}
    >
      <div
        ref={list}
        class="tokens"
        role="listbox"
        aria-label={label}
        aria-busy={isUnderWay}
        aria-activedescendant={index === undefined ? undefined : `${id}-${index}`}
        tabIndex={0}
        onKeyDown={move}
        onFocus={() => setActive((now) => now ?? (tokens.length > 0 ? { index: 0, isPinned: false } : undefined))}
        onPointerOver={(event) => {
          const at = indexAt(event.target);
          if (at !== undefined && event.pointerType === "mouse")
            setActive((now) => (now?.isPinned === true ? now : { index: at, isPinned: false }));
        }}
        onClick={(event) => {
          const at = indexAt(event.target);
          if (at !== undefined)
            setActive((now) => (now?.isPinned === true && now.index === at ? undefined : { index: at, isPinned: true }));
        }}
      >
        {tokens.map((token, at) => (
          <Token key={at} id={`${id}-${at}`} at={at} token={token} text={texts[at]!} isActive={at === index} isMarked={at === marked} />
        ))}
        {isUnderWay && <span class="caret" aria-hidden="true" />}
      </div>
      {index !== undefined && (
        <Placed area={area} id={`${id}-${index}`}>
          <TokenCard
            fact={tokens[index]!.fact}
            index={index}
            text={texts[index]!}
            isPinned={active!.isPinned}
            onTake={onTake === undefined ? undefined : (taken) => onTake(index, taken)}
            onClose={() => {
              setActive({ index, isPinned: false });
              list.current!.focus();
            }}
          />
        </Placed>
      )}
    </div>
  );
}

interface TokenProps {
  readonly id: string;
  readonly at: number;
  readonly token: AnswerToken;
  readonly text: string;
  readonly isActive: boolean;
  readonly isMarked: boolean;
}

const Token = memo(
  ({ id, at, token: { fact }, text, isActive, isMarked }: TokenProps) => {
    const step = probabilityStep(fact.logprob);
    const isSpecial = /^<\|?[\w/ ]+\|?>$/.test(text);
    const drafted = fact.source === "draft" ? "accepted" : fact.drafted?.accepted === false ? "rejected" : undefined;
    return (
      <span
        role="option"
        id={id}
        data-index={at}
        class={`token${isSpecial ? " token-special" : ""}`}
        data-step={step}
        data-draft={drafted}
        data-source={fact.source === "forced" ? "forced" : undefined}
        data-marked={isMarked ? "" : undefined}
        tabIndex={-1}
        aria-selected={isActive}
        aria-label={described(text, fact.logprob, drafted)}
      >
        {text === "" ? <span class="ghost">·</span> : text.includes("\n") ? withLineEnds(text) : text}
      </span>
    );
  },
  (a, b) => a.token === b.token && a.text === b.text && a.isActive === b.isActive && a.isMarked === b.isMarked,
);

const described = (text: string, logprob: number | undefined, drafted: string | undefined) =>
  [
    text.trim() === "" ? (text.includes("\n") ? "line end" : text === "" ? "part of a character" : "blank") : text.trim(),
    ...(logprob === undefined ? [] : [percent(logprob)]),
    ...(drafted === undefined ? [] : [drafted === "accepted" ? "drafted and accepted" : "draft rejected"]),
  ].join(", ");

/** The text with a sign before each line end, so that it can be pointed at. */
const withLineEnds = (text: string) =>
  text.split(/(\n)/).map((part) => (part === "\n" ? [<span class="ghost">↵</span>, "\n"] : visibleEnds(part)));
const visibleEnds = (part: string) => (part === "" ? null : part);

/** Puts its child under a token, within the area's width. The policy forbids style attributes; the object model sets them. */
function Placed({
  area,
  id,
  children,
}: {
  readonly area: { readonly current: HTMLElement | null };
  readonly id: string;
  readonly children: preact.ComponentChildren;
}) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const token = document.getElementById(id);
    if (token === null || area.current === null || box.current === null) return;
    const outer = area.current.getBoundingClientRect();
    const rects = token.getClientRects();
    const line = rects[0]!;
    const width = box.current.offsetWidth;
    const left = Math.max(0, Math.min(line.left - outer.left - 12, outer.width - width));
    box.current.style.setProperty("left", `${left}px`);
    box.current.style.setProperty("top", `${rects[rects.length - 1]!.bottom - outer.top + 6}px`);
  });
  return (
    <div class="placed" ref={box}>
      {children}
    </div>
  );
}
