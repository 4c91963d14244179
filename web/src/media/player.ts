/**
 * One live player: joins the supply, the sink and the pilot around a `<video>`, keeps count of what went wrong, and mends
 * it. It knows nothing of the page around it.
 *
 *     connecting -> starting -> playing <-> stalled      (a lost feed or a broken sink leads back to connecting)
 *                       \-> unsupported                  (no decoder: only another stream or browser helps)
 */

import { codecWords, codecsOf } from "../format";
import { LiveEdge, Pilot } from "./pilot";
import type { PlayerStats, PlayerView, Playing } from "./playing";
import { mediaSourceClass, Sink } from "./sink";
import { Starter } from "./starter";
import { Supply } from "./supply";

const TICK_MS = 100;
/** Once enough is buffered, the rest of the first burst is awaited this long before the start is chosen. */
const SETTLE = 0.15;
/** A picture that stands still this long although there are data is nudged, and after as long again rebuilt. */
const FROZEN = 3;

export class Player implements Playing {
  readonly source: Supply;
  readonly #video: HTMLVideoElement;
  readonly #changed: (view: PlayerView) => void;
  readonly #ticker: number;
  readonly #listeners = new AbortController();
  readonly #starter: Starter;
  #sink: Sink | undefined;
  readonly #pilot: Pilot;
  #live = new LiveEdge();
  #mime = "";

  #phase: PlayerView["phase"] = "connecting";
  #notice = "Connecting";
  /** Playback has begun with this sink. */
  #started = false;
  #settledAt: number | undefined;
  #dry = false;
  #drySince = 0;
  #shown = { position: 0, at: 0, nudged: false };

  #stalls = 0;
  #stalledSeconds = 0;
  #jumps = 0;
  #rebuilds = 0;

  /** `home` is the base URL of the node that served the page, `target` the distance from live to hold, in seconds. */
  constructor(
    stream: string,
    home: string,
    video: HTMLVideoElement,
    target: number,
    changed: (view: PlayerView) => void,
  ) {
    this.#video = video;
    this.#pilot = new Pilot(target);
    this.#changed = changed;
    this.#starter = new Starter(video, () => this.#show());
    this.#listen();
    this.#ticker = window.setInterval(() => this.#tick(), TICK_MS);
    this.source = new Supply(stream, home, {
      init: (mime, bytes, known) => this.#init(mime, bytes, known),
      media: (bytes) => this.#media(bytes),
      waiting: () => this.#say("No node has a path to this stream right now. Waiting."),
      error: (message) => this.#say(message),
      lost: () => this.#lost(),
    });
  }

  stats(): PlayerStats {
    const video = this.#video;
    const quality = video.getVideoPlaybackQuality();
    const now = seconds();
    const edge = this.#sink?.edge ?? 0;
    return {
      ...this.source.stats(),
      phase: this.#phase,
      mime: this.#mime,
      position: video.currentTime,
      latency: this.#started ? (this.#live.behind(now, video.currentTime) ?? null) : null,
      buffer: this.#started ? Math.max(0, edge - video.currentTime) : null,
      target: this.#pilot.target,
      rate: video.playbackRate,
      stalls: this.#stalls,
      stalledSeconds: this.#stalledSeconds + (this.#dry ? now - this.#drySince : 0),
      jumps: this.#jumps,
      rebuilds: this.#rebuilds,
      width: video.videoWidth,
      height: video.videoHeight,
      framesDecoded: quality.totalVideoFrames,
      framesDropped: quality.droppedVideoFrames,
    };
  }

  resume(): void {
    const spot = this.#sink && this.#pilot.begin(this.#sink.ranges().slice(-1), this.#sink.edge);
    if (spot !== undefined && spot > this.#video.currentTime) this.#video.currentTime = spot;
    void this.#starter.play();
  }

  setMuted(muted: boolean): void {
    this.#starter.setMuted(muted);
    if (this.#started && this.#video.paused) this.resume();
  }

  close(): void {
    window.clearInterval(this.#ticker);
    this.#listeners.abort();
    this.source.close();
    this.#sink?.close();
    this.#sink = undefined;
  }

  // Supply

  #init(mime: string, bytes: Uint8Array<ArrayBuffer>, known: boolean): void {
    const MediaSourceClass = mediaSourceClass();
    if (!MediaSourceClass) return;
    this.#mime = mime;
    if (!MediaSourceClass.isTypeSupported(mime)) {
      const missing = codecsOf(mime)
        .filter((code) => !MediaSourceClass.isTypeSupported(`video/mp4; codecs="${code}"`))
        .map(codecWords);
      this.#unsupported(`This browser cannot decode ${missing.join(" and ") || mime}.`);
      return;
    }
    if (!this.#sink) {
      this.#sink = new Sink(this.#video, MediaSourceClass, {
        failed: (reason) => this.#rebuild(reason),
        rebased: () => this.#live.reset(),
      });
      this.#started = false;
      this.#settledAt = undefined;
    }
    if (!this.#started) this.#enter("starting", "Starting");
    this.#sink.init(mime, bytes, known);
  }

  #media(bytes: Uint8Array<ArrayBuffer>): void {
    const sink = this.#sink;
    if (!sink) return;
    sink.media(bytes);
    this.#live.update(seconds(), sink.edge);
    this.#notice = this.#started ? "Buffering" : "Starting";
  }

  #lost(): void {
    // The node's own words, if it had any, explain more than this.
    if (this.#notice === "Buffering" || this.#notice === "Starting" || this.#notice === "Connecting") {
      this.#say("Connection lost. Reconnecting.");
    }
  }

  /** Nothing can be done with this sink: start over with a fresh element state and a fresh feed. */
  #rebuild(reason: string): void {
    console.warn(`levada: rebuilding the player: ${reason}`);
    this.#rebuilds += 1;
    this.#endStall();
    this.#sink?.close();
    this.#sink = undefined;
    this.#started = false;
    this.#live.reset();
    this.#enter("connecting", "Restarting the player");
    this.source.restart();
  }

  #unsupported(notice: string): void {
    this.source.close();
    this.#sink?.close();
    this.#sink = undefined;
    this.#started = false;
    this.#enter("unsupported", notice);
  }

  // Playback

  #tick(): void {
    const sink = this.#sink;
    if (!sink) return;
    const now = seconds();
    sink.trim();
    if (!this.#started) {
      this.#maybeStart(sink, now);
      return;
    }
    if (this.#video.paused || this.#video.seeking) {
      this.#shown = { position: this.#video.currentTime, at: now, nudged: false };
      return;
    }
    const ranges = sink.ranges();
    const output = this.#pilot.step({
      now,
      position: this.#video.currentTime,
      ranges,
      edge: sink.edge,
      dry: this.#dry,
    });
    if (output.jump) {
      this.#jumps += 1;
      // Times that went back without a sign were another timeline: "live" is elsewhere now.
      if (output.jump.why === "ahead") this.#live.reset();
      this.#video.currentTime = output.jump.to;
    }
    if (this.#video.playbackRate !== output.rate) this.#video.playbackRate = output.rate;
    this.#thaw(now, sink);
  }

  #maybeStart(sink: Sink, now: number): void {
    const ranges = sink.ranges();
    if (this.#pilot.begin(ranges, sink.edge) === undefined) return;
    this.#settledAt ??= now + SETTLE;
    const spot = now >= this.#settledAt ? this.#pilot.begin(ranges, sink.edge) : undefined;
    if (spot === undefined) return;
    this.#started = true;
    this.#shown = { position: spot, at: now, nudged: false };
    this.#video.currentTime = spot;
    void this.#starter.play();
  }

  /** Mends a decoder that stands still in front of a full buffer. */
  #thaw(now: number, sink: Sink): void {
    const position = this.#video.currentTime;
    if (position !== this.#shown.position || sink.edge - position < 0.5 || document.hidden) {
      this.#shown = { position, at: now, nudged: false };
    } else if (now - this.#shown.at > 2 * FROZEN) {
      this.#rebuild("the picture froze");
    } else if (now - this.#shown.at > FROZEN && !this.#shown.nudged) {
      this.#shown.nudged = true;
      this.#jumps += 1;
      this.#video.currentTime = position + 0.1;
    }
  }

  #listen(): void {
    const on = (type: string, handler: () => void): void =>
      this.#video.addEventListener(type, handler, { signal: this.#listeners.signal });
    on("playing", () => {
      this.#endStall();
      this.#starter.paused = false;
      this.#enter("playing", this.#notice);
    });
    on("waiting", () => this.#beginStall());
    on("pause", () => {
      this.#starter.paused = this.#started;
      this.#show();
    });
    on("volumechange", () => this.#show());
    on("error", () => {
      if (this.#sink) this.#rebuild(this.#video.error?.message || "the browser gave up decoding");
    });
    document.addEventListener("visibilitychange", () => this.#visible(), { signal: this.#listeners.signal });
  }

  /** Phones pause what is out of sight; go on at the live edge when it is seen again. */
  #visible(): void {
    if (!document.hidden && this.#started && this.#video.paused) this.resume();
  }

  #beginStall(): void {
    const video = this.#video;
    if (this.#phase !== "playing" || video.paused || this.#dry) return;
    // A seek makes the element wait too, and the event may come late, when there are data again: neither is a stall.
    if (video.seeking || video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA) return;
    this.#dry = true;
    this.#drySince = seconds();
    this.#stalls += 1;
    this.#enter("stalled", this.#notice);
  }

  #endStall(): void {
    if (!this.#dry) return;
    this.#dry = false;
    const now = seconds();
    this.#stalledSeconds += now - this.#drySince;
    this.#pilot.stalled(now, now - this.#drySince);
  }

  // What people see

  #enter(phase: PlayerView["phase"], notice: string): void {
    this.#phase = phase;
    this.#say(notice);
  }

  #say(notice: string): void {
    this.#notice = notice;
    this.#show();
  }

  #show(): void {
    this.#changed({
      phase: this.#phase,
      notice: this.#notice,
      soundBlocked: this.#starter.soundBlocked,
      paused: this.#starter.paused,
    });
  }
}

function seconds(): number {
  return performance.now() / 1000;
}
