/**
 * The bounded queue between the socket and the SourceBuffer. It holds init segments and fragments in order. When it is
 * full the oldest media go, up to the next keyframe, so that what remains can be decoded; init segments stay.
 */

import type { Fragment, Tracks } from "./fmp4";

/** The start of a timeline: what follows is decoded with these parameters. */
export interface Init {
  readonly mime: string;
  readonly tracks: Tracks;
  /** The first of a connection, so that the timeline may be one that was played before. */
  readonly resumed: boolean;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

type Item = { readonly init: Init } | { readonly fragment: Fragment };

/** Default bound: about 10 s at 25 Mbit/s. */
const BYTES_MAX = 32 * 1024 * 1024;

export class AppendQueue {
  readonly #bytesMax: number;
  #items: Item[] = [];
  #bytes = 0;
  #dropped = 0;
  /** Media are refused until a keyframe comes: what they refer to was dropped. */
  #needKeyframe = false;

  constructor(bytesMax = BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get length(): number {
    return this.#items.length;
  }

  /** Fragments dropped so far because the queue was full. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Adds an init segment. Inits that no fragment follows are replaced, so their number is bounded too. */
  pushInit(init: Init): void {
    const last = this.#items[this.#items.length - 1];
    if (last && "init" in last) this.#items.pop();
    this.#items.push({ init });
    this.#needKeyframe = false;
  }

  pushFragment(fragment: Fragment): void {
    if (this.#needKeyframe) {
      if (!fragment.entry) {
        this.#dropped += 1;
        return;
      }
      this.#needKeyframe = false;
    }
    this.#items.push({ fragment });
    this.#bytes += fragment.bytes.byteLength;
    if (this.#bytes > this.#bytesMax) this.#shed();
  }

  /** Takes the init at the front, if one is there. */
  takeInit(): Init | undefined {
    const front = this.#items[0];
    if (!front || !("init" in front)) return undefined;
    this.#items.shift();
    return front.init;
  }

  /** Looks at the fragment at the front, if one is there. */
  peekFragment(): Fragment | undefined {
    const front = this.#items[0];
    return front && "fragment" in front ? front.fragment : undefined;
  }

  takeFragment(): Fragment | undefined {
    const fragment = this.peekFragment();
    if (!fragment) return undefined;
    this.#items.shift();
    this.#bytes -= fragment.bytes.byteLength;
    return fragment;
  }

  clear(): void {
    this.#items = [];
    this.#bytes = 0;
    this.#needKeyframe = false;
  }

  /** Drops the oldest media until at most half the bound is left and the rest starts where decoding can start. */
  #shed(): void {
    const kept: Item[] = [];
    let cut = true;
    for (const item of this.#items) {
      if ("init" in item) {
        // Only the newest of several inits without media between them counts.
        if (kept.length > 0 && "init" in (kept[kept.length - 1] as Item)) kept.pop();
        kept.push(item);
        continue;
      }
      if (cut && this.#bytes <= this.#bytesMax / 2 && item.fragment.entry) cut = false;
      if (cut) {
        this.#bytes -= item.fragment.bytes.byteLength;
        this.#dropped += 1;
      } else {
        kept.push(item);
      }
    }
    this.#items = kept;
    this.#needKeyframe = cut;
  }
}
