/**
 * The player with the least delay: frames are decoded and shown as they come (WebCodecs), without the buffer of a
 * `<video>`. What it wins, some tens of milliseconds instead of some hundreds, it has not to spare when something fails.
 */

import { readFragments, readInit, type Tracks } from "../fmp4";
import type { Playing, PlayerStats, PlayerView } from "../playing";
import { Supply } from "../supply";
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
  readonly source: Supply;
  readonly #canvas: HTMLCanvasElement;
  /** Holds the volume that people set; it shows nothing. */
  readonly #video: HTMLVideoElement;
  readonly #changed: (view: PlayerView) => void;
  readonly #clock = new Clock();
  readonly #listeners = new AbortController();
  readonly #ticker: number;
  #tracks: Tracks | undefined;
  #picture: Picture | undefined;
  #sound: Sound | undefined;
  #phase: PlayerView["phase"] = "connecting";
  #notice = "Connecting";
  #mime = "";
  #edge = 0;
  #seen = { drawn: 0, at: 0 };
  #stalls = 0;
  #stalledSeconds = 0;
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
    video.addEventListener("volumechange", () => this.#follow(), { signal: this.#listeners.signal });
    this.#ticker = window.setInterval(() => this.#tick(), TICK_MS);
    this.source = new Supply(stream, home, {
      init: (mime, bytes, known) => this.#begin(mime, bytes, known),
      media: (bytes) => this.#media(bytes),
      waiting: () => this.#say(this.#phase, "No node has a path to this stream right now. Waiting."),
      error: (message) => this.#say(this.#phase, message),
      lost: () => this.#say(this.#phase, "Connection lost. Reconnecting."),
    });
  }

  stats(): PlayerStats {
    const shown = this.#picture?.shown;
    const buffer = shown === undefined ? null : Math.max(0, this.#edge - shown);
    return {
      ...this.source.stats(),
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
      rebuilds: this.#rebuilds,
      width: this.#canvas.width,
      height: this.#canvas.height,
      framesDecoded: this.#picture?.drawn ?? 0,
      framesDropped: this.#picture?.dropped ?? 0,
    };
  }

  resume(): void {
    this.#sound?.resume();
  }

  setMuted(muted: boolean): void {
    this.#video.muted = muted;
    this.#sound?.resume();
    this.#follow();
  }

  close(): void {
    window.clearInterval(this.#ticker);
    this.#listeners.abort();
    this.source.close();
    this.#end();
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
    setTimeout(() => this.source.restart());
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
