/**
 * The latency controller: holds playback a small distance behind the newest frame. It is pure: time, position and
 * buffer go in; a playback rate and sometimes a jump come out.
 *
 *     too far behind  -> play a little faster (pitch is preserved), or jump
 *     running thin    -> play a little slower, so that the buffer refills before it is empty
 *     stalled         -> aim further behind from now on, and come nearer again while all goes well
 */

export interface Range {
  readonly start: number;
  readonly end: number;
}

/** All times in seconds; `now` is a monotonic clock, the others are on the element's timeline. */
export interface PilotInput {
  readonly now: number;
  readonly position: number;
  readonly ranges: readonly Range[];
  /** End of the newest frame that was appended. */
  readonly edge: number;
  /** The element waits for data: decoders stop up to a few frames short of a range's end. */
  readonly dry: boolean;
}

export interface PilotOutput {
  readonly rate: number;
  readonly jump?: { readonly to: number; readonly why: "behind" | "gap" | "ahead" };
}

/** Outlasts a PoP's death that is noticed by its silence, and the way to another one (feed.ts). */
export const TARGET_STEADY = 0.6;
/** Outlasts a death that the system tells at once, as it does when a process dies. */
export const TARGET_SHORT = 0.15;
const TARGET_MAX = 2.4;
/** A stall makes the target greater by this share of the least one. */
const STALL_SHARE = 0.5;
/** Longer stalls are outages, which no sensible buffer bridges. */
const JITTER_MAX = 1.5;
/** The target comes nearer by a tenth of a second for every such time without a stall. */
const CALM = 20;
const CALM_STEP = 0.1;

const JUMP_BEHIND = 3;
/** A second jump is not made sooner than this after one, so that the first can take effect. */
const JUMP_PAUSE = 1;
/** How long playback may stand ahead of the newest frame before it goes back to it. */
const AHEAD_PATIENCE = 0.5;
/** The lowest buffer of this time decides whether there is too much of it: a burst alone is no reason to hurry. */
const WINDOW = 1;
/** Positions closer to a range than this are in it. */
const EPSILON = 0.05;
/** How far before a range's end a decoder may run dry. */
const SHORT_OF_END = 0.3;

/** Tuned by eye and ear: 10 % faster is hardly heard, and recovers a second in ten. */
export const RATE_FAST = 1.1;
export const RATE_QUICK = 1.05;
export const RATE_SLOW = 0.97;

export class Pilot {
  readonly #targetMin: number;
  #target: number;
  #rate = 1;
  #calmSince: number | undefined;
  #aheadSince: number | undefined;
  #jumpedAt = Number.NEGATIVE_INFINITY;
  #samples: { at: number; buffer: number }[] = [];

  constructor(target = TARGET_STEADY) {
    this.#targetMin = target;
    this.#target = target;
  }

  /** Seconds behind the newest frame that playback aims at. */
  get target(): number {
    return this.#target;
  }

  /** Playback ran dry for so many seconds: aim further behind, if that would have helped. */
  stalled(now: number, lasted: number): void {
    this.#calmSince = now;
    if (lasted <= JITTER_MAX) this.#target = Math.min(TARGET_MAX, this.#target + this.#targetMin * STALL_SHARE);
  }

  /** Where to begin when nothing has played yet, or undefined while too little is buffered. */
  begin(ranges: readonly Range[], edge: number): number | undefined {
    const last = ranges[ranges.length - 1];
    if (!last || Math.min(last.end, edge) - last.start < this.#target) return undefined;
    return liveSpot(last, edge, this.#target);
  }

  step(input: PilotInput): PilotOutput {
    const { now, position, ranges, edge } = input;
    this.#relax(now);

    const jump = this.#jump(input);
    if (jump) {
      this.#jumpedAt = now;
      this.#aheadSince = undefined;
      this.#samples = [];
      this.#rate = 1;
      return { rate: 1, jump };
    }

    const here = rangeAt(ranges, position);
    const buffer = here ? Math.max(0, Math.min(here.end, edge) - position) : 0;
    this.#samples.push({ at: now, buffer });
    this.#samples = this.#samples.filter((sample) => sample.at > now - WINDOW);
    const low = Math.min(...this.#samples.map((sample) => sample.buffer));
    this.#rate = this.#rateFor(buffer, low);
    return { rate: this.#rate };
  }

  /** The rate keeps its direction until the target is nearly met, so that it does not flutter around a threshold. */
  #rateFor(buffer: number, low: number): number {
    const excess = low - this.#target;
    const slow = this.#rate < 1;
    const fast = this.#rate > 1;
    if (buffer < this.#target * (slow ? 0.85 : 0.5)) return RATE_SLOW;
    if (excess > (this.#rate === RATE_FAST ? 0.4 : 0.6)) return RATE_FAST;
    if (excess > (fast ? 0.03 : Math.min(0.2, this.#targetMin / 3))) return RATE_QUICK;
    return 1;
  }

  #jump({ now, position, ranges, edge, dry }: PilotInput): PilotOutput["jump"] {
    if (now - this.#jumpedAt < JUMP_PAUSE) return undefined;
    const last = ranges[ranges.length - 1];
    if (!last) return undefined;

    if (position > edge + EPSILON) {
      this.#aheadSince ??= now;
      const home = rangeAt(ranges, edge - EPSILON);
      if (home && now - this.#aheadSince >= AHEAD_PATIENCE) {
        return { to: liveSpot(home, edge, this.#target), why: "ahead" };
      }
    } else {
      this.#aheadSince = undefined;
    }

    const here = rangeAt(ranges, position);
    const next = ranges.find((range) => range.start > position);
    if (next && (!here || here.end - position <= (dry ? SHORT_OF_END : EPSILON))) {
      return { to: liveSpot(next, next === last ? edge : next.end, this.#target), why: "gap" };
    }
    if (edge - position > Math.max(JUMP_BEHIND, this.#target + 2) && last.end > position + this.#target) {
      return { to: liveSpot(last, edge, this.#target), why: "behind" };
    }
    return undefined;
  }

  #relax(now: number): void {
    this.#calmSince ??= now;
    if (now - this.#calmSince < CALM) return;
    this.#calmSince = now;
    this.#target = Math.max(this.#targetMin, this.#target - CALM_STEP);
  }
}

/** The place in a range that lies `target` behind the edge, a hair inside the range. */
function liveSpot(range: Range, edge: number, target: number): number {
  return Math.max(range.start + 0.01, Math.min(range.end, edge) - target);
}

function rangeAt(ranges: readonly Range[], position: number): Range | undefined {
  return ranges.find((range) => position >= range.start - EPSILON && position < range.end + EPSILON);
}

/**
 * Estimates where "live" is: the furthest that the newest frame has ever been ahead of the wall clock. When the network
 * falls silent the buffer shrinks, but the distance to live does not.
 */
export class LiveEdge {
  #lead: number | undefined;
  #at = 0;

  /** Forgets everything, because the timeline was moved. */
  reset(): void {
    this.#lead = undefined;
  }

  update(now: number, edge: number): void {
    // A clock that runs fast by 0.05 % at most is followed; measured clocks are within 0.01 %.
    const aged = (this.#lead ?? Number.NEGATIVE_INFINITY) - (now - this.#at) * 0.0005;
    this.#lead = Math.max(aged, edge - now);
    this.#at = now;
  }

  /** Seconds from `position` to live, or undefined before the first frame. */
  behind(now: number, position: number): number | undefined {
    return this.#lead === undefined ? undefined : Math.max(0, now + this.#lead - position);
  }
}
