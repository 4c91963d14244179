/** Sound: a decoder of the browser, and pieces played one after the other, in step with the pictures. */

import type { Fragment } from "../fmp4";
import type { Clock } from "./clock";
import { type DecoderFacts, soundConfig } from "./config";

/** Pieces follow each other without a seam as long as they are this close to where the clock wants them, in seconds. */
const DRIFT_MAX = 0.06;

export class Sound {
  readonly #context: AudioContext;
  readonly #gain: GainNode;
  readonly #clock: Clock;
  readonly #decoder: AudioDecoder;
  readonly #changed: () => void;
  /** Where the last piece ends, on the context's clock. */
  #end = 0;
  /** Pieces that were decoded, whether the browser lets them be heard or not. */
  decoded = 0;

  /** `changed`: the browser lets it be heard, or does so no more. */
  constructor(facts: DecoderFacts, clock: Clock, failed: (reason: string) => void, changed: () => void) {
    this.#clock = clock;
    this.#changed = changed;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#context.addEventListener("statechange", changed);
    this.#gain = this.#context.createGain();
    this.#gain.connect(this.#context.destination);
    this.#decoder = new AudioDecoder({ output: (data) => this.#play(data), error: (error) => failed(error.message) });
    this.#decoder.configure(soundConfig(facts));
  }

  /** The browser allows sound only after a tap. */
  get blocked(): boolean {
    return this.#context.state === "suspended";
  }

  set volume(volume: number) {
    this.#gain.gain.value = volume;
  }

  /** Called from a tap; `changed` is called once it has come to something. */
  resume(): void {
    void this.#context.resume();
  }

  add({ time, duration, payload }: Fragment): void {
    const [timestamp, length] = [Math.round(time * 1e6), Math.round(duration * 1e6)];
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, duration: length, data: payload }));
  }

  close(): void {
    if (this.#decoder.state !== "closed") this.#decoder.close();
    this.#context.removeEventListener("statechange", this.#changed);
    void this.#context.close();
  }

  #play(data: AudioData): void {
    this.decoded += 1;
    // Of sound, that it is decoded counts, and it may come later than the pictures of its time: a late picture is shown late,
    // late sound is a hole.
    const time = data.timestamp / 1e6;
    this.#clock.arrived(time, performance.now() / 1000);
    const due = this.#clock.due(time);
    if (due !== undefined && this.#context.state === "running") this.#schedule(data, due);
    data.close();
  }

  #schedule(data: AudioData, due: number): void {
    const buffer = this.#context.createBuffer(data.numberOfChannels, data.numberOfFrames, data.sampleRate);
    for (let channel = 0; channel < data.numberOfChannels; channel++) {
      data.copyTo(buffer.getChannelData(channel), { planeIndex: channel, format: "f32-planar" });
    }
    const now = this.#context.currentTime;
    const wanted = now + due - performance.now() / 1000;
    const start = Math.abs(wanted - this.#end) < DRIFT_MAX ? this.#end : wanted;
    if (start < now) return; // it came too late
    const source = new AudioBufferSourceNode(this.#context, { buffer });
    source.connect(this.#gain);
    source.start(start);
    this.#end = start + buffer.duration;
  }
}
