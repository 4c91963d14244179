/**
 * The page that every node serves: the live streams and their players. It keeps three things in step: the node's
 * listing, the open players, and the address (`#play=cam1,cam2`).
 */

import { type Listing, pollListing } from "./api";
import { plural } from "./format";
import { formatHash, PLAYERS_MAX, parseHash } from "./hash";
import type { PlayerStats } from "./media/playing";
import { Card } from "./ui/card";
import { setText } from "./ui/dom";
import { StreamList } from "./ui/list";

declare global {
  interface Window {
    /** For tests and the curious: `levada.players.cam1.stats()`. */
    levada: { players: Record<string, { stats(): PlayerStats }> };
  }
}

class App {
  readonly #banner = byId("banner");
  readonly #node = byId("node");
  readonly #summary = byId("summary");
  readonly #grid = byId("players");
  readonly #empty = byId("empty");
  readonly #cards = new Map<string, Card>();
  readonly #list = new StreamList((name) => (this.#cards.has(name) ? this.#close(name) : this.#open(name)));
  /** Undefined until the node has answered once. */
  #listing: Listing | undefined;
  #reachable = true;

  start(): void {
    byId("list").append(this.#list.element);
    window.levada = { players: Object.create(null) as Window["levada"]["players"] };
    this.#followHash();
    window.addEventListener("hashchange", () => this.#followHash());
    const events = {
      listing: (listing: Listing) => this.#update(listing),
      unreachable: (reason: string) => this.#unreachable(reason),
    };
    pollListing(events, () => [...this.#cards.values()].flatMap(({ player }) => player.pops().map(({ base }) => base)));
  }

  #update(listing: Listing): void {
    this.#listing = listing;
    if (!this.#reachable) for (const card of this.#cards.values()) card.player.retryNow();
    this.#reachable = true;
    this.#banner.hidden = true;
    document.title = listing.node ? `${listing.node} · Levada` : "Levada";
    setText(this.#node, listing.node);
    const viewers = listing.streams.reduce((sum, stream) => sum + stream.viewers, 0);
    setText(this.#summary, `${plural(listing.streams.length, "stream")} · ${plural(viewers, "viewer")} here`);
    this.#render();
  }

  #unreachable(reason: string): void {
    this.#reachable = false;
    setText(this.#banner, `The node does not answer (${reason}). Trying again.`);
    this.#banner.hidden = false;
  }

  #render(): void {
    if (!this.#listing) return;
    this.#empty.hidden = this.#listing.streams.length > 0;
    this.#list.update(this.#listing.streams, new Set(this.#cards.keys()));
  }

  #open(name: string): void {
    if (this.#cards.has(name) || this.#cards.size >= PLAYERS_MAX) return;
    const card = new Card(name, {
      muted: [...this.#cards.values()].some((other) => other.audible),
      onClose: () => this.#close(name),
    });
    this.#cards.set(name, card);
    this.#grid.append(card.element);
    window.levada.players[name] = { stats: () => card.player.stats() };
    this.#chosen();
  }

  #close(name: string): void {
    const card = this.#cards.get(name);
    if (!card) return;
    const focused = card.element.contains(document.activeElement);
    card.close();
    this.#cards.delete(name);
    delete window.levada.players[name];
    this.#chosen();
    if (focused) this.#list.focus(name);
  }

  /** The set of players changed: tell the list and the address. */
  #chosen(): void {
    this.#grid.dataset.count = String(this.#cards.size);
    const hash = formatHash([...this.#cards.keys()]);
    if (hash !== location.hash) {
      history.replaceState(null, "", hash || location.pathname + location.search);
    }
    this.#render();
  }

  #followHash(): void {
    const wanted = parseHash(location.hash);
    for (const name of [...this.#cards.keys()]) if (!wanted.includes(name)) this.#close(name);
    for (const name of wanted) this.#open(name);
  }
}

function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element with the id "${id}"`);
  return element;
}

new App().start();
