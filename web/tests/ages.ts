/** How old pictures were when they were shown: over all, minute by minute, and whether that is within a bound. Pure, for glass.mjs. */

/** A picture whose stamp was read; both in milliseconds. */
export interface Seen {
  readonly at: number;
  readonly age: number;
}

export interface Verdict {
  readonly p50_ms: number | null;
  readonly p95_ms: number | null;
  /** Of whole minutes, what is left over belonging to the last; null where no picture was read. */
  readonly by_minute_p50_ms: readonly (number | null)[];
  /** Pictures were read, and the median is within the bound, if there is one, over all and in each minute: it stays there. */
  readonly holds: boolean;
}

/** `seconds`: how long was looked. */
export function judge(seen: readonly Seen[], seconds: number, atMostMs = Number.POSITIVE_INFINITY): Verdict {
  const count = Math.max(1, Math.floor(seconds / 60));
  const began = seen[0]?.at ?? 0;
  const minutes = Array.from({ length: count }, (): Seen[] => []);
  for (const one of seen) minutes[Math.min(count - 1, Math.floor((one.at - began) / 60_000))]?.push(one);
  const medians = minutes.map((minute) => quantile(minute, 0.5));
  const median = quantile(seen, 0.5);
  return {
    p50_ms: median,
    p95_ms: quantile(seen, 0.95),
    by_minute_p50_ms: medians,
    holds: [median, ...medians].every((one) => one !== null && one <= atMostMs),
  };
}

function quantile(seen: readonly Seen[], share: number): number | null {
  const ages = seen.map(({ age }) => age).sort((a, b) => a - b);
  return ages[Math.min(ages.length - 1, Math.floor(ages.length * share))] ?? null;
}
