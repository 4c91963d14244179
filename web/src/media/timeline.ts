/**
 * Places the stream's own times, which start anywhere and may jump when the origin changes, on the one continuous
 * timeline of the `<video>` element. The result is the SourceBuffer's timestampOffset.
 */

import type { Fragment } from "./fmp4";

/** Where the first picture lands, in seconds. Above 0 so that audio that starts a little earlier is not cut off. */
const ORIGIN = 1;

/**
 * A start that lands this close behind or ahead of the buffer's end, in seconds, is the same timeline going on. A new
 * connection to the same node usually repeats some frames. A new init on an open connection usually means another
 * origin, whose times may be near by chance: there only what follows directly counts.
 */
const RESUMED = { behind: 15, ahead: 3 };
const CHANGED = { behind: 0.5, ahead: 0.5 };

/** Within one timeline the leading track may step back or ahead by this much, in seconds, before it counts as a jump. */
const STEP_BACK = 1;
const STEP_AHEAD = 10;

/** Fragments of other tracks further than this from the leading one, in seconds, belong to another timeline. */
const SKEW = 10;

export type Placement = "append" | "rebase" | "drop";

export class Timeline {
  #offset: number | undefined;
  /** Next expected time of the leading track; undefined while a start is awaited. */
  #next: number | undefined;
  #near = RESUMED;
  /** From decode to presentation at the anchor, in seconds. Added to every time so that reordering moves nothing. */
  #reorder = 0;

  /** Seconds to add to the stream's times; 0 until the first fragment is placed. */
  get offset(): number {
    return this.#offset ?? 0;
  }

  /** A new init segment, the first of a connection (`resumed`) or a later one: the next keyframe starts anew. */
  restart(resumed: boolean): void {
    this.#next = undefined;
    this.#near = resumed ? RESUMED : CHANGED;
  }

  /** Says what is to be done with a fragment: append it, call `rebase` with it first, or leave it out. */
  classify(fragment: Fragment): Placement {
    if (this.#next === undefined) return fragment.entry ? "rebase" : "drop";
    const step = fragment.decodeTime - this.#next;
    if (!fragment.track.lead) return Math.abs(step) <= SKEW ? "append" : "drop";
    if (step >= -STEP_BACK && step <= STEP_AHEAD) return "append";
    // The timeline jumped without a new init segment: start anew, here or at the next keyframe.
    this.restart(false);
    return fragment.entry ? "rebase" : "drop";
  }

  /**
   * Anchors the timeline at an entry fragment. `bufferEnd` is where the element's buffer ends. A timeline that goes on
   * keeps its offset; any other is moved to the end.
   */
  rebase(fragment: Fragment, bufferEnd: number | undefined): void {
    if (this.#offset === undefined || bufferEnd === undefined) {
      this.#offset = (bufferEnd ?? ORIGIN) - fragment.decodeTime;
    } else {
      const ahead = fragment.time + this.#offset - bufferEnd;
      if (ahead < -this.#near.behind || ahead > this.#near.ahead) this.#offset = bufferEnd - fragment.time;
    }
    this.#next = fragment.decodeTime;
    this.#reorder = fragment.time - fragment.decodeTime;
  }

  /** Notes that a fragment was appended; returns up to where the element's timeline is filled by it. */
  appended(fragment: Fragment): number {
    const end = fragment.decodeTime + fragment.duration;
    if (!fragment.track.lead) return end + this.offset;
    this.#next = end;
    return end + this.#reorder + this.offset;
  }
}
