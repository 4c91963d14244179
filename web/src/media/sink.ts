/**
 * The element's buffer: one MediaSource with one SourceBuffer for all tracks (W3C Media Source Extensions), fed from a
 * bounded queue. Anything it cannot mend itself it reports once, and the player builds a new sink.
 */

import { readFragments, readInit } from "./fmp4";
import type { Range } from "./pilot";
import { AppendQueue, type Init } from "./queue";
import { Timeline } from "./timeline";

export interface SinkEvents {
  /** This sink is of no more use. */
  failed(reason: string): void;
  /** What follows stands elsewhere on the element's timeline. */
  rebased(): void;
}

/** Seconds of played media that are kept for the decoder and for a look back. */
const KEEP_SECONDS = 20;
/** Media are removed in steps of at least this many seconds: each removal blocks appends for a moment. */
const TRIM_SECONDS = 5;
/** While paused the buffer ahead grows no longer than this; the oldest goes. */
const AHEAD_SECONDS_MAX = 60;
/** Bytes joined into one append. */
const BATCH_BYTES_MAX = 1024 * 1024;

type MediaSourceClass = typeof MediaSource;

/** `ManagedMediaSource` is all that Safari on the iPhone has; elsewhere the plain one behaves more predictably. */
export function mediaSourceClass(): MediaSourceClass | undefined {
  const scope = globalThis as { MediaSource?: MediaSourceClass; ManagedMediaSource?: MediaSourceClass };
  return scope.MediaSource ?? scope.ManagedMediaSource;
}

export class Sink {
  readonly #video: HTMLVideoElement;
  readonly #events: SinkEvents;
  readonly #source: MediaSource;
  readonly #url: string;
  readonly #queue = new AppendQueue();
  readonly #timeline = new Timeline();
  #buffer: SourceBuffer | undefined;
  /** Parameters that arrivals are read with, and those that the SourceBuffer has. They differ while inits are queued. */
  #incoming: Init | undefined;
  #current: Init | undefined;
  /** A batch that the full browser buffer refused, to be tried again once there is room. */
  #refused: Uint8Array<ArrayBuffer> | undefined;
  #edge = 0;
  #dead = false;

  constructor(video: HTMLVideoElement, MediaSourceClass: MediaSourceClass, events: SinkEvents) {
    this.#video = video;
    this.#events = events;
    this.#source = new MediaSourceClass();
    this.#source.addEventListener("sourceopen", () => this.#pump());
    // Safari opens a managed source only where remote playback is ruled out.
    video.disableRemotePlayback = true;
    this.#url = URL.createObjectURL(this.#source);
    video.src = this.#url;
  }

  /** End of the newest appended frame on the element's timeline, in seconds. */
  get edge(): number {
    return this.#edge;
  }

  /** Fragments that were left out because the browser did not take them in time. */
  get dropped(): number {
    return this.#queue.dropped;
  }

  ranges(): Range[] {
    return this.#buffer && !this.#dead ? rangesOf(this.#buffer.buffered) : [];
  }

  init(mime: string, bytes: Uint8Array<ArrayBuffer>, resumed: boolean): void {
    this.#try(() => {
      this.#incoming = { mime, tracks: readInit(bytes), resumed, bytes };
      this.#queue.pushInit(this.#incoming);
    });
    this.#pump();
  }

  media(bytes: Uint8Array<ArrayBuffer>): void {
    this.#try(() => {
      if (!this.#incoming) return;
      for (const fragment of readFragments(bytes, this.#incoming.tracks)) {
        this.#queue.pushFragment(fragment);
      }
    });
    this.#pump();
  }

  /** Removes what was played long ago. */
  trim(): void {
    const buffer = this.#buffer;
    const first = this.ranges()[0];
    if (!buffer || buffer.updating || !first || this.#source.readyState !== "open") return;
    const keepFrom = Math.max(this.#video.currentTime - KEEP_SECONDS, this.#edge - AHEAD_SECONDS_MAX);
    if (keepFrom - first.start > TRIM_SECONDS) this.#try(() => buffer.remove(0, keepFrom));
  }

  close(): void {
    this.#dead = true;
    this.#queue.clear();
    URL.revokeObjectURL(this.#url);
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  /** Does the next thing that the SourceBuffer is free to do. */
  #pump(): void {
    if (this.#dead || this.#source.readyState !== "open" || this.#buffer?.updating) return;
    this.#try(() => {
      if (this.#buffer && this.#refused) {
        const bytes = this.#refused;
        this.#refused = undefined;
        this.#give(this.#buffer, bytes);
        return;
      }
      const init = this.#queue.takeInit();
      if (init) this.#begin(init);
      else this.#append();
    });
  }

  #begin(init: Init): void {
    if (!this.#buffer) {
      const buffer = this.#source.addSourceBuffer(init.mime);
      buffer.mode = "segments";
      buffer.addEventListener("updateend", () => this.#pump());
      buffer.addEventListener("error", () => this.#fail("the browser could not read the stream"));
      this.#buffer = buffer;
    } else if (this.#current && kinds(this.#current) !== kinds(init)) {
      // A SourceBuffer's set of tracks is fixed by its first init segment (MSE, 3.5.8).
      this.#fail("the stream's tracks changed");
      return;
    } else if (this.#current?.mime !== init.mime) {
      this.#buffer.changeType(init.mime);
    }
    this.#current = init;
    this.#timeline.restart(init.resumed);
    this.#buffer.appendBuffer(init.bytes);
  }

  /** Appends as many fragments as belong together; a jump in time ends the batch, because the offset must change. */
  #append(): void {
    const buffer = this.#buffer;
    if (!buffer) return;
    const batch: Uint8Array<ArrayBuffer>[] = [];
    let size = 0;
    for (;;) {
      const fragment = this.#queue.peekFragment();
      if (!fragment || size >= BATCH_BYTES_MAX) break;
      const placement = this.#timeline.classify(fragment);
      if (placement === "rebase") {
        if (batch.length > 0) break;
        this.#rebase(buffer, () => this.#timeline.rebase(fragment, this.ranges().at(-1)?.end));
      }
      this.#queue.takeFragment();
      if (placement === "drop") continue;
      const end = this.#timeline.appended(fragment);
      if (fragment.track.lead) this.#edge = end;
      batch.push(fragment.bytes);
      size += fragment.bytes.byteLength;
    }
    if (batch.length > 0) this.#give(buffer, join(batch, size));
  }

  #give(buffer: SourceBuffer, bytes: Uint8Array<ArrayBuffer>): void {
    try {
      buffer.appendBuffer(bytes);
    } catch (error) {
      if (!isQuota(error)) throw error;
      this.#makeRoom(buffer, bytes);
    }
  }

  #rebase(buffer: SourceBuffer, place: () => void): void {
    const before = this.#timeline.offset;
    place();
    if (this.#timeline.offset === before) return;
    buffer.timestampOffset = this.#timeline.offset;
    this.#events.rebased();
  }

  /** The browser's buffer is full: drop all that was played, then try the same bytes again. */
  #makeRoom(buffer: SourceBuffer, bytes: Uint8Array<ArrayBuffer>): void {
    const until = this.#video.currentTime - 1;
    const first = this.ranges()[0];
    if (!first || until <= first.start) {
      this.#fail("the browser's buffer is full");
      return;
    }
    this.#refused = bytes;
    buffer.remove(0, until);
  }

  #try(action: () => void): void {
    if (this.#dead) return;
    try {
      action();
    } catch (error) {
      this.#fail(error instanceof Error ? error.message : String(error));
    }
  }

  #fail(reason: string): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#events.failed(reason);
  }
}

export function rangesOf(list: TimeRanges): Range[] {
  return Array.from({ length: list.length }, (_, index) => ({ start: list.start(index), end: list.end(index) }));
}

function kinds(init: Init): string {
  return [...init.tracks.values()]
    .map((track) => track.kind)
    .sort()
    .join();
}

function join(parts: readonly Uint8Array<ArrayBuffer>[], size: number): Uint8Array<ArrayBuffer> {
  const only = parts[0];
  if (only && parts.length === 1) return only;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

function isQuota(error: unknown): boolean {
  return error instanceof Error && error.name === "QuotaExceededError";
}
