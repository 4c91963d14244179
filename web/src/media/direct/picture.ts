/** Pictures: a decoder of the browser, and a canvas on which each is drawn when it is due. */

import type { Fragment } from "../fmp4";
import type { Clock } from "./clock";
import { type DecoderFacts, pictureConfig } from "./config";

/** Decoded pictures that may wait; browsers have few buffers for them. */
const WAITING_MAX = 8;
/** More that wait to be decoded mean that the machine is too slow: the rest of the group is left out. */
const UNDECODED_MAX = 60;

export class Picture {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D | null;
  readonly #clock: Clock;
  readonly #decoder: VideoDecoder;
  #waiting: VideoFrame[] = [];
  #needKeyframe = true;
  #request = 0;
  /** Time of the picture that is shown, on the stream's timeline, and counters. */
  shown: number | undefined;
  drawn = 0;
  dropped = 0;

  constructor(canvas: HTMLCanvasElement, facts: DecoderFacts, clock: Clock, failed: (reason: string) => void) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false, desynchronized: true });
    this.#clock = clock;
    this.#decoder = new VideoDecoder({ output: (frame) => this.#decoded(frame), error: (error) => failed(error.message) });
    this.#decoder.configure(pictureConfig(facts));
    this.#request = requestAnimationFrame(() => this.#draw());
  }

  add(fragment: Fragment): void {
    if (fragment.entry) this.#needKeyframe = false;
    if (this.#decoder.decodeQueueSize > UNDECODED_MAX && !fragment.entry) this.#needKeyframe = true;
    if (this.#needKeyframe) {
      this.dropped += 1;
      return;
    }
    const { time, duration, payload, entry } = fragment;
    const type = entry ? "key" : "delta";
    this.#decoder.decode(
      new EncodedVideoChunk({ type, timestamp: micros(time), duration: micros(duration), data: payload }),
    );
  }

  close(): void {
    cancelAnimationFrame(this.#request);
    if (this.#decoder.state !== "closed") this.#decoder.close();
    for (const frame of this.#waiting.splice(0)) frame.close();
  }

  #decoded(frame: VideoFrame): void {
    this.#waiting.push(frame);
    while (this.#waiting.length > WAITING_MAX) {
      this.#waiting.shift()?.close();
      this.dropped += 1;
    }
  }

  /** Draws the newest picture that is due; those before it came too late for this screen. */
  #draw(): void {
    this.#request = requestAnimationFrame(() => this.#draw());
    const due = this.#clock.time(performance.now() / 1000);
    if (due === undefined) return;
    let newest: VideoFrame | undefined;
    while (this.#waiting[0] && this.#waiting[0].timestamp / 1e6 <= due) {
      if (newest) this.dropped += 1;
      newest?.close();
      newest = this.#waiting.shift();
    }
    if (!newest) return;
    const { displayWidth: width, displayHeight: height } = newest;
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    this.#context?.drawImage(newest, 0, 0);
    this.shown = newest.timestamp / 1e6;
    this.drawn += 1;
    newest.close();
  }
}

function micros(seconds: number): number {
  return Math.round(seconds * 1e6);
}
