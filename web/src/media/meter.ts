/**
 * Measures how far away PoPs are: a small request to each, at a low rate, and what became of the last ones. The answers
 * tell how to reach the PoP over WebTransport.
 */

import { type Offer, parseOffer } from "../api";

/** PoPs measured at a time besides those in use; of more the nearest are kept, and the others take turns. */
export const MEASURED_MAX = 8;
const NEAREST_KEPT = 4;
/** The first samples come fast, so that a page knows where to begin. */
const FIRST_SAMPLES = 3;
/** Later ones at this interval, with jitter so that pages do not ask in step. */
const INTERVAL_MS = 5000;
const JITTER = 0.5;
/** No answer by then is a loss. */
const TIMEOUT_MS = 2000;
const SAMPLES_KEPT = 8;

/** What was measured of one PoP. */
export interface Measured {
  /** Median round trip; undefined before the first answer. */
  readonly rttMs: number | undefined;
  /** Share of the last requests that were not answered. */
  readonly loss: number;
  /** What it last told of WebTransport. */
  readonly offer: Offer | undefined;
}

/** What a PoP answers. */
export interface Answer {
  readonly rttMs: number;
  readonly offer?: Offer | undefined;
}

class Gauge {
  /** Round trips, newest last; undefined for those that were lost. */
  #samples: (number | undefined)[] = [];
  #offer: Offer | undefined;
  nextAt = 0;
  /** Resolves with the first answer, or the loss of it. */
  first: Promise<unknown> | undefined;

  add(answer: Answer | undefined): void {
    this.#samples = [...this.#samples, answer?.rttMs].slice(-SAMPLES_KEPT);
    this.heard(answer);
  }

  heard(answer: Answer | undefined): void {
    if (answer) this.#offer = answer.offer;
  }

  get count(): number {
    return this.#samples.length;
  }

  get measured(): Measured {
    const answered = this.#samples.filter((sample) => sample !== undefined).sort((a, b) => a - b);
    const lost = this.#samples.length - answered.length;
    return { rttMs: answered[answered.length >> 1], loss: this.#samples.length > 0 ? lost / this.#samples.length : 0, offer: this.#offer };
  }
}

/** Asks one PoP; undefined if no answer came back in time. */
export type Ping = (base: string) => Promise<Answer | undefined>;

export class Meter {
  readonly #ping: Ping;
  readonly #random: () => number;
  readonly #gauges = new Map<string, Gauge>();
  /** Whoever uses the meter, and what each plays from. */
  readonly #used = new Map<object, readonly string[]>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waiting: (() => void)[] = [];

  constructor(ping: Ping = ask, random: () => number = Math.random) {
    this.#ping = ping;
    this.#random = random;
  }

  /** What `user` plays from is measured in each round, until told otherwise: whoever is not measured counts as far away. */
  keep(user: object, bases: readonly string[]): void {
    this.#used.set(user, bases);
  }

  /** `user` needs nothing any more. The next round lets go of everything if nobody does: a player that only changes its delay is back by then. */
  leave(user: object): void {
    this.#used.delete(user);
  }

  /** Measures these PoPs, by their base URLs, or as many of them as is sensible. */
  watch(bases: readonly string[]): void {
    const used = new Set([...this.#used.values()].flat());
    const kept = bases.filter((base) => used.has(base));
    kept.push(...this.#some(bases.filter((base) => !used.has(base))));
    for (const base of this.#gauges.keys()) if (!kept.includes(base)) this.#gauges.delete(base);
    for (const base of kept) {
      if (this.#gauges.has(base)) continue;
      const gauge = new Gauge();
      this.#gauges.set(base, gauge);
      void this.#begin(base, gauge);
    }
    this.#timer ??= setTimeout(() => this.#round(), INTERVAL_MS / MEASURED_MAX);
  }

  measured(base: string): Measured | undefined {
    return this.#gauges.get(base)?.measured;
  }

  /** Resolves once this one answered, or was found not to. */
  async heard(base: string): Promise<void> {
    await this.#gauges.get(base)?.first;
  }

  /** Resolves once everything watched was measured, or found not to answer. */
  settled(): Promise<void> {
    if (this.#isSettled()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Lets go of everything; whoever watches again begins anew. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#gauges.clear();
    this.#tell();
  }

  /** The first request opens the connection, so it does not count. */
  async #begin(base: string, gauge: Gauge): Promise<void> {
    const first = this.#ping(base).then((answer) => {
      gauge.heard(answer);
      return answer;
    });
    gauge.first = first;
    let answer = await first;
    if (!answer) gauge.add(undefined);
    for (let sample = 0; sample < FIRST_SAMPLES && answer && this.#gauges.get(base) === gauge; sample++) {
      answer = await this.#ping(base);
      gauge.add(answer);
    }
    gauge.nextAt = this.#later();
    if (this.#isSettled()) this.#tell();
  }

  #tell(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #round(): void {
    if (this.#used.size === 0) {
      this.close();
      return;
    }
    const now = performance.now();
    for (const [base, gauge] of this.#gauges) {
      if (gauge.count === 0 || gauge.nextAt > now) continue;
      gauge.nextAt = this.#later();
      void this.#ping(base).then((answer) => gauge.add(answer));
    }
    this.#timer = setTimeout(() => this.#round(), INTERVAL_MS / MEASURED_MAX);
  }

  #later(): number {
    return performance.now() + INTERVAL_MS * (1 + JITTER * (2 * this.#random() - 1));
  }

  #isSettled(): boolean {
    return [...this.#gauges.values()].every((gauge) => gauge.nextAt > 0);
  }

  /** All of them, or the nearest and a few others. */
  #some(bases: readonly string[]): string[] {
    const known = bases.filter((base) => this.#gauges.has(base)).sort((a, b) => this.#rank(a) - this.#rank(b));
    const room = bases.length > MEASURED_MAX ? NEAREST_KEPT : MEASURED_MAX;
    const kept = known.slice(0, room);
    const others = bases.filter((base) => !kept.includes(base));
    while (kept.length < MEASURED_MAX && others.length > 0) {
      kept.push(...others.splice(Math.floor(this.#random() * others.length), 1));
    }
    return kept;
  }

  #rank(base: string): number {
    return this.measured(base)?.rttMs ?? Number.POSITIVE_INFINITY;
  }
}

async function ask(base: string): Promise<Answer | undefined> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
  const began = performance.now();
  try {
    const answer = await fetch(new URL("api/v1/ping", base), { cache: "no-store", signal: abort.signal });
    const rttMs = performance.now() - began;
    if (!answer.ok) return undefined;
    // A node of an older version says nothing.
    return { rttMs, offer: parseOffer(await answer.json().catch(() => undefined)) };
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
