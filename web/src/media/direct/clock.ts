/**
 * When a frame is due: as soon as frames usually come, and a little later, so that few come too late. It is pure; times
 * are in seconds, those of the stream on its own timeline, `now` on a monotonic clock.
 */

/** What frames wait at least: one of 25 a second may be half its length late, and a screen shows 60 pictures a second. */
const DELAY_MIN = 0.02;
const DELAY_MAX = 0.5;
/** Each late frame makes the others wait longer by this share of its lateness ... */
const LATE_SHARE = 0.25;
/** ... and each one in time shorter by this. */
const DECAY = 0.0002;
/** The usual way of a frame is that of the fastest one, which may be this much slower each second: clocks drift. */
const DRIFT = 0.002;

export class Clock {
  /** From the stream's timeline to the monotonic clock, as the fastest frame had it. */
  #fastest: number | undefined;
  #at = 0;
  #delay = DELAY_MIN * 2;

  /** Seconds that frames wait. */
  get delay(): number {
    return this.#delay;
  }

  /** The timeline is another one. */
  reset(): void {
    this.#fastest = undefined;
  }

  /** A frame of this time has come. */
  arrived(time: number, now: number): void {
    const way = now - time;
    const aged = this.#fastest === undefined ? way : this.#fastest + (now - this.#at) * DRIFT;
    this.#fastest = Math.min(way, aged);
    this.#at = now;
    const late = way - this.#fastest - this.#delay;
    // An outage is no jitter: to wait for it from now on would help nobody.
    if (late > 0 && late < DELAY_MAX) this.#delay = Math.min(DELAY_MAX, this.#delay + late * LATE_SHARE);
    else this.#delay = Math.max(DELAY_MIN, this.#delay - DECAY);
  }

  /** When a frame is to be shown or heard; undefined before any has come. */
  due(time: number): number | undefined {
    return this.#fastest === undefined ? undefined : time + this.#fastest + this.#delay;
  }

  /** What is due now. */
  time(now: number): number | undefined {
    return this.#fastest === undefined ? undefined : now - this.#fastest - this.#delay;
  }
}
