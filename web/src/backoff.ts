/** Waiting times that double from attempt to attempt, with jitter so that many pages do not return at once. */
export class Backoff {
  readonly #first: number;
  readonly #most: number;
  readonly #random: () => number;
  #attempts = 0;

  /** Times in milliseconds. */
  constructor(first: number, most: number, random: () => number = Math.random) {
    this.#first = first;
    this.#most = most;
    this.#random = random;
  }

  /** The time to wait before the next attempt, in milliseconds. */
  next(): number {
    const full = Math.min(this.#most, this.#first * 2 ** Math.min(this.#attempts, 16));
    this.#attempts += 1;
    return full * (0.75 + 0.5 * this.#random());
  }

  reset(): void {
    this.#attempts = 0;
  }
}
