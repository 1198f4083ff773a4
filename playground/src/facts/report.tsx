import type { ComponentChildren } from "preact";
import type { Facts } from "../api/wire.ts";
import { model } from "../app-state.ts";
import { bitsPerToken, factsOf, isUnderWay, type Run } from "../run/run.ts";
import { AttributionPanel } from "./attribution-panel.tsx";
import { DraftPanel } from "./draft-panel.tsx";
import { EffortPanel } from "./effort-panel.tsx";
import { otherFacts } from "./other-facts.ts";
import { SearchTree } from "./search-tree.tsx";
import { SkipMap } from "./skip-map.tsx";

/** What a run reports; each part is there when the facts have it. */
export function Report({ run, hasNumbers = true }: { readonly run: Run; readonly hasNumbers?: boolean }) {
  const facts = factsOf(run);
  const { drafts, skips, branches, effort, attribution, adapters, guides, choices } = facts;
  const others = isUnderWay(run) ? [] : otherFacts(facts);
  const growing = isUnderWay(run) ? run.growing : [];
  return (
    <div class="report">
      {hasNumbers && <Numbers run={run} />}
      {(branches !== undefined || effort !== undefined) && (
        <Section
          title={branches === undefined ? "Progress" : "Search"}
          note={branches === undefined ? undefined : count(branches.length + growing.length, "branch", "branches")}
        >
          {effort !== undefined && <EffortPanel effort={effort} isUnderWay={isUnderWay(run)} />}
          {branches !== undefined && <SearchTree branches={branches} growing={growing} />}
        </Section>
      )}
      {run.alternatives !== undefined && run.alternatives.length > 0 && (
        <Section title="Other answers" note={`${run.alternatives.length}, by score`}>
          <ol class="answers">
            {run.alternatives.map(({ text, tokens, score, finishReason }, index) => (
              <li key={index} class="answer-card">
                <p class="alternative-text">{text}</p>
                <p class="quiet">
                  score {score.toFixed(3)}, {count(tokens.length, "token", "tokens")}
                  {finishReason === "length" ? ", at the limit" : ""}
                </p>
              </li>
            ))}
          </ol>
        </Section>
      )}
      {attribution !== undefined && (
        <Section title="Owed to the prompt" note={attribution.method}>
          <AttributionPanel attribution={attribution} />
        </Section>
      )}
      {drafts !== undefined && (
        <Section title="Drafts" note={drafts.method}>
          <DraftPanel drafts={drafts} />
        </Section>
      )}
      {skips !== undefined && (
        <Section title="Skipped blocks" note={`${(100 * (1 - skips.run / (skips.total || 1))).toFixed(1)} % of half-blocks`}>
          <SkipMap skips={skips} numTokens={facts.tokens.length} numBlocks={model.value?.blocks ?? 0} />
        </Section>
      )}
      {adapters !== undefined && adapters.length > 0 && (
        <Section title="Adapters">
          <dl class="choices">
            {adapters.map(({ name, scale }) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd class="number">scale {scale}</dd>
              </div>
            ))}
          </dl>
        </Section>
      )}
      {guides !== undefined && guides.length > 0 && (
        <Section title="Guides">
          <GuideTable guides={guides} />
        </Section>
      )}
      {choices !== undefined && choices.length > 0 && (
        <Section title="Choices">
          <dl class="choices">
            {choices.map(({ what, chosen, because }) => (
              <div key={`${what} ${chosen}`}>
                <dt>{what}</dt>
                <dd>
                  {chosen} <span class="quiet">because {because}</span>
                </dd>
              </div>
            ))}
          </dl>
        </Section>
      )}
      {others.length > 0 && (
        <details class="section">
          <summary>Other facts</summary>
          <dl class="choices other-facts">
            {others.map(([path, value]) => (
              <div key={path}>
                <dt>{path}</dt>
                <dd class="number">{value}</dd>
              </div>
            ))}
          </dl>
        </details>
      )}
    </div>
  );
}

const count = (number: number, one: string, many: string) => `${number} ${number === 1 ? one : many}`;

export function Section({
  title,
  note,
  children,
}: {
  readonly title: string;
  readonly note?: string | undefined;
  readonly children: ComponentChildren;
}) {
  return (
    <section class="section">
      <h3>
        {title} {note !== undefined && <span class="quiet">{note}</span>}
      </h3>
      {children}
    </section>
  );
}

/** A run in numbers: [label, value, unit?]. Only what is known. */
export function numbersOf(run: Run): readonly (readonly [string, string, string?])[] {
  const { timings } = run;
  const facts: Partial<Facts> & Pick<Facts, "tokens"> = factsOf(run);
  const surprise = bitsPerToken(facts.tokens);
  return [
    ["Tokens", String(facts.tokens.length)],
    ...(timings === undefined ? [] : [["Speed", timings.completionTokensPerSecond.toFixed(1), "tokens/s"] as const]),
    ...(facts.times === undefined ? [] : [["First token", Math.round(facts.times.firstTokenMs).toLocaleString("en"), "ms"] as const]),
    ...(facts.passes === undefined ? [] : [["Passes", facts.passes.toLocaleString("en")] as const]),
    ...(facts.tokensPerPass === undefined ? [] : [["Tokens per pass", facts.tokensPerPass.toFixed(2)] as const]),
    ...(surprise === undefined ? [] : [["Surprise", surprise.toFixed(2), "bits/token"] as const]),
  ];
}

function Numbers({ run }: { readonly run: Run }) {
  return (
    <dl class="numbers">
      {numbersOf(run).map(([label, value, unit]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>
            {value} {unit !== undefined && <span class="quiet">{unit}</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function GuideTable({ guides }: { readonly guides: NonNullable<Facts["guides"]> }) {
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">Guide</th>
          <th scope="col">Weight</th>
          <th scope="col">Mean shift of the taken token's logit</th>
        </tr>
      </thead>
      <tbody>
        {guides.map(({ name, weight, meanShift }, index) => (
          <tr key={index}>
            <td>{name}</td>
            <td class="number">{weight}</td>
            <td class="number">{meanShift.toFixed(3)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
