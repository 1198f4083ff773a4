import type { AttributionFacts, TokenAttribution } from "../../engine/index.ts";
import { describeEffort } from "../describe-effort.ts";

/**
 * How strongly each token of the prompt is shown for one explained token: its score by the largest one, in [-1, 1]. Above 0 the token speaks
 * for the explained one, below 0 against it.
 */
export function heat({ scores }: TokenAttribution): number[] {
  const most = Math.max(...scores.map(Math.abs));
  return scores.map((score) => (most === 0 ? 0 : score / most));
}

const style = `
:root { --ink: #1b1f24; --soft: #5b6470; --paper: #fff; --for: 37 99 235; --against: 217 119 6; color-scheme: light dark }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2; --paper: #14171b; --for: 96 165 250; --against: 251 191 36 } }
body { font: 15px/1.7 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem } p { margin: .3rem 0 } .soft { color: var(--soft); font-size: .9rem }
.prompt { font-family: ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere } .prompt span { border-radius: .2rem }
.prompt b { text-decoration: underline; font-weight: inherit }`;

/** One page that needs nothing else: for each explained token the prompt, coloured by what it gives to it. */
export function heatMapHtml({ prompt, tokens, effort }: AttributionFacts, answer: string): string {
  const sections = tokens.map((token) => {
    const warm = heat(token);
    const spans = prompt.map((text, index) => {
      const value = warm[index]!;
      const colour = `rgb(var(--${value < 0 ? "against" : "for"}) / ${(0.75 * Math.abs(value)).toFixed(3)})`;
      const inner = token.rationale.includes(index) ? `<b>${escapeHtml(text)}</b>` : escapeHtml(text);
      return `<span style="background: ${colour}" title="${token.scores[index]!.toFixed(3)}">${inner}</span>`;
    });
    return `<h2>${escapeHtml(JSON.stringify(token.text))}</h2>
<p class="soft">${escapeHtml(describeToken(token))}</p>
<p class="prompt">${spans.join("")}</p>`;
  });
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>What the answer owes to the prompt</title><style>${style}</style></head>
<body><h1>What the answer owes to the prompt</h1>
<p class="prompt">${escapeHtml(answer)}</p>
<p class="soft">Blue speaks for a token, amber against it; underlined: the tokens that matter most. ${escapeHtml(describeEffort(effort))}</p>
${sections.join("\n")}
</body></html>
`;
}

/** Of an explained token, in a line. */
export function describeToken({ index, probability, information, isSufficient, rationale, faithfulness }: TokenAttribution): string {
  const kept = isSufficient ? "suffice" : "don't suffice";
  const soft =
    faithfulness === undefined
      ? ""
      : `; Soft-NS ${faithfulness.softSufficiency.toFixed(3)} (random ${faithfulness.random.softSufficiency.toFixed(3)}), Soft-NC ${faithfulness.softComprehensiveness.toFixed(3)} (random ${faithfulness.random.softComprehensiveness.toFixed(3)})`;
  return `token ${index + 1} of the answer, probability ${probability.toFixed(3)}, ${information.toFixed(2)} nats from the prompt; its ${rationale.length} most important tokens ${kept}${soft}`;
}

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => entities[character]!);
}
