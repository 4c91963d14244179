/** The last minutes, second by second, as columns of one length that grow at their end. */

import { count, type Fields, fields, list, number, text } from "../fields";

export type Column = readonly (number | null)[];

export interface History {
  readonly stepMs: number;
  /** When the newest sample was taken, Unix time. */
  readonly endMs: number;
  readonly samples: number;
  /** By name: `in`, `out`, `stream cam1 bitrate`, `neighbour relay2 loss`. */
  readonly columns: ReadonlyMap<string, Column>;
}

/** More samples are not kept: ten minutes. */
export const SAMPLES_MAX = 600;

export function parseHistory(value: unknown): History {
  const root = fields(value);
  const [stepMs, endMs, samples] = [count(root?.step_ms), count(root?.end_ms), count(root?.samples)];
  if (!root || !stepMs || !endMs || samples === undefined) throw new TypeError("the node's answer is no history");
  const length = Math.min(samples, SAMPLES_MAX);
  const columns = new Map<string, Column>();
  const take = (name: string, from: Fields, key: string): void => {
    const column: unknown = from[key];
    if (Array.isArray(column)) columns.set(name, fitted(column.map((one) => number(one) ?? null), length));
  };
  take("in", root, "in_bps");
  take("out", root, "out_bps");
  list(root.streams, (stream) => {
    const name = text(stream.name);
    take(`stream ${name} bitrate`, stream, "bitrate_bps");
    take(`stream ${name} latency`, stream, "latency_ms");
    return undefined;
  });
  list(root.neighbours, (neighbour) => {
    const name = text(neighbour.name);
    take(`neighbour ${name} rtt`, neighbour, "rtt_us");
    take(`neighbour ${name} loss`, neighbour, "loss");
    return undefined;
  });
  return { stepMs, endMs, samples: length, columns };
}

/** What was known, and what came since. Undefined where the two do not meet. */
export function joined(before: History, recent: History): History | undefined {
  const gone = Math.round((recent.endMs - before.endMs) / before.stepMs);
  if (recent.stepMs !== before.stepMs || gone < 0 || gone > recent.samples) return undefined;
  const samples = Math.min(SAMPLES_MAX, before.samples + gone);
  const columns = new Map<string, Column>();
  for (const name of new Set([...before.columns.keys(), ...recent.columns.keys()])) {
    const old = before.columns.get(name) ?? [];
    const young = recent.columns.get(name) ?? new Array<null>(recent.samples).fill(null);
    const kept = fitted(old, before.samples).slice(0, Math.max(0, before.samples + gone - recent.samples));
    const column = fitted([...kept, ...young], samples);
    // Neighbours and streams that left are forgotten once nothing of them is to be seen.
    if (column.some((value) => value !== null)) columns.set(name, column);
  }
  return { stepMs: recent.stepMs, endMs: recent.endMs, samples, columns };
}

/** The newest `samples` of a column, with nothing in front of a short one. */
function fitted(column: Column, samples: number): Column {
  const missing = samples - column.length;
  return missing > 0 ? [...new Array<null>(missing).fill(null), ...column] : column.slice(column.length - samples);
}

export interface Line {
  readonly label: string;
  /** Which of the colours it has. */
  readonly tone: number;
  /** The values of `times`. */
  readonly values: Column;
}

/** Times of the last samples, Unix time in seconds, oldest first. */
export function times(history: History, samples: number): number[] {
  const length = Math.min(samples, history.samples);
  return Array.from({ length }, (_, n) => (history.endMs - (length - 1 - n) * history.stepMs) / 1000);
}

/** A column as a line of a plot, in another unit. */
export function line(
  history: History,
  name: string,
  { label, tone }: Pick<Line, "label" | "tone">,
  samples: number,
  by = 1,
): Line | undefined {
  const column = history.columns.get(name);
  if (!column) return undefined;
  const values = column.slice(-Math.min(samples, history.samples)).map((value) => (value === null ? null : value * by));
  return { label, tone, values };
}
