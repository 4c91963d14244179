/**
 * The player with the least delay: frames are decoded and shown as they come (WebCodecs), without the buffer of a
 * `<video>`. What it wins, some tens of milliseconds instead of some hundreds, it has not to spare when something fails.
 */

import { dialer } from "../dial";
import { Feed, type Pop } from "../feed";
import { readFragments, readInit, type Tracks } from "../fmp4";
import { PopGuide, type PopView } from "../guide";
import type { Playing, PlayerStats, PlayerView } from "../playing";
import { Clock } from "./clock";
import { isPicture, readFacts } from "./config";
import { Picture } from "./picture";
import { Sound } from "./sound";

/** No picture for this long is a stall, in seconds. */
const STALL = 0.4;
const TICK_MS = 100;

/** Whether this browser has what it takes. */
export function canPlayDirectly(): boolean {
  return "VideoDecoder" in globalThis && "AudioDecoder" in globalThis;
}

export class DirectPlayer implements Playing {
  readonly #canvas: HTMLCanvasElement;
  /** Holds the volume that people set; it shows nothing. */
  readonly #video: HTMLVideoElement;
  readonly #changed: (view: PlayerView) => void;
  readonly #guide: PopGuide;
  readonly #clock = new Clock();
  readonly #listeners = new AbortController();
  readonly #ticker: number;
  #feed: Feed | undefined;
  #tracks: Tracks | undefined;
  #picture: Picture | undefined;
  #sound: Sound | undefined;
  #phase: PlayerView["phase"] = "connecting";
  #notice = "Connecting";
  #mime = "";
  #pop: Pop | undefined;
  #pops = 0;
  #edge = 0;
  #seen = { drawn: 0, at: 0 };
  #stalls = 0;
  #stalledSeconds = 0;
  #reconnects = 0;
  #rebuilds = 0;

  constructor(
    stream: string,
    home: string,
    video: HTMLVideoElement,
    canvas: HTMLCanvasElement,
    changed: (view: PlayerView) => void,
  ) {
    this.#video = video;
    this.#canvas = canvas;
    this.#changed = changed;
    this.#guide = new PopGuide(stream, home);
    const signal = this.#listeners.signal;
    video.addEventListener("volumechange", () => this.#follow(), { signal });
    this.#ticker = window.setInterval(() => this.#tick(), TICK_MS);
    void this.#guide.start().then(() => {
      if (!signal.aborted) this.#feed = this.#open(stream);
    });
  }

  stats(): PlayerStats {
    const shown = this.#picture?.shown;
    const buffer = shown === undefined ? null : Math.max(0, this.#edge - shown);
    return {
      phase: this.#phase,
      mime: this.#mime,
      position: shown ?? 0,
      latency: buffer,
      buffer,
      target: this.#clock.delay,
      rate: 1,
      stalls: this.#stalls,
      stalledSeconds: this.#stalledSeconds,
      jumps: 0,
      reconnects: this.#reconnects,
      pop: this.#pop?.name ?? "",
      popBase: this.#pop?.base ?? "",
      carrier: this.#feed?.carrier ?? "",
      moves: Math.max(0, this.#pops - 1),
      rebuilds: this.#rebuilds,
      width: this.#canvas.width,
      height: this.#canvas.height,
      framesDecoded: this.#picture?.drawn ?? 0,
      framesDropped: this.#picture?.dropped ?? 0,
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

  resume(): void {
    this.#sound?.resume();
  }

  setMuted(muted: boolean): void {
    this.#video.muted = muted;
    this.#sound?.resume();
    this.#follow();
  }

  retryNow(): void {
    this.#feed?.retryNow();
  }

  close(): void {
    window.clearInterval(this.#ticker);
    this.#listeners.abort();
    this.#guide.close();
    this.#feed?.close();
    this.#end();
  }

  #open(stream: string): Feed {
    const events = {
      init: (mime: string, bytes: Uint8Array<ArrayBuffer>, known: boolean) => this.#begin(mime, bytes, known),
      media: (bytes: Uint8Array<ArrayBuffer>) => this.#media(bytes),
      waiting: () => this.#say(this.#phase, "No node has a path to this stream right now. Waiting."),
      error: (message: string) => this.#say(this.#phase, message),
      lost: () => {
        this.#reconnects += 1;
        this.#say(this.#phase, "Connection lost. Reconnecting.");
      },
      moved: (pop: Pop) => {
        this.#pop = pop;
        this.#pops += 1;
      },
    };
    return new Feed(this.#guide, events, dialer.to(stream));
  }

  #begin(mime: string, bytes: Uint8Array<ArrayBuffer>, known: boolean): void {
    this.#end();
    if (!known) this.#clock.reset();
    this.#mime = mime;
    try {
      this.#tracks = readInit(bytes);
      for (const facts of readFacts(bytes, mime, this.#tracks)) {
        if (isPicture(facts)) this.#picture = new Picture(this.#canvas, facts, this.#clock, (why) => this.#failed(why));
        else this.#sound = new Sound(facts, this.#clock, (why) => this.#failed(why));
      }
    } catch (error) {
      this.#failed(error instanceof Error ? error.message : String(error));
    }
    this.#follow();
    if (this.#phase === "connecting") this.#say("starting", "Starting");
  }

  #media(bytes: Uint8Array<ArrayBuffer>): void {
    if (!this.#tracks) return;
    const now = performance.now() / 1000;
    try {
      for (const fragment of readFragments(bytes, this.#tracks)) {
        if (fragment.track.lead) {
          this.#clock.arrived(fragment.time, now);
          this.#edge = fragment.time;
        }
        if (fragment.track.kind === "video") this.#picture?.add(fragment);
        else this.#sound?.add(fragment);
      }
    } catch (error) {
      this.#failed(error instanceof Error ? error.message : String(error));
    }
  }

  /** A decoder gave up: everything begins anew, with the newest group. */
  #failed(reason: string): void {
    console.warn(`levada: starting the decoders again: ${reason}`);
    this.#rebuilds += 1;
    this.#end();
    this.#tracks = undefined;
    // Not from within a decoder's or the feed's own call.
    setTimeout(() => this.#feed?.restart());
  }

  #end(): void {
    this.#picture?.close();
    this.#sound?.close();
    this.#picture = undefined;
    this.#sound = undefined;
  }

  #tick(): void {
    const now = performance.now() / 1000;
    const drawn = this.#picture?.drawn ?? 0;
    if (drawn !== this.#seen.drawn) {
      this.#seen = { drawn, at: now };
      if (this.#phase !== "playing") this.#say("playing", "");
    } else if (this.#phase === "playing" && now - this.#seen.at > STALL && !document.hidden) {
      this.#stalls += 1;
      this.#say("stalled", "Buffering");
    } else if (this.#phase === "stalled") {
      this.#stalledSeconds += TICK_MS / 1000;
    }
  }

  #follow(): void {
    if (this.#sound) this.#sound.volume = this.#video.muted ? 0 : this.#video.volume;
    this.#say(this.#phase, this.#notice);
  }

  #say(phase: PlayerView["phase"], notice: string): void {
    this.#phase = phase;
    this.#notice = notice;
    const soundBlocked = !this.#video.muted && this.#sound?.blocked === true;
    this.#changed({ phase, notice, soundBlocked, paused: false });
  }
}
