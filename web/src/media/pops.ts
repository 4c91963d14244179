/**
 * Which PoP a viewer watches from, and when it moves to another one. The rule and its figures are those of the mesh
 * (crates/overlay/src/pop.rs): a PoP costs what an object takes from the origin to it, by the mesh's measurement, and
 * from there to the viewer, by the viewer's.
 */

/** PoPs within this factor of the best are equal, and the least loaded of them is preferred ... */
const EQUAL_RATIO = 1.3;
/** ... if it is less loaded by so many percent: what is told of load is that coarse. */
const LOAD_STEP_PERCENT = 10;
/** A better PoP must be better by this share ... */
const BETTER_RATIO = 0.2;
/** ... and by this much ... */
const BETTER_MIN_MS = 15;
/** ... for this long; also the least time between two such moves. */
export const BETTER_LASTS_MS = 30_000;
/** From this load on a PoP costs more ... */
const LOAD_KNEE = 0.6;
/** ... and one that is full this much. */
const FULL_COST_MS = 300;
/** One that failed is asked again after this long, and at once where there is no other. */
const FAILED_MS = 10_000;

/** What a PoP costs a viewer. */
export interface Cost {
  readonly name: string;
  /** From the origin to the viewer. */
  readonly wayMs: number;
  /** Percent of what the PoP can carry. */
  readonly loadPercent: number;
}

/** Milliseconds, with what the load adds. */
export function score({ wayMs, loadPercent }: Cost): number {
  const beyond = Math.max(0, Math.min(loadPercent, 100) / 100 - LOAD_KNEE) / (1 - LOAD_KNEE);
  return wayMs + beyond * beyond * FULL_COST_MS;
}

/** Whether a PoP is so much better than the one in use that it is worth a move, once that has lasted. */
export function isBetter(cost: Cost, current: Cost): boolean {
  const [to, from] = [score(cost), score(current)];
  return to + Math.max(BETTER_MIN_MS, from * BETTER_RATIO) <= from;
}

/** In the order of preference: those about as good as the best by their load, then the others by their score. */
export function ordered(costs: readonly Cost[]): Cost[] {
  const best = Math.min(...costs.map(score));
  const rank = (cost: Cost): [number, number, number] => {
    const equal = score(cost) <= best * EQUAL_RATIO;
    return [equal ? 0 : 1, equal ? Math.floor(cost.loadPercent / LOAD_STEP_PERCENT) : 0, score(cost)];
  };
  const ranked = costs.map((cost) => ({ cost, rank: rank(cost) }));
  ranked.sort((a, b) => a.rank[0] - b.rank[0] || a.rank[1] - b.rank[1] || a.rank[2] - b.rank[2]);
  return ranked.map(({ cost }) => cost);
}

/** Remembers since when which PoP has been better, and which ones failed. Times are of any monotonic clock. */
export class Choice {
  readonly #betterSince = new Map<string, number>();
  readonly #failedAt = new Map<string, number>();
  #movedAt = Number.NEGATIVE_INFINITY;

  /** It did not give the stream. */
  failed(name: string, now: number): void {
    this.#failedAt.set(name, now);
  }

  /** The stream comes from here now. */
  moved(name: string, now: number): void {
    this.#movedAt = now;
    this.#betterSince.clear();
    this.#failedAt.delete(name);
  }

  /** The best but those in `without`; of PoPs that failed lately the one that did so first. */
  best(costs: readonly Cost[], without: readonly string[], now: number): string | undefined {
    const left = costs.filter(({ name }) => !without.includes(name));
    const fresh = left.filter(({ name }) => !this.hasFailed(name, now));
    if (fresh.length > 0) return ordered(fresh)[0]?.name;
    const failedAt = ({ name }: Cost): number => this.#failedAt.get(name) ?? 0;
    return left.sort((a, b) => failedAt(a) - failedAt(b))[0]?.name;
  }

  /** The PoP to move to, once one has been so much better than the one in use for long enough. */
  better(costs: readonly Cost[], current: string, now: number): string | undefined {
    const own = costs.find(({ name }) => name === current);
    if (!own) return undefined;
    const worth = costs.filter((cost) => isBetter(cost, own) && !this.hasFailed(cost.name, now));
    for (const name of this.#betterSince.keys()) {
      if (!worth.some((cost) => cost.name === name)) this.#betterSince.delete(name);
    }
    for (const { name } of worth) if (!this.#betterSince.has(name)) this.#betterSince.set(name, now);
    if (now - this.#movedAt < BETTER_LASTS_MS) return undefined;
    const lasting = worth.filter(({ name }) => now - (this.#betterSince.get(name) ?? now) >= BETTER_LASTS_MS);
    return ordered(lasting)[0]?.name;
  }

  /** Whether it failed a moment ago. */
  hasFailed(name: string, now: number): boolean {
    const at = this.#failedAt.get(name);
    return at !== undefined && now - at < FAILED_MS;
  }
}
