import type { BackendName } from "../ggml/index.ts";
import { rowStep } from "./structure.ts";

/** One request's next part, as the scheduler sees it: plain data. */
export interface QueueItem {
  readonly id: number;
  /** The stream it runs in; items of one stream may share its rows. */
  readonly family: number;
  readonly priority: number;
  /** Order of arrival of its group. */
  readonly arrival: number;
  readonly sequence: number;
  readonly rows: number;
  readonly backend: BackendName;
  /** Step at which it was queued or had its last pass. */
  readonly since: number;
  /** Everything else that must be equal for two items to share a pass. */
  readonly structure: string;
}

export interface PlannedPass {
  readonly backend: BackendName;
  /** Rows per stream: the step that every stream's rows are padded to. */
  readonly rows: number;
  /** Items by stream. */
  readonly streams: readonly { readonly family: number; readonly items: readonly number[] }[];
}

export interface Plan {
  /** Run one after the other. */
  readonly passes: readonly PlannedPass[];
  /** The prompts' next chunks in order: the first that can be had a stream for runs, after the passes. */
  readonly chunks: readonly PlannedPass[];
}

const turnEvery = 4;
const mostRowsPerStream = 63; // beyond it a pass of prompt rows does better alone

/**
 * The passes of one step. Every request that needs few rows gets its pass; of the prompts one gets its next chunk, so that a
 * prompt never holds up the others for longer than a chunk. Ordered by (priority, arrival, sequence), never by chance; but every
 * {@link turnEvery}-th step the prompt goes first that has waited longest, so that neither a long one keeps short ones waiting until it is
 * read, nor do those of higher priority keep one of lower.
 *
 * @param items       what waits
 * @param maxStreams  most streams that one pass may have
 * @param step        number of the step
 */
export function plan(items: readonly QueueItem[], maxStreams: number, step: number): Plan {
  const ordered = [...items].sort(orderOf);
  const small: { family: number; structure: string; rows: number; items: number[] }[] = [];
  const open = new Map<string, (typeof small)[number]>(); // the unit of a family and structure that still has room
  const prompts: QueueItem[] = [];
  for (const item of ordered) {
    if (item.rows > mostRowsPerStream) {
      prompts.push(item);
      continue;
    }
    const key = `${item.backend}|${item.structure}`;
    const shared = open.get(`${item.family}|${key}`);
    if (shared === undefined || shared.rows + item.rows > mostRowsPerStream) {
      const unit = { family: item.family, structure: key, rows: item.rows, items: [item.id] };
      small.push(unit);
      open.set(`${item.family}|${key}`, unit);
    } else {
      shared.rows += item.rows;
      shared.items.push(item.id);
    }
  }
  const passes: PlannedPass[] = [];
  const groups = new Map<string, typeof small>();
  for (const unit of small) {
    const key = `${rowStep(unit.rows)}|${unit.structure}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [unit]);
    else group.push(unit);
  }
  for (const group of groups.values()) {
    for (const units of splitStreams(group, maxStreams)) {
      passes.push({
        backend: units[0]!.structure.slice(0, units[0]!.structure.indexOf("|")) as BackendName,
        rows: rowStep(units[0]!.rows),
        streams: units.map(({ family, items: ids }) => ({ family, items: ids })),
      });
    }
  }
  if (step % turnEvery === 0) prompts.sort((a, b) => a.since - b.since); // stable: among equals the order stays
  const chunks = prompts.map(({ id, family, backend, rows }) => ({ backend, rows: rowStep(rows), streams: [{ family, items: [id] }] }));
  return { passes, chunks };
}

/** Who goes first: never by chance. */
export const orderOf = (a: QueueItem, b: QueueItem): number =>
  b.priority - a.priority || a.arrival - b.arrival || a.sequence - b.sequence || a.id - b.id;

/** Parts of at most `maxStreams` units, no family twice in one part. */
function splitStreams<T extends { family: number }>(units: readonly T[], maxStreams: number): T[][] {
  const parts: T[][] = [];
  for (const unit of units) {
    const part = parts.find((candidate) => candidate.length < maxStreams && candidate.every(({ family }) => family !== unit.family));
    if (part === undefined) parts.push([unit]);
    else part.push(unit);
  }
  return parts;
}
