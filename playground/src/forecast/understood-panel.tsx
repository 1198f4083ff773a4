import { Section } from "../facts/report.tsx";
import { readable } from "./fan.ts";
import type { Understood } from "./wire.ts";

/** What the server took a table for, before anything is fitted. */
export function UnderstoodPanel({ understood }: { readonly understood: Understood }) {
  const { source, layout, time, frequency, seasonalPeriod, ids, targets, covariates, unused, series, notes } = understood;
  const named = (names: readonly string[]) => names.map((name) => `“${name}”`).join(", ");
  const layouts = {
    long: ids.length === 0 ? "a row is a time" : `a row is a time of a series, named by ${named(ids)}`,
    wide: "a row is a time, a column a series",
    rows: "a row is a whole series",
  };
  const facts: (readonly [string, string])[] = [
    ["table", `${source.rows.toLocaleString("en")} rows, ${source.columns} columns, ${source.format}`],
    ["layout", layouts[layout]],
    [
      "time",
      time === undefined
        ? "no times: the rows are numbered"
        : `${named(time.columns)}, ${series.start} to ${series.end}${time.order === undefined ? "" : `, ${time.order.chosen}`}`,
    ],
    ["frequency", `${frequency.name}${frequency.isInferred ? "" : ", as given"}`],
    [
      "season",
      seasonalPeriod.steps === 1
        ? "none"
        : `${seasonalPeriod.steps} steps${seasonalPeriod.isInferred ? ", by the frequency" : ", as given"}`,
    ],
    ...(targets.length === 0
      ? []
      : [["target", named(targets.slice(0, 8)) + (targets.length > 8 ? ` and ${targets.length - 8} more` : "")] as const]),
    [
      "series",
      `${series.count.toLocaleString("en")}, ${series.shortest === series.longest ? series.longest : `${series.shortest} to ${series.longest}`} steps each`,
    ],
    ["missing", series.missing === 0 ? "none" : `${readable(series.missing)} values, filled before fitting`],
    ...(series.duplicates === 0
      ? []
      : [["duplicates", `${series.duplicates} rows at a step that had one: ${series.duplicateRule}`] as const]),
    ...(covariates.length === 0 ? [] : [["covariates", named(covariates.map(({ name }) => name))] as const]),
    ...(unused.length === 0
      ? []
      : [
          [
            "unused",
            unused
              .slice(0, 6)
              .map(({ name, because }) => `“${name}” (${because})`)
              .join(", "),
          ] as const,
        ]),
  ];
  return (
    <Section title="What was understood" note={source.name}>
      <dl class="choices">
        {facts.map(([label, text]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      {notes.length > 0 && (
        <ul class="notes">
          {notes.map(({ level, text }) => (
            <li key={text} class={level === "warning" ? "notice" : "quiet"}>
              {level === "warning" && <strong>Check: </strong>}
              {text}
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}
