/** Where a player's media come from: the guide to the PoPs, the feed that it leads, and how often these changed. */

import { dialer } from "./dial";
import { Feed, type FeedEvents, type Pop } from "./feed";
import { PopGuide, type PopView } from "./guide";
import type { PlayerStats, Source } from "./playing";

export type SupplyEvents = Omit<FeedEvents, "moved" | "lost"> & { lost(): void };

export class Supply implements Source {
  readonly #guide: PopGuide;
  #feed: Feed | undefined;
  #closed = false;
  #pop: Pop | undefined;
  /** PoPs that media came from, counting each change. */
  #pops = 0;
  #reconnects = 0;

  /** `home` is the base URL of the node that served the page. */
  constructor(stream: string, home: string, events: SupplyEvents) {
    this.#guide = new PopGuide(stream, home);
    const counting: FeedEvents = {
      ...events,
      lost: () => {
        this.#reconnects += 1;
        events.lost();
      },
      moved: (pop) => {
        this.#pop = pop;
        this.#pops += 1;
      },
    };
    void this.#guide.start().then(() => {
      if (!this.#closed) this.#feed = new Feed(this.#guide, counting, dialer.to(stream));
    });
  }

  stats(): Pick<PlayerStats, "pop" | "popBase" | "carrier" | "moves" | "reconnects"> {
    return {
      pop: this.#pop?.name ?? "",
      popBase: this.#pop?.base ?? "",
      carrier: this.#feed?.carrier ?? "",
      moves: Math.max(0, this.#pops - 1),
      reconnects: this.#reconnects,
    };
  }

  pops(): PopView[] {
    return this.#guide.views();
  }

  get chosen(): string | undefined {
    return this.#guide.chosen;
  }

  choose(name: string | undefined): void {
    const pop = this.#guide.choose(name);
    if (pop) this.#feed?.moveTo(pop);
  }

  retryNow(): void {
    this.#feed?.retryNow();
  }

  /** The player needs a fresh start of the stream. */
  restart(): void {
    this.#feed?.restart();
  }

  close(): void {
    this.#closed = true;
    this.#guide.close();
    this.#feed?.close();
  }
}
