import { literal } from "../run/literal.ts";
import { type ForecastSettings, type GivenTable, optionsOf } from "./settings.ts";

/** A program on the library that gives the same forecast. */
export function typescriptForecast({ name }: GivenTable, settings: ForecastSettings): string {
  const options = literal(optionsOf(settings));
  return [
    'import { forecast } from "chainrule/forecasting";',
    "",
    `const { chosen, forecasts } = await forecast(${JSON.stringify(name)}, ${options});`,
    "console.error(chosen);",
    "console.log(JSON.stringify(forecasts));",
    "",
  ].join("\n");
}

/** A command that prints the same forecast. */
export function commandForecast({ name }: GivenTable, settings: ForecastSettings): string {
  const { seasonalPeriod, target, levels, ...options } = optionsOf(settings);
  const flags = {
    ...options,
    ...(target === undefined ? {} : { target: typeof target === "string" ? target : target.join(",") }),
    ...(levels.length === 0 ? {} : { levels: levels.join(",") }),
    ...(seasonalPeriod === undefined ? {} : { season: seasonalPeriod }),
  };
  const written = Object.entries(flags).map(([flag, value]) => `--${flag} ${quoted(String(value))}`);
  return `chainrule forecast ${quoted(name)} ${written.join(" ")} --json\n`;
}

/** A command that asks the server for the same forecast. @param needsKey  whether the server asks for one */
export function curlForecast({ name }: GivenTable, settings: ForecastSettings, origin: string, needsKey: boolean): string {
  const options = JSON.stringify({ name, ...optionsOf(settings) }).replaceAll("'", "'\\''");
  return [
    `jq -n --rawfile text ${quoted(name)} --argjson options \\`,
    `  '${options}' '$options + {$text}' |`,
    `curl ${origin}/v1/forecasts -H 'content-type: application/json'${needsKey ? ' -H "authorization: Bearer $CHAINRULE_API_KEY"' : ""} -d @-`,
    "",
  ].join("\n");
}

/** A word of a shell command. */
const quoted = (word: string) => (/^[\w./,:-]+$/.test(word) && !word.startsWith("-") ? word : `'${word.replaceAll("'", "'\\''")}'`);
