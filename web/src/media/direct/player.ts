/**
 * The player with the least delay: frames are decoded and shown as they come (WebCodecs), without the buffer of a
 * `<video>`. What it wins, some tens of milliseconds instead of some hundreds, it has not to spare when something fails.
 */

import { Backoff } from "../../backoff";
import { codecWords } from "../../format";
import { readFragments, readInit, type Tracks } from "../fmp4";
import type { Playing, PlayerStats, PlayerView } from "../playing";
import { Supply } from "../supply";
import { Clock } from "./clock";
import { type DecoderFacts, isPicture, readFacts, undecodable } from "./config";
import { Picture } from "./picture";
import { Sound } from "./sound";

/** Nothing new for this long is a stall, in seconds. */
const STALL = 0.4;
const TICK_MS = 100;
/** Pauses before decoders are started again. Those that went well for so many seconds fail for another reason next time. */
const RETRY_MS_FIRST = 100;
const RETRY_MS_MAX = 8000;
const GOOD = 10;

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
  #facts: readonly DecoderFacts[] = [];
  #picture: Picture | undefined;
  #sound: Sound | undefined;
  #phase: PlayerView["phase"] = "connecting";
  #notice = "Connecting";
  #mime = "";
  #edge = 0;
  #seen = { count: 0, at: 0 };
  readonly #retries = new Backoff(RETRY_MS_FIRST, RETRY_MS_MAX);
  #failedAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
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
    const shown = this.#position();
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
      width: this.#picture ? this.#canvas.width : 0,
      height: this.#picture ? this.#canvas.height : 0,
      framesDecoded: this.#picture?.drawn ?? 0,
      framesDropped: this.#picture?.dropped ?? 0,
    };
  }

  /** Of the picture that is shown; where there are none, of the sound that is due. */
  #position(): number | undefined {
    if (this.#picture) return this.#picture.shown;
    return this.#sound && this.#clock.time(performance.now() / 1000);
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
    clearTimeout(this.#timer);
    this.#listeners.abort();
    this.source.close();
    this.#end();
  }

  #begin(mime: string, bytes: Uint8Array<ArrayBuffer>, known: boolean): void {
    clearTimeout(this.#timer);
    this.#end();
    if (!known) this.#clock.reset();
    this.#mime = mime;
    try {
      this.#tracks = readInit(bytes);
      this.#facts = readFacts(bytes, mime, this.#tracks);
      for (const facts of this.#facts) {
        if (isPicture(facts)) this.#picture = new Picture(this.#canvas, facts, this.#clock, (why) => this.#failed(why));
        else this.#sound = new Sound(facts, this.#clock, (why) => this.#failed(why), () => this.#follow());
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

  /** A decoder gave up: everything begins anew, with the newest group, unless the browser has no decoder for it. */
  #failed(reason: string): void {
    this.#end();
    this.#tracks = undefined;
    const facts = this.#facts;
    void undecodable(facts).then((missing) => {
      // Whatever came since is another matter, and so is the other decoder of a stream that is being started again.
      if (this.#listeners.signal.aborted || facts !== this.#facts) return;
      this.#facts = [];
      if (missing.length > 0) this.#unsupported(`This browser cannot decode ${missing.map(codecWords).join(" and ")} without delay.`);
      else this.#restart(reason);
    });
  }

  #restart(reason: string): void {
    console.warn(`levada: starting the decoders again: ${reason}`);
    this.#rebuilds += 1;
    const now = performance.now() / 1000;
    if (now - this.#failedAt > GOOD) this.#retries.reset();
    this.#failedAt = now;
    this.#timer = setTimeout(() => this.source.restart(), this.#retries.next());
  }

  #unsupported(notice: string): void {
    this.source.close();
    this.#say("unsupported", notice);
  }

  #end(): void {
    this.#picture?.close();
    this.#sound?.close();
    this.#picture = undefined;
    this.#sound = undefined;
  }

  #tick(): void {
    const now = performance.now() / 1000;
    const count = this.#picture?.drawn ?? this.#sound?.decoded ?? 0;
    if (count !== 0 && count !== this.#seen.count) {
      this.#seen = { count, at: now };
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
