/**
 * The player where the browser has no Media Source Extensions, but plays HLS by itself, as Safari on older iPhones does.
 * All it can do is to name the address and look: what is buffered, and how far from live, is up to the browser.
 *
 *     connecting -> starting -> playing <-> stalled      (an error, or a picture that stands still, leads to the next PoP)
 *         \-> unsupported                                (it plays no HLS either)
 */

import { Backoff } from "../backoff";
import type { Pop } from "./feed";
import type { PopGuide, PopView } from "./guide";
import type { PlayerStats, PlayerView, Playing, Source } from "./playing";
import { Starter } from "./starter";

const HLS = "application/vnd.apple.mpegurl";
const TICK_MS = 500;
/** Whoever shows nothing new for this long is given up: longer than a player of HLS needs for another pathway, in seconds. */
const FROZEN = 6;
/** One that played for this long was a good one, in seconds: the next failure starts with short pauses again. */
const GOOD = 5;
/** Pauses between attempts when every PoP has failed. */
const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 8000;

export class NativePlayer implements Playing, Source {
  readonly #stream: string;
  readonly #video: HTMLVideoElement;
  readonly #changed: (view: PlayerView) => void;
  readonly #guide: PopGuide;
  readonly #starter: Starter;
  readonly #listeners = new AbortController();
  readonly #ticker: ReturnType<typeof setInterval>;
  readonly #retries = new Backoff(RETRY_MS_FIRST, RETRY_MS_MAX);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #phase: PlayerView["phase"] = "connecting";
  #notice = "Connecting";
  #pop: Pop | undefined;
  /** The one that was shown last. */
  #from: Pop | undefined;
  /** PoPs that failed since one was good. */
  #tried: string[] = [];
  #shown = { position: 0, at: 0, since: 0 };
  /** How far behind the end of the list the browser began. */
  #behind = 0;
  #pops = 0;
  #stalls = 0;
  #stalledSeconds = 0;
  #reconnects = 0;

  constructor(stream: string, guide: PopGuide, video: HTMLVideoElement, changed: (view: PlayerView) => void) {
    this.#stream = stream;
    this.#video = video;
    this.#changed = changed;
    this.#starter = new Starter(video, () => this.#show());
    this.#guide = guide;
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    if (video.canPlayType(HLS) === "") {
      this.#enter("unsupported", "This browser cannot play live streams (it has neither Media Source Extensions nor HLS).");
      return;
    }
    this.#listen();
    void this.#guide.start().then(() => this.#open());
  }

  get source(): Source {
    return this;
  }

  stats(): PlayerStats {
    const video = this.#video;
    const quality = video.getVideoPlaybackQuality();
    const began = this.#phase === "playing" || this.#phase === "stalled";
    const left = (...ranges: TimeRanges[]): number | null => (began ? Math.max(0, ...ranges.map(endOf).map((end) => end - video.currentTime)) : null);
    return {
      phase: this.#phase,
      mime: HLS,
      position: video.currentTime,
      latency: left(video.seekable, video.buffered),
      buffer: left(video.buffered),
      target: null,
      rate: video.playbackRate,
      stalls: this.#stalls,
      stalledSeconds: this.#stalledSeconds,
      jumps: 0,
      reconnects: this.#reconnects,
      pop: this.#pop?.name ?? "",
      popBase: this.#pop?.base ?? "",
      carrier: "HLS",
      moves: Math.max(0, this.#pops - 1),
      rebuilds: 0,
      width: video.videoWidth,
      height: video.videoHeight,
      framesDecoded: quality.totalVideoFrames,
      framesDropped: quality.droppedVideoFrames,
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
    if (pop && this.#pop && pop.name !== this.#pop.name) this.#open(pop);
  }

  resume(): void {
    const live = endOf(this.#video.seekable) - this.#behind;
    if (live > this.#video.currentTime) this.#video.currentTime = live;
    void this.#starter.play();
  }

  setMuted(muted: boolean): void {
    this.#starter.setMuted(muted);
    if (this.#video.paused && this.#pop) this.resume();
  }

  retryNow(): void {
    if (this.#phase === "connecting" && !this.#pop) this.#open();
  }

  close(): void {
    clearInterval(this.#ticker);
    clearTimeout(this.#timer);
    this.#listeners.abort();
    this.#guide.close();
    this.#unload();
  }

  #open(pop = this.#guide.best(this.#tried)): void {
    clearTimeout(this.#timer);
    if (this.#listeners.signal.aborted) return;
    this.#pop = pop;
    if (!pop) {
      this.#tried = [];
      this.#timer = setTimeout(() => this.#open(), this.#retries.next());
      return;
    }
    this.#shown = { position: 0, at: seconds(), since: seconds() };
    this.#video.src = new URL(`hls/${encodeURIComponent(this.#stream)}/index.m3u8`, pop.base).href;
    void this.#starter.play();
  }

  #failed(why: string): void {
    if (!this.#pop) return;
    this.#guide.failed(this.#pop.name);
    this.#tried.push(this.#pop.name);
    this.#reconnects += 1;
    this.#unload();
    this.#enter("connecting", `${why} Trying again.`);
    this.#open();
  }

  #unload(): void {
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  #listen(): void {
    const on = (type: string, handler: () => void): void =>
      this.#video.addEventListener(type, handler, { signal: this.#listeners.signal });
    on("loadedmetadata", () => this.#enter("starting", "Starting"));
    on("playing", () => this.#playing());
    on("waiting", () => {
      const video = this.#video;
      // As in the other player: a seek is no stall, nor is a word that comes when there are data again.
      if (this.#phase !== "playing" || video.seeking || video.readyState >= video.HAVE_FUTURE_DATA) return;
      this.#stalls += 1;
      this.#enter("stalled", "Buffering");
    });
    on("pause", () => {
      this.#starter.paused = this.#phase === "playing";
      this.#show();
    });
    on("volumechange", () => this.#show());
    on("ended", () => this.#failed("The stream ended."));
    on("error", () => this.#failed(`The browser could not play it (${this.#video.error?.message || "it does not say why"}).`));
  }

  #playing(): void {
    if (this.#phase === "connecting" || this.#phase === "starting") {
      this.#behind = Math.max(0, endOf(this.#video.seekable) - this.#video.currentTime);
      this.#moved();
    }
    this.#starter.paused = false;
    this.#enter("playing", "");
  }

  #moved(): void {
    if (!this.#pop || this.#pop.name === this.#from?.name) return;
    this.#from = this.#pop;
    this.#pops += 1;
    this.#guide.moved(this.#pop);
  }

  #tick(): void {
    const [position, now] = [this.#video.currentTime, seconds()];
    if (this.#phase === "stalled") this.#stalledSeconds += TICK_MS / 1000;
    if (position !== this.#shown.position || this.#starter.paused || document.hidden) {
      this.#shown = { ...this.#shown, position, at: now };
      if (this.#phase === "playing" && now - this.#shown.since > GOOD) this.#good();
    } else if (now - this.#shown.at > FROZEN) this.#failed("Nothing comes.");
  }

  #good(): void {
    this.#tried = [];
    this.#retries.reset();
  }

  #enter(phase: PlayerView["phase"], notice: string): void {
    this.#phase = phase;
    this.#notice = notice;
    this.#show();
  }

  #show(): void {
    const { soundBlocked, paused } = this.#starter;
    this.#changed({ phase: this.#phase, notice: this.#notice, soundBlocked, paused });
  }
}

function endOf(ranges: TimeRanges): number {
  return ranges.length > 0 ? ranges.end(ranges.length - 1) : 0;
}

function seconds(): number {
  return performance.now() / 1000;
}
