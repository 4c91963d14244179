/** The card of one playing stream: picture, controls, and one line on how well it goes. */

import { nodeUrl, tsUrl } from "../api";
import { plural } from "../format";
import { canPlayDirectly, DirectPlayer } from "../media/direct/player";
import { PopGuide } from "../media/guide";
import { NativePlayer } from "../media/native";
import { TARGET_SHORT, TARGET_STEADY } from "../media/pilot";
import { Player } from "../media/player";
import type { PlayerStats, PlayerView, Playing } from "../media/playing";
import { mediaSourceClass } from "../media/sink";
import { Details } from "./details";
import { copyButton, h, iconButton, setAttribute, setIcon, setText } from "./dom";

export interface CardOptions {
  /** Another player has the sound already. */
  readonly muted: boolean;
  readonly onClose: () => void;
}

/** How far behind live to be, and what that costs. */
const DELAYS = new Map([
  ["steady", "steady: a silent PoP is not noticed"],
  ["short", "short: a PoP that dies is not noticed"],
  ["shortest", "shortest: pictures as they come"],
]);

/** Where the browser plays HLS by itself it decides how far behind. */
const NATIVE_DELAYS = new Map([
  ["steady", "as the browser wants it"],
  ["shortest", "shortest: pictures as they come"],
]);

const STATS_MS = 500;
const VOLUME_STEP = 0.05;

const BADGES: Readonly<Record<PlayerView["phase"], string>> = {
  connecting: "Connecting",
  starting: "Starting",
  playing: "Live",
  stalled: "Stalled",
  unsupported: "Not playable",
};

export class Card {
  readonly element: HTMLElement;
  readonly #name: string;
  #player: Playing;
  /** Covers the video while pictures are drawn as they come. */
  #canvas: HTMLCanvasElement | undefined;
  readonly #video: HTMLVideoElement;
  readonly #badge = h("span", { class: "badge" });
  readonly #notice = h("p", { class: "notice", role: "status" });
  readonly #soundTap: HTMLButtonElement;
  readonly #playTap: HTMLButtonElement;
  readonly #mute: HTMLButtonElement;
  readonly #chart: HTMLButtonElement;
  readonly #volume: HTMLInputElement;
  readonly #expand: HTMLButtonElement;
  readonly #numbers = h("p", { class: "numbers" });
  readonly #details: Details;
  readonly #ticker: number;
  readonly #listeners = new AbortController();

  constructor(name: string, options: CardOptions) {
    this.#name = name;
    this.#video = h("video", { playsinline: true, "data-stream": name, "aria-label": `Live video of ${name}` });
    this.#video.muted = options.muted;
    this.#soundTap = overlayButton("sound-tap", "Tap for sound", () => this.#player.setMuted(false));
    this.#playTap = overlayButton("play-tap", "Play", () => this.#player.resume());
    this.#mute = iconButton("sound", "Mute", () => this.#toggleMute());
    this.#volume = h("input", {
      type: "range",
      class: "volume",
      min: 0,
      max: 1,
      step: VOLUME_STEP,
      "aria-label": `Volume of ${name}`,
    });
    this.#volume.value = String(this.#video.volume);
    this.#volume.addEventListener("input", () => this.#setVolume(Number(this.#volume.value)));
    this.#chart = iconButton("chart", "How it fares (I)", () => this.#toggleDetails());
    this.#expand = iconButton("expand", "Full screen", () => void this.#toggleFullscreen());

    this.element = h(
      "article",
      { class: "card", tabindex: 0, "aria-label": `Player of ${name}`, "aria-keyshortcuts": "M F I" },
      h(
        "div",
        { class: "stage" },
        this.#video,
        h("div", { class: "spinner", "aria-hidden": "true" }),
        h("div", { class: "message" }, this.#notice, this.#elsewhere(name), this.#playTap),
        this.#soundTap,
      ),
      h(
        "div",
        { class: "bar" },
        h("div", { class: "title" }, this.#badge, h("h3", {}, name)),
        h(
          "div",
          { class: "controls" },
          this.#mute,
          this.#volume,
          this.#chart,
          this.#expand,
          iconButton("close", `Close ${name}`, options.onClose),
        ),
        this.#numbers,
      ),
    );
    this.#listen();
    this.#player = this.#play("steady");
    const usual = mediaSourceClass() ? DELAYS : NATIVE_DELAYS;
    const delays = new Map([...usual].filter(([delay]) => delay !== "shortest" || canPlayDirectly()));
    this.#details = new Details(() => this.#player, name, delays, (delay) => this.#setDelay(delay));
    this.element.lastElementChild?.append(this.#details.element);
    setAttribute(this.#chart, "aria-expanded", "false");
    this.#ticker = window.setInterval(() => this.#count(), STATS_MS);
  }

  get player(): Playing {
    return this.#player;
  }

  get audible(): boolean {
    return !this.#video.muted && this.#player.stats().phase !== "unsupported";
  }

  close(): void {
    window.clearInterval(this.#ticker);
    this.#listeners.abort();
    this.#player.close();
    if (document.fullscreenElement === this.element) void document.exitFullscreen();
    this.element.remove();
  }

  #play(delay: string): Playing {
    const show = (view: PlayerView): void => this.#show(view);
    const home = nodeUrl(".").href;
    if (delay !== "shortest") {
      if (!mediaSourceClass()) return new NativePlayer(this.#name, new PopGuide(this.#name, home), this.#video, show);
      const target = delay === "short" ? TARGET_SHORT : TARGET_STEADY;
      return new Player(this.#name, home, this.#video, target, show);
    }
    this.#canvas = h("canvas", { "data-stream": this.#name });
    this.#video.after(this.#canvas);
    return new DirectPlayer(this.#name, home, this.#video, this.#canvas, show);
  }

  #setDelay(delay: string): void {
    const { chosen } = this.#player.source;
    this.#player.close();
    this.#canvas?.remove();
    this.#canvas = undefined;
    this.#player = this.#play(delay);
    this.#player.source.choose(chosen);
  }

  /** Shown when the browser has no decoder: other players have. */
  #elsewhere(name: string): HTMLElement {
    const url = tsUrl(name);
    return h(
      "p",
      { class: "elsewhere" },
      "VLC, mpv and ffplay can: ",
      h("a", { href: url }, url),
      copyButton(`Copy the address of ${name} for VLC, mpv or ffplay`, () => url),
    );
  }

  #show(view: PlayerView): void {
    setAttribute(this.element, "data-phase", view.phase);
    setText(this.#badge, view.paused ? "Paused" : BADGES[view.phase]);
    setText(this.#notice, view.phase === "playing" || view.paused ? "" : view.notice);
    this.#playTap.hidden = !view.paused;
    this.#soundTap.hidden = !view.soundBlocked || view.paused;
    const muted = this.#video.muted || this.#video.volume === 0;
    setIcon(this.#mute, muted ? "muted" : "sound", muted ? "Unmute (M)" : "Mute (M)");
    this.#volume.value = String(this.#video.muted ? 0 : this.#video.volume);
  }

  #count(): void {
    const stats = this.#player.stats();
    setText(this.#numbers, numbers(stats));
    this.#details.update();
    // The picture keeps its own shape once it is known (a portrait stream is not letterboxed into a landscape).
    if (stats.width > 0) this.element.style.setProperty("--shape", `${stats.width} / ${stats.height}`);
  }

  #toggleDetails(): void {
    this.#details.toggle();
    setAttribute(this.#chart, "aria-expanded", String(this.#details.shown));
  }

  #toggleMute(): void {
    if (this.#video.muted && this.#video.volume === 0) this.#video.volume = 1;
    this.#player.setMuted(!this.#video.muted);
  }

  #setVolume(volume: number): void {
    this.#video.volume = Math.min(1, Math.max(0, volume));
    this.#player.setMuted(this.#video.volume === 0);
  }

  async #toggleFullscreen(): Promise<void> {
    const video = this.#video as HTMLVideoElement & { webkitEnterFullscreen?: () => void };
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (document.fullscreenEnabled) await this.element.requestFullscreen();
      else video.webkitEnterFullscreen?.(); // the iPhone lets only the video itself fill the screen
    } catch {
      // The browser said no; the page stays as it is.
    }
  }

  #listen(): void {
    const signal = this.#listeners.signal;
    this.element.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.#video.addEventListener("dblclick", () => void this.#toggleFullscreen(), { signal });
    document.addEventListener(
      "fullscreenchange",
      () => {
        const full = document.fullscreenElement === this.element;
        setIcon(this.#expand, full ? "shrink" : "expand", full ? "Leave full screen (F)" : "Full screen (F)");
      },
      { signal },
    );
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLSelectElement) return;
    const key = event.key.toLowerCase();
    if (key === "m") this.#toggleMute();
    else if (key === "f") void this.#toggleFullscreen();
    else if (key === "i") this.#toggleDetails();
    else return;
    event.preventDefault();
  }
}

function overlayButton(className: string, label: string, onClick: () => void): HTMLButtonElement {
  const button = h("button", { type: "button", class: `tap ${className}`, hidden: true }, label);
  button.addEventListener("click", onClick);
  return button;
}

/** "0.6 s behind live · buffer 0.6 s · no stalls · 854×480 · 0 dropped" */
function numbers(stats: PlayerStats): string {
  if (stats.latency === null || stats.buffer === null) return "";
  return [
    `${stats.latency.toFixed(1)} s behind live`,
    `buffer ${stats.buffer.toFixed(1)} s`,
    stats.stalls === 0 ? "no stalls" : `${plural(stats.stalls, "stall")} (${stats.stalledSeconds.toFixed(1)} s)`,
    stats.width > 0 ? `${stats.width}×${stats.height}` : "sound only",
    `${stats.framesDropped} dropped`,
  ]
    .map((part) => part.replaceAll(" ", "\u00a0")) // lines break between the numbers, not within
    .join(" · ");
}
