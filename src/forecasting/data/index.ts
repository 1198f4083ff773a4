export { describeFrequency, formatTime, parseFrequency, timeAt } from "./calendar.ts";
export type { DuplicateRule } from "./grid.ts";
export { type LoadedTable, type LoadOptions, loadTable, tableColumns } from "./load.ts";
export type { TableFormat, TableSource } from "./read.ts";
export type { Layout } from "./roles.ts";
export { describeUnderstood, type SeriesFacts, type Understood } from "./understood.ts";
