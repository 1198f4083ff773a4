import { probabilitySteps } from "./probability.ts";

const names = probabilitySteps.map((limit, index) =>
  index === 0 ? `${limit * 100} % and more` : limit === 0 ? "less" : `${limit * 100} %`,
);

/** What shades and lines under tokens mean. @param hasDrafts  whether the run was drafted */
export function Legend({ hasDrafts }: { readonly hasDrafts: boolean }) {
  return (
    <p class="legend">
      <span>Probability</span>
      <span class="legend-scale">
        {names.map((name, step) => (
          <span key={name} class="swatch" data-step={step}>
            {name}
          </span>
        ))}
      </span>
      {hasDrafts && (
        <span class="legend-scale">
          <span class="swatch" data-draft="accepted">
            draft accepted
          </span>
          <span class="swatch" data-draft="rejected">
            draft rejected
          </span>
        </span>
      )}
    </p>
  );
}
