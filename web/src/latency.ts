// Holds playback at a distance from the live edge: faster when behind, slower when the buffer runs thin, a jump when
// far behind or when a hole lies ahead. Pure, so that it can be tested without a browser.

/** Seconds behind the newest frame that playback aims at. Tuned: rides out scheduling of a busy machine. */
export const TARGET_S = 0.6;
/** Further behind than this, playback jumps. */
const JUMP_S = 3;
/** Nearer than this, playback slows down. */
const THIN_S = 0.25;

export interface Range {
  start: number;
  end: number;
}

export interface Advice {
  rate: number;
  /** Where to jump to. */
  seek?: number;
}

export function advise(now: number, buffered: Range[]): Advice {
  const last = buffered.at(-1);
  if (!last) return { rate: 1 };
  const here = buffered.find((range) => now >= range.start && now < range.end);
  if (!here) {
    const next = buffered.find((range) => range.start > now) ?? last;
    return { rate: 1, seek: Math.max(next.start, next.end - TARGET_S) };
  }
  const behind = last.end - now;
  if (behind > JUMP_S) return { rate: 1, seek: Math.max(last.start, last.end - TARGET_S) };
  // The end of a range that is not the last is a hole: cross it when it is reached.
  if (here !== last && here.end - now < 0.05) return { rate: 1, seek: last.start };
  if (behind > TARGET_S + 0.7) return { rate: 1.1 };
  if (behind > TARGET_S + 0.3) return { rate: 1.04 };
  if (here.end - now < THIN_S) return { rate: 0.97 };
  return { rate: 1 };
}
