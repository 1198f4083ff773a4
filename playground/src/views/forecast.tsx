import { useRef, useState } from "preact/hooks";
import { apiKey, serverError } from "../app-state.ts";
import { ChoicePanel } from "../forecast/choice-panel.tsx";
import { commandForecast, curlForecast, typescriptForecast } from "../forecast/code.ts";
import { forecastCsv } from "../forecast/csv.ts";
import { exampleTable } from "../forecast/example.ts";
import { readable } from "../forecast/fan.ts";
import { FanChart } from "../forecast/fan-chart.tsx";
import { ForecastPicker } from "../forecast/forecast-picker.tsx";
import { download, pngFile, svgFile } from "../forecast/picture.ts";
import { cancel, change, clear, reading, readyOf, run, settings, shownSeries, table, take, type Work, work } from "../forecast/state.ts";
import { UnderstoodPanel } from "../forecast/understood-panel.tsx";
import type { SeriesForecast, ShownSeries, TableAnswer } from "../forecast/wire.ts";
import { CodeTabs } from "../ui/code-tabs.tsx";
import { ScrollRegion } from "../ui/scroll-region.tsx";
import { SplitLayout } from "../ui/split.tsx";

export function ForecastView() {
  const given = table.value;
  const { horizon, model } = settings.value;
  return (
    <SplitLayout
      summary={given === undefined ? "no table yet" : `${horizon} steps · ${model}`}
      aside={<ForecastPicker settings={settings.value} onChange={change} />}
    >
      <h1 class="sr-only">Forecast a table</h1>
      {given === undefined ? <Drop /> : <Table name={given.name} />}
    </SplitLayout>
  );
}

/** Where a table comes in: dropped, chosen or pasted. */
function Drop() {
  const [isOver, setOver] = useState(false);
  const [pasted, setPasted] = useState("");
  const [error, setError] = useState<string | undefined>(undefined);
  const file = useRef<HTMLInputElement>(null);
  const read = async (one: File | undefined) => {
    if (one === undefined) return;
    const text = await one.text();
    if (text.includes("\0")) setError(`${one.name} holds no text; save it as CSV, TSV or JSON lines`);
    else if (text.trim() === "") setError(`${one.name} is empty`);
    else await take({ name: one.name, text });
  };
  return (
    <div class="empty">
      <p>
        A table with a column of times and one of numbers becomes a forecast with intervals. The server says what it takes each column for,
        tries its models on the past of the table itself, and shows which is best and how often its intervals were right.
      </p>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a place to drop on; the button in it does the same */}
      <div
        class="drop"
        data-over={isOver ? "" : undefined}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          void read(event.dataTransfer?.files[0]);
        }}
      >
        <p>Drop a CSV, TSV or JSON-lines file here, or</p>
        <button type="button" class="button" onClick={() => file.current?.click()}>
          Choose a file
        </button>
        <input
          ref={file}
          type="file"
          class="sr-only"
          tabIndex={-1}
          aria-label="Table file"
          accept=".csv,.tsv,.tab,.txt,.jsonl,.ndjson,text/csv,text/tab-separated-values"
          onChange={({ currentTarget }) => {
            void read(currentTarget.files?.[0]);
            currentTarget.value = ""; // the same file again is a change too
          }}
        />
      </div>
      {error !== undefined && (
        <p class="notice" role="alert">
          {error}
        </p>
      )}
      <form
        class="paste"
        onSubmit={(event) => {
          event.preventDefault();
          if (pasted.trim() !== "") void take({ name: "pasted table", text: pasted });
        }}
      >
        <label class="field">
          <span>Or paste one</span>
          <textarea
            rows={5}
            value={pasted}
            spellcheck={false}
            placeholder={"month,sold\n2024-01,120\n2024-02,135"}
            onInput={({ currentTarget }) => setPasted(currentTarget.value)}
          />
        </label>
        <button type="submit" class="button" disabled={pasted.trim() === ""}>
          Read the pasted table
        </button>
      </form>
      <ul class="examples" aria-label="Examples">
        <li>
          <button type="button" class="example" disabled={serverError.value !== undefined} onClick={() => void take(exampleTable)}>
            Airline passengers a month, 1949 to 1960
          </button>
        </li>
      </ul>
    </div>
  );
}

/** A table that is there: its forecast, and what was understood. */
function Table({ name }: { readonly name: string }) {
  const read = reading.value;
  const doing = work.value;
  const done = readyOf(doing);
  return (
    <>
      <div class="table-head">
        <h2>{name}</h2>
        <span class="row">
          <button type="button" class="link" onClick={clear}>
            Another table
          </button>
          {doing.kind === "running" ? (
            <button key="cancel" type="button" class="button" onClick={cancel}>
              Cancel
            </button>
          ) : (
            <button
              key="run"
              type="button"
              class="button button-primary"
              disabled={read.kind !== "ready" || read.answer.problem !== undefined}
              onClick={() => void run()}
            >
              Forecast
            </button>
          )}
        </span>
      </div>
      <Working work={doing} />
      {read.kind === "loading" && (
        <p class="quiet loading" role="status">
          Reading the table…
        </p>
      )}
      {read.kind === "failed" && (
        <p class="notice" role="alert">
          {read.error.message}
        </p>
      )}
      {read.kind === "ready" && read.answer.problem !== undefined && <Problem answer={read.answer} problem={read.answer.problem} />}
      {(done !== undefined || read.kind === "ready") && (
        <Chart series={done?.table.series ?? (read.kind === "ready" ? read.answer.series : [])} forecasts={done?.answer.forecasts ?? []} />
      )}
      {done !== undefined && (
        <>
          <ChoicePanel
            answer={done.answer}
            onPick={(model) => {
              change({ ...settings.value, model });
              void run();
            }}
          />
          <CodeTabs
            title="Reproduce this forecast"
            codes={[
              { name: "TypeScript", code: typescriptForecast(table.value!, done.settings) },
              { name: "Shell", code: commandForecast(table.value!, done.settings) },
              { name: "curl", code: curlForecast(table.value!, done.settings, location.origin, apiKey.value !== undefined) },
            ]}
          />
        </>
      )}
      {read.kind === "ready" && read.answer.understood !== undefined && <UnderstoodPanel understood={read.answer.understood} />}
    </>
  );
}

interface ProblemProps {
  readonly answer: TableAnswer;
  readonly problem: NonNullable<TableAnswer["problem"]>;
}

/** Why the table is not understood; where it is a question of the target, its answer stands below. */
function Problem({ answer, problem: { message, param } }: ProblemProps) {
  return (
    <div class="notice" role="alert">
      <p>{message}</p>
      {param === "target" && (
        <label class="field series-field">
          <span>Column to forecast</span>
          <select value="" onChange={({ currentTarget }) => change({ ...settings.value, targets: [currentTarget.value] })}>
            <option value="">choose…</option>
            {answer.columns.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
    </div>
  );
}

const stages = {
  reading: "reading the table",
  backtest: "trying",
  intervals: "measuring intervals",
  fitting: "fitting",
  training: "training",
} as const;

function Working({ work: doing }: { readonly work: Work }) {
  if (doing.kind === "running") {
    const { progress } = doing;
    const what = progress === undefined ? "Reading the table" : `${stages[progress.stage]} ${progress.model ?? ""}`;
    return (
      <div class="working" role="status">
        <p class="quiet">{what}…</p>
        <progress aria-label={what} {...(progress?.total === undefined ? {} : { value: progress.done, max: progress.total })} />
      </div>
    );
  }
  if (doing.kind === "failed")
    return (
      <p class="notice" role="alert">
        {doing.error.param !== undefined && <code>{doing.error.param}</code>} {doing.error.message}
      </p>
    );
  return (
    <p class={doing.kind === "stopped" ? "quiet" : "sr-only"} role="status">
      {doing.kind === "stopped" ? "Cancelled." : doing.kind === "ready" ? `Forecast ready, by ${doing.answer.chosen.model}.` : ""}
    </p>
  );
}

interface ChartProps {
  readonly series: readonly ShownSeries[];
  /** In the order of the series; none before there is a forecast. */
  readonly forecasts: readonly SeriesForecast[];
}

function Chart({ series, forecasts }: ChartProps) {
  const svg = useRef<SVGSVGElement>(null);
  const [error, setError] = useState<string | undefined>(undefined);
  const past = series[shownSeries.value] ?? series[0];
  if (past === undefined) return null;
  const forecast = forecasts.find((one) => one.series === past.series);
  const title = past.series || table.value!.name;
  const file = `${(table.value!.name.replace(/\.[^.]*$/, "") + (series.length > 1 ? `-${past.series}` : "")).replace(/[^\p{L}\p{N}._-]+/gu, "-")}-forecast`;
  const picture = () => svgFile(svg.current!, `Forecast of ${title}`);
  const save = async (kind: "svg" | "png") => {
    setError(undefined);
    try {
      const size = svg.current!.getBoundingClientRect();
      download(`${file}.${kind}`, kind === "svg" ? new Blob([picture()], { type: "image/svg+xml" }) : await pngFile(picture(), size));
    } catch (reason) {
      setError(reason instanceof Error ? reason.message : String(reason));
    }
  };
  return (
    <figure class="figure">
      {series.length > 1 && (
        <label class="field series-field">
          <span>Series, of {series.length}</span>
          <select
            value={shownSeries.value}
            onChange={({ currentTarget }) => {
              shownSeries.value = Number(currentTarget.value);
            }}
          >
            {series.map(({ series: id }, index) => (
              <option key={id} value={index}>
                {id}
              </option>
            ))}
          </select>
        </label>
      )}
      <FanChart past={past} forecast={forecast} svg={svg} />
      {forecast !== undefined && (
        <>
          <div class="row">
            <span class="quiet">Download</span>
            <button
              type="button"
              class="link"
              onClick={() => download(`${file}.csv`, new Blob([forecastCsv(forecasts)], { type: "text/csv" }))}
            >
              CSV<span class="sr-only">, all series</span>
            </button>
            <button type="button" class="link" onClick={() => void save("png")}>
              PNG<span class="sr-only"> of the chart</span>
            </button>
            <button type="button" class="link" onClick={() => void save("svg")}>
              SVG<span class="sr-only"> of the chart</span>
            </button>
          </div>
          {error !== undefined && (
            <p class="notice" role="alert">
              {error}
            </p>
          )}
          <ForecastTable forecast={forecast} />
        </>
      )}
    </figure>
  );
}

const listed = 400;

function ForecastTable({ forecast: { time, mean, intervals } }: { readonly forecast: SeriesForecast }) {
  const levels = Object.entries(intervals);
  return (
    <details class="more">
      <summary>The forecast as a table</summary>
      <ScrollRegion label="Forecast">
        <table>
          <thead>
            <tr>
              <th scope="col">Time</th>
              <th scope="col">Forecast</th>
              {levels.map(([level]) => (
                <th key={level} scope="col">
                  {level} % interval
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {time.slice(0, listed).map((at, step) => (
              <tr key={at}>
                <th scope="row">{at}</th>
                <td class="number">{readable(mean[step])}</td>
                {levels.map(([level, [lo, hi]]) => (
                  <td key={level} class="number">
                    {readable(lo[step])} to {readable(hi[step])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollRegion>
      {time.length > listed && (
        <p class="quiet">
          The first {listed} of {time.length}; the CSV has all.
        </p>
      )}
    </details>
  );
}
