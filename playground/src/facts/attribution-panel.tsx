import { useState } from "preact/hooks";
import type { Facts } from "../api/wire.ts";
import { ScrollRegion } from "../ui/scroll-region.tsx";
import { EffortPanel } from "./effort-panel.tsx";
import { heat } from "./heat.ts";
import { visible } from "./probability.ts";

/** What an answer's tokens owe to the prompt's: the prompt as a heat map for one explained token, chosen among them. */
export function AttributionPanel({ attribution }: { readonly attribution: NonNullable<Facts["attribution"]> }) {
  const { prompt, tokens, effort } = attribution;
  const [chosen, setChosen] = useState(0);
  const token = tokens[Math.min(chosen, tokens.length - 1)];
  if (token === undefined) return <p class="quiet">No token was explained.</p>;
  const steps = heat(token.scores);
  const { faithfulness } = token;
  return (
    <div class="attribution">
      <fieldset class="chips" aria-label="Explained tokens of the answer">
        {tokens.map(({ index, text }, at) => (
          <button key={index} type="button" aria-pressed={at === Math.min(chosen, tokens.length - 1)} onClick={() => setChosen(at)}>
            <span class="quiet">{index + 1}</span> <code>{visible(text)}</code>
          </button>
        ))}
      </fieldset>
      <p class="heat">
        {prompt.map((text, index) => (
          <span
            key={index}
            data-for={steps[index]! > 0 ? steps[index] : undefined}
            data-against={steps[index]! < 0 ? -steps[index]! : undefined}
            data-rationale={token.rationale.includes(index) ? "" : undefined}
            title={`${visible(text)}: ${token.scores[index]!.toFixed(3)}`}
          >
            {text}
          </span>
        ))}
      </p>
      <p class="legend">
        <span class="legend-scale">
          <span class="swatch" data-for="4">
            speaks for it
          </span>
          <span class="swatch" data-against="4">
            against it
          </span>
          <span class="swatch" data-rationale="">
            matters most
          </span>
        </span>
      </p>
      <p>
        <code>{visible(token.text)}</code> has probability {token.probability.toFixed(3)}, to which the prompt adds{" "}
        {token.information.toFixed(2)} nats. Its {token.rationale.length} most important tokens{" "}
        {token.isSufficient ? "suffice for it" : "alone don't suffice for it"}.
        {faithfulness !== undefined && (
          <span class="quiet">
            {" "}
            Soft-NS {faithfulness.softSufficiency.toFixed(3)} (random {faithfulness.random.softSufficiency.toFixed(3)}), Soft-NC{" "}
            {faithfulness.softComprehensiveness.toFixed(3)} (random {faithfulness.random.softComprehensiveness.toFixed(3)}).
          </span>
        )}
      </p>
      <EffortPanel effort={effort} isUnderWay={false} />
      <details class="more">
        <summary>Scores as a table</summary>
        <ScrollRegion label="Scores">
          <table>
            <thead>
              <tr>
                <th scope="col">Token of the prompt</th>
                <th scope="col">Score</th>
                <th scope="col">Importance</th>
              </tr>
            </thead>
            <tbody>
              {prompt.map((text, index) => (
                <tr key={index}>
                  <td>
                    <code>{visible(text)}</code>
                  </td>
                  <td class="number">{token.scores[index]!.toFixed(3)}</td>
                  <td class="number">{token.importance[index]!.toFixed(3)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </ScrollRegion>
      </details>
    </div>
  );
}
