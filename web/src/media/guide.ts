/**
 * Knows the PoPs of one stream: the list as the mesh tells it, the way to each as this page measures it, and what the
 * rule makes of both. Whoever looks on may choose one by hand instead.
 */

import { fetchPops, type Offer, type PopEntry, type PopListing } from "../api";
import type { Guide, Pop } from "./feed";
import { type Measured, Meter } from "./meter";
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
  /** The page's own node. Its name is empty until it has told it; whoever plays from it learns it here. */
  readonly #own: { name: string; readonly base: string; offer: Offer | undefined };
  readonly #list: List;
  readonly #meter: Meter;
  readonly #choice = new Choice();
  #listing: PopListing = { node: "", pops: [] };
  #current: Pop | undefined;
  #chosen: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** `home` is the base URL of the node that served the page. */
  constructor(stream: string, home: string, list: List = fetchPops, measure: Meter = meter) {
    this.#stream = stream;
    this.#own = { name: "", base: home, offer: undefined };
    this.#list = list;
    this.#meter = measure;
  }

  /** Resolves when there is enough to choose by, or it has taken too long. */
  async start(): Promise<void> {
    this.#meter.keep(this, []);
    const patience = new Promise<void>((resolve) => setTimeout(resolve, START_MS));
    const known = this.#refresh().then(() =>
      this.#listing.pops.length > 1 ? this.#meter.settled() : this.#meter.heard(this.#own.base),
    );
    await Promise.race([known, patience]);
  }

  close(): void {
    this.#closed = true;
    this.#meter.leave(this);
    clearTimeout(this.#timer);
  }

  /** By hand: this one as long as it gives the stream, and as soon as it is known; undefined: the best. */
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
      const rttMs = this.#measured(name)?.rttMs;
      return { name, rttMs, wayMs: wayMs < UNMEASURED_MS ? wayMs : undefined, loadPercent };
    };
    return this.#costs()
      .sort((a, b) => a.wayMs - b.wayMs)
      .map(view);
  }

  best(without: readonly string[]): Pop | undefined {
    const now = performance.now();
    const chosen = this.#chosen;
    const byHand = chosen === undefined || without.includes(chosen) ? undefined : this.#pop(chosen);
    if (byHand) return byHand;
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
    return this.#measured(chosen)?.loss === 0 ? chosen : undefined;
  }

  failed(name: string): void {
    this.#choice.failed(name, performance.now());
  }

  moved(pop: Pop): void {
    this.#current = pop;
    this.#choice.moved(pop.name, performance.now());
  }

  #pop(name: string): Pop | undefined {
    const base = this.#base(name);
    if (base === undefined) return undefined;
    const offer = this.#meter.measured(base)?.offer;
    if (name !== this.#own.name) return { name, base, offer };
    this.#own.offer = offer;
    return this.#own;
  }

  /** The page's own node is reached where the page came from, whatever address it tells others. */
  #base(name: string): string | undefined {
    return name === this.#own.name ? this.#own.base : this.#listing.pops.find((pop) => pop.name === name)?.http;
  }

  #measured(name: string): Measured | undefined {
    const base = this.#base(name);
    return base === undefined ? undefined : this.#meter.measured(base);
  }

  #watch(): void {
    const chosen = this.#chosen === undefined ? undefined : this.#base(this.#chosen);
    this.#meter.keep(this, [this.#current?.base, chosen].filter((base) => base !== undefined));
    this.#meter.watch(this.#bases());
  }

  #bases(): string[] {
    return this.#listing.pops.map((pop) => (pop.name === this.#own.name ? this.#own.base : pop.http));
  }

  #costs(): Cost[] {
    const { name: home, base } = this.#own;
    const listed = this.#listing.pops.some(({ name }) => name === home);
    const own = { name: home, http: base, metricMs: undefined, load: 0, reachable: listed };
    const pops: readonly Pick<PopEntry, "name" | "http" | "metricMs" | "load" | "reachable">[] = listed ? this.#listing.pops : [own, ...this.#listing.pops];
    // A page that came over TLS may not ask anybody without.
    const allowed = pops.filter(({ http }) => !base.startsWith("https:") || http.startsWith("https:"));
    return allowed.map((pop) => {
      const measured = this.#measured(pop.name);
      const rttMs = measured?.rttMs;
      const near = rttMs === undefined ? UNMEASURED_MS : rttMs + (measured?.loss ?? 0) * (rttMs + RESEND_MS);
      const far = pop.reachable && pop.metricMs !== undefined ? pop.metricMs : NO_WAY_MS;
      return { name: pop.name, wayMs: near + far, loadPercent: pop.load * 100 };
    });
  }

  /** Asks whoever feeds the player, then the others: the page's own node may be gone. */
  async #refresh(): Promise<void> {
    for (const base of new Set([this.#current?.base ?? this.#own.base, this.#own.base, ...this.#bases()])) {
      const listing = await this.#list(base, this.#stream).catch(() => undefined);
      if (this.#closed) return;
      // The next one is asked; without an answer the last list stands.
      if (!listing) continue;
      if (base === this.#own.base) this.#own.name = listing.node;
      this.#listing = listing;
      this.#watch();
      break;
    }
    this.#timer = setTimeout(() => void this.#refresh(), LIST_MS * (1 + JITTER * (2 * Math.random() - 1)));
  }
}
