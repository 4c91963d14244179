/**
 * Knows the PoPs of one stream: the list as the mesh tells it, the way to each as this page measures it, and what the
 * rule makes of both. Whoever looks on may choose one by hand instead.
 */

import { fetchPops, type PopEntry, type PopListing } from "../api";
import type { Guide, Pop } from "./feed";
import { Meter } from "./meter";
import { Choice, type Cost } from "./pops";

/** How often the list is asked for, with jitter. */
const LIST_MS = 5000;
const JITTER = 0.3;
/** The page's own node is taken if nothing better is known by then. */
const START_MS = 600;
/** What is not known, or known to be bad, is preferred last: no answer yet, and no way from an origin. */
const UNMEASURED_MS = 5000;
const NO_WAY_MS = 60_000;
/** A lost request costs about this much more than one that comes through: TCP sends again after 200 ms at the least. */
const RESEND_MS = 200;

/** A PoP as people see it. */
export interface PopView {
  readonly name: string;
  readonly base: string;
  readonly wayMs: number | undefined;
  readonly rttMs: number | undefined;
  readonly loadPercent: number;
}

/** Asks the node at this base for the PoPs of a stream. */
export type List = (base: string, stream: string) => Promise<PopListing>;

/** Measurements serve all players of the page. */
const meter = new Meter();

export class PopGuide implements Guide {
  readonly #stream: string;
  readonly #home: string;
  #homeName: string | undefined;
  readonly #list: List;
  readonly #meter: Meter;
  readonly #choice = new Choice();
  #listing: PopListing = { node: "", pops: [] };
  #current: string | undefined;
  #chosen: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** `home` is the base URL of the node that served the page. */
  constructor(stream: string, home: string, list: List = fetchPops, measure: Meter = meter) {
    this.#stream = stream;
    this.#home = home;
    this.#list = list;
    this.#meter = measure;
  }

  /** Resolves when there is enough to choose by, or it has taken too long. */
  async start(): Promise<void> {
    const patience = new Promise<void>((resolve) => setTimeout(resolve, START_MS));
    const known = this.#refresh().then(() =>
      this.#listing.pops.length > 1 ? this.#meter.settled() : this.#meter.heard(this.#home),
    );
    await Promise.race([known, patience]);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** By hand: this one as long as it gives the stream; undefined: the best. */
  choose(name: string | undefined): Pop | undefined {
    this.#chosen = name;
    return name === undefined ? undefined : this.#pop(name);
  }

  get chosen(): string | undefined {
    return this.#chosen;
  }

  /** All that there are, nearest first. */
  views(): PopView[] {
    const view = ({ name, wayMs, loadPercent }: Cost): PopView => {
      const base = this.#base(name);
      const rttMs = this.#meter.measured(base)?.rttMs;
      return { name, base, rttMs, wayMs: wayMs < UNMEASURED_MS ? wayMs : undefined, loadPercent };
    };
    return this.#costs()
      .sort((a, b) => a.wayMs - b.wayMs)
      .map(view);
  }

  best(without: readonly string[]): Pop | undefined {
    const now = performance.now();
    const chosen = this.#chosen;
    if (chosen !== undefined && !without.includes(chosen)) return this.#pop(chosen);
    const name = this.#choice.best(this.#costs(), without, now);
    return name === undefined ? undefined : this.#pop(name);
  }

  better(current: string): Pop | undefined {
    const now = performance.now();
    const name = this.#chosen === undefined ? this.#choice.better(this.#costs(), current, now) : this.#back(current, now);
    return name === undefined ? undefined : this.#pop(name);
  }

  /** The one that was chosen by hand, once it answers again. */
  #back(current: string, now: number): string | undefined {
    const chosen = this.#chosen;
    if (chosen === undefined || chosen === current || this.#choice.hasFailed(chosen, now)) return undefined;
    const answers = (this.#meter.measured(this.#base(chosen))?.loss ?? 1) === 0;
    return answers ? chosen : undefined;
  }

  failed(name: string): void {
    this.#choice.failed(name, performance.now());
  }

  moved(name: string): void {
    this.#current = name;
    this.#choice.moved(name, performance.now());
  }

  #pop(name: string): Pop {
    const base = this.#base(name);
    return { name, base, offer: this.#meter.measured(base)?.offer };
  }

  /** The page's own node is reached where the page came from, whatever address it tells others. */
  #base(name: string): string {
    const entry = this.#listing.pops.find((pop) => pop.name === name);
    return entry && name !== this.#homeName ? entry.http : this.#home;
  }

  #costs(): Cost[] {
    const home = this.#homeName ?? "";
    const listed = this.#listing.pops.some(({ name }) => name === home);
    const own = { name: home, http: this.#home, metricMs: undefined, load: 0, reachable: listed };
    const pops: readonly Pick<PopEntry, "name" | "http" | "metricMs" | "load" | "reachable">[] = listed ? this.#listing.pops : [own, ...this.#listing.pops];
    // A page that came over TLS may not ask anybody without.
    const allowed = pops.filter(({ http }) => !this.#home.startsWith("https:") || http.startsWith("https:"));
    return allowed.map((pop) => {
      const measured = this.#meter.measured(this.#base(pop.name));
      const rttMs = measured?.rttMs;
      const near = rttMs === undefined ? UNMEASURED_MS : rttMs + (measured?.loss ?? 0) * (rttMs + RESEND_MS);
      const far = pop.reachable && pop.metricMs !== undefined ? pop.metricMs : NO_WAY_MS;
      return { name: pop.name, wayMs: near + far, loadPercent: pop.load * 100 };
    });
  }

  /** Asks whoever feeds the player, then the others: the page's own node may be gone. */
  async #refresh(): Promise<void> {
    const current = this.#current === undefined ? this.#home : this.#base(this.#current);
    const others = this.#listing.pops.map(({ name }) => this.#base(name));
    for (const base of new Set([current, this.#home, ...others])) {
      try {
        const listing = await this.#list(base, this.#stream);
        if (this.#closed) return;
        if (base === this.#home) this.#homeName = listing.node;
        this.#listing = listing;
        this.#meter.watch(listing.pops.map(({ name }) => this.#base(name)));
        break;
      } catch {
        // The next one is asked; without an answer the last list stands.
      }
    }
    this.#timer = setTimeout(() => void this.#refresh(), LIST_MS * (1 + JITTER * (2 * Math.random() - 1)));
  }
}
