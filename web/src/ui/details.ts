/** How a player fares, in numbers, and the choice of its PoP; shown on request. */

import { fetchPath } from "../api";
import { plural } from "../format";
import type { Playing, Source } from "../media/playing";
import { h, setText } from "./dom";

/** The way of the stream changes rarely, and asking for it costs every node on it a message. */
const PATH_MS = 5000;
/** Value of the choice that leaves it to the rule. */
const BEST = "";

export class Details {
  readonly element: HTMLElement;
  readonly #player: () => Playing;
  readonly #stream: string;
  readonly #pop = h("select", { "aria-label": "PoP" });
  readonly #rows = new Map<string, HTMLElement>();
  #path: readonly string[] = [];
  #pathAt = Number.NEGATIVE_INFINITY;

  /** `delays` are what people may choose among, by name and in words; `setDelay` is told of a choice. */
  constructor(
    player: () => Playing,
    stream: string,
    delays: ReadonlyMap<string, string>,
    setDelay: (name: string) => void,
  ) {
    this.#player = player;
    this.#stream = stream;
    this.#pop.addEventListener("change", () => player().source.choose(this.#pop.value || undefined));
    const delay = h("select", { "aria-label": "Delay" });
    delay.append(...[...delays].map(([value, text]) => h("option", { value }, text)));
    delay.addEventListener("change", () => setDelay(delay.value));
    const row = (term: string): HTMLElement[] => {
      const value = h("dd");
      this.#rows.set(term, value);
      return [h("dt", {}, term), value];
    };
    this.element = h(
      "dl",
      { class: "details-panel", hidden: true },
      h("dt", {}, "Watch from"),
      h("dd", {}, this.#pop),
      h("dt", {}, "Delay"),
      h("dd", {}, delay),
      ...["From", "Way", "Latency", "Buffer", "Stalls", "Picture", "Changes"].flatMap(row),
    );
  }

  get shown(): boolean {
    return !this.element.hidden;
  }

  toggle(): void {
    this.element.hidden = !this.element.hidden;
    this.update();
  }

  update(): void {
    if (!this.shown) return;
    const player = this.#player();
    const stats = player.stats();
    this.#showPops(player.source);
    const pop = player.source.pops().find(({ name }) => name === stats.pop);
    const away = pop?.rttMs === undefined ? "" : `, ${pop.rttMs.toFixed(0)} ms away`;
    this.#say("From", `${label(stats.pop)}${away}${stats.carrier && `, over ${stats.carrier}`}`);
    void this.#followPath(stats.popBase);
    const hops = Math.max(0, this.#path.length - 1);
    this.#say("Way", this.#path.length > 0 ? `${this.#path.join(" → ")} (${plural(hops, "hop")})` : "not known");
    const seconds = (value: number | null): string => (value === null ? "–" : `${value.toFixed(2)} s`);
    const rate = stats.rate === 1 ? "" : `, playing at ${stats.rate.toFixed(2)}×`;
    this.#say("Latency", `${seconds(stats.latency)} behind the newest frame${rate}`);
    this.#say("Buffer", `${seconds(stats.buffer)}, aiming at ${seconds(stats.target)}`);
    this.#say("Stalls", `${stats.stalls}, ${stats.stalledSeconds.toFixed(1)} s in all`);
    const size = stats.width > 0 ? `${stats.width}×${stats.height}, ` : "";
    this.#say("Picture", `${size}${stats.framesDecoded} frames, ${stats.framesDropped} dropped`);
    this.#say("Changes", `${stats.moves} of PoP, ${stats.reconnects} outages, ${plural(stats.jumps, "jump")}`);
  }

  #showPops(source: Source): void {
    const names = source.pops().map(({ name }) => name);
    const { chosen } = source;
    const options = [
      { value: BEST, text: "the best" },
      ...names.map((name) => ({ value: name, text: label(name) })),
      ...(chosen === undefined || names.includes(chosen) ? [] : [{ value: chosen, text: `${chosen} (not there)` }]),
    ];
    const key = JSON.stringify(options);
    // A list that is open, or has the focus, is not pulled from under anybody's hand.
    if (this.#pop.dataset.key !== key && document.activeElement !== this.#pop) {
      this.#pop.dataset.key = key;
      this.#pop.replaceChildren(...options.map(({ value, text }) => h("option", { value }, text)));
    }
    this.#pop.value = chosen ?? BEST;
  }

  async #followPath(base: string): Promise<void> {
    const now = performance.now();
    if (!base || now - this.#pathAt < PATH_MS) return;
    this.#pathAt = now;
    try {
      this.#path = await fetchPath(base, this.#stream);
    } catch {
      this.#path = [];
    }
  }

  #say(term: string, text: string): void {
    const value = this.#rows.get(term);
    if (value) setText(value, text);
  }
}

/** A node too old to tell its name has none. */
function label(name: string): string {
  return name || "this node";
}
