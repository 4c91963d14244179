/**
 * Reads the few fields of fragmented MP4 (ISO/IEC 14496-12) that a live player needs: which tracks there are, and for
 * every fragment its track, its place in time and whether decoding can start there. Samples are never touched.
 */

/** What the init segment (`moov`) says of one track. */
export interface Track {
  readonly id: number;
  readonly kind: "video" | "audio" | "other";
  /** Ticks per second of this track's times. */
  readonly timescale: number;
  /** Defaults of `trex`, used where neither `tfhd` nor `trun` says otherwise. */
  readonly defaultDuration: number;
  readonly defaultFlags: number;
  /** The track that places the others in time: the first video track, or the first track where there is no video. */
  readonly lead: boolean;
}

export type Tracks = ReadonlyMap<number, Track>;

/** One `moof` with the `mdat` that follows it. Times are in seconds of the stream's own timeline. */
export interface Fragment {
  readonly track: Track;
  /** Decode time of the first sample (`tfdt`). */
  readonly decodeTime: number;
  /** Presentation time of the first sample. */
  readonly time: number;
  readonly duration: number;
  /** A decoder that knows nothing yet can start here: a keyframe of the leading track. */
  readonly entry: boolean;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The samples alone, one after the other; nodes put one in each fragment. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** The bytes are not the MP4 that was expected; the message says what was missing. */
export class Fmp4Error extends Error {
  override readonly name = "Fmp4Error";
}

export interface Box {
  readonly type: string;
  readonly start: number;
  readonly body: number;
  readonly end: number;
}

/** 8.8.3.1: the sample cannot be decoded on its own. */
const SAMPLE_IS_NON_SYNC = 0x0001_0000;

/** Reads the tracks of an init segment. */
export function readInit(bytes: Uint8Array): Tracks {
  const view = viewOf(bytes);
  const moov = find(view, 0, view.byteLength, "moov");
  if (!moov) throw new Fmp4Error("the init segment has no moov box");

  const defaults = new Map<number, { duration: number; flags: number }>();
  const mvex = find(view, moov.body, moov.end, "mvex");
  if (mvex) {
    for (const box of boxes(view, mvex.body, mvex.end)) {
      if (box.type !== "trex") continue;
      const trex = new Fields(view, box);
      const id = trex.u32(4);
      defaults.set(id, { duration: trex.u32(12), flags: trex.u32(20) });
    }
  }

  const tracks = new Map<number, Omit<Track, "lead">>();
  for (const trak of boxes(view, moov.body, moov.end)) {
    if (trak.type !== "trak") continue;
    const tkhd = new Fields(view, need(view, trak, "tkhd"));
    const mdia = need(view, trak, "mdia");
    const mdhd = new Fields(view, need(view, mdia, "mdhd"));
    const hdlr = new Fields(view, need(view, mdia, "hdlr"));
    // 8.3.2 and 8.4.2: version 1 has 64-bit creation and modification times before the field.
    const id = tkhd.u32(tkhd.version() === 1 ? 20 : 12);
    const timescale = mdhd.u32(mdhd.version() === 1 ? 20 : 12);
    if (timescale === 0) throw new Fmp4Error(`track ${id} has a timescale of 0`);
    const handler = hdlr.fourcc(8);
    const trex = defaults.get(id);
    tracks.set(id, {
      id,
      kind: handler === "vide" ? "video" : handler === "soun" ? "audio" : "other",
      timescale,
      defaultDuration: trex?.duration ?? 0,
      defaultFlags: trex?.flags ?? 0,
    });
  }
  const all = [...tracks.values()];
  const lead = all.find((track) => track.kind === "video") ?? all[0];
  if (!lead) throw new Fmp4Error("the init segment has no track");
  return new Map(all.map((track) => [track.id, { ...track, lead: track === lead }]));
}

/** Cuts a message into its fragments. Boxes other than `moof` and `mdat` (`styp`, `prft`, `emsg`) are left out. */
export function readFragments(bytes: Uint8Array<ArrayBuffer>, tracks: Tracks): Fragment[] {
  const view = viewOf(bytes);
  const fragments: Fragment[] = [];
  let moof: Box | undefined;
  for (const box of boxes(view, 0, view.byteLength)) {
    if (box.type === "moof") {
      if (moof) throw new Fmp4Error("a moof box has no mdat box");
      moof = box;
    } else if (box.type === "mdat") {
      if (!moof || moof.end !== box.start) throw new Fmp4Error("an mdat box does not follow a moof box");
      const whole = bytes.subarray(moof.start, box.end);
      fragments.push(readMoof(view, moof, tracks, whole, bytes.subarray(box.body, box.end)));
      moof = undefined;
    }
  }
  if (moof) throw new Fmp4Error("a moof box has no mdat box");
  return fragments;
}

function readMoof(
  view: DataView,
  moof: Box,
  tracks: Tracks,
  bytes: Uint8Array<ArrayBuffer>,
  payload: Uint8Array<ArrayBuffer>,
): Fragment {
  let found: Fragment | undefined;
  for (const traf of boxes(view, moof.body, moof.end)) {
    if (traf.type !== "traf") continue;
    const fragment = { ...readTraf(view, traf, tracks), bytes, payload };
    // A fragment of several tracks counts as one of the leading track.
    if (!found || fragment.track.lead) found = fragment;
  }
  if (!found) throw new Fmp4Error("a moof box has no traf box");
  return found;
}

function readTraf(view: DataView, traf: Box, tracks: Tracks): Omit<Fragment, "bytes" | "payload"> {
  const tfhd = readTfhd(new Fields(view, need(view, traf, "tfhd")));
  const track = tracks.get(tfhd.trackId);
  if (!track) throw new Fmp4Error(`a fragment names track ${tfhd.trackId}, which the init segment lacks`);

  const tfdt = new Fields(view, need(view, traf, "tfdt"));
  const base = tfdt.version() === 1 ? tfdt.u64(4) : tfdt.u32(4);

  let ticks = 0;
  let offset = 0;
  let flags = tfhd.flags ?? track.defaultFlags;
  let first = true;
  for (const box of boxes(view, traf.body, traf.end)) {
    if (box.type !== "trun") continue;
    const run = readTrun(new Fields(view, box), tfhd.duration ?? track.defaultDuration);
    ticks += run.duration;
    if (!first) continue;
    first = false;
    offset = run.compositionOffset;
    flags = run.firstFlags ?? flags;
  }
  return {
    track,
    decodeTime: base / track.timescale,
    time: (base + offset) / track.timescale,
    duration: ticks / track.timescale,
    entry: track.lead && (track.kind !== "video" || (flags & SAMPLE_IS_NON_SYNC) === 0),
  };
}

/** 8.8.7: optional fields stand in the order of their flag bits. */
function readTfhd(box: Fields): { trackId: number; duration?: number; flags?: number } {
  const has = box.flags();
  const result: { trackId: number; duration?: number; flags?: number } = { trackId: box.u32(4) };
  let at = 8;
  if (has & 0x01) at += 8; // base_data_offset
  if (has & 0x02) at += 4; // sample_description_index
  if (has & 0x08) {
    result.duration = box.u32(at);
    at += 4;
  }
  if (has & 0x10) at += 4; // default_sample_size
  if (has & 0x20) result.flags = box.u32(at);
  return result;
}

/** 8.8.8: the run's length in ticks, and the first sample's flags and composition offset. */
function readTrun(
  box: Fields,
  defaultDuration: number,
): { duration: number; compositionOffset: number; firstFlags?: number } {
  const has = box.flags();
  const count = box.u32(4);
  const result: { duration: number; compositionOffset: number; firstFlags?: number } = {
    duration: 0,
    compositionOffset: 0,
  };
  let at = 8;
  if (has & 0x001) at += 4; // data_offset
  if (has & 0x004) {
    result.firstFlags = box.u32(at);
    at += 4;
  }
  const perSample = [0x100, 0x200, 0x400, 0x800].filter((bit) => has & bit).length;
  if (perSample === 0) {
    result.duration = count * defaultDuration;
    return result;
  }
  // `Fields` refuses to read past the box, so a false count ends at the box's end.
  for (let sample = 0; sample < count; sample++) {
    result.duration += has & 0x100 ? box.u32(at) : defaultDuration;
    if (has & 0x100) at += 4;
    if (has & 0x200) at += 4; // sample_size
    if (has & 0x400) {
      if (sample === 0) result.firstFlags = box.u32(at);
      at += 4;
    }
    if (has & 0x800) {
      // Version 0 is unsigned by the letter, yet signed in practice; real offsets are far below 2^31.
      if (sample === 0) result.compositionOffset = box.i32(at);
      at += 4;
    }
    if (at > box.length) throw new Fmp4Error("a trun box is cut short");
  }
  return result;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** 4.2: size, type, and the 64-bit size where the size says 1. */
export function* boxes(view: DataView, start: number, end: number): Generator<Box> {
  let at = start;
  while (at < end) {
    if (end - at < 8) throw new Fmp4Error("a box header is cut short");
    let size = view.getUint32(at);
    let header = 8;
    if (size === 1) {
      if (end - at < 16) throw new Fmp4Error("a box header is cut short");
      size = Number(view.getBigUint64(at + 8));
      header = 16;
    } else if (size === 0) {
      size = end - at;
    }
    const type = fourcc(view, at + 4);
    if (size < header || size > end - at) throw new Fmp4Error(`box "${type}" has an impossible size of ${size}`);
    yield { type, start: at, body: at + header, end: at + size };
    at += size;
  }
}

export function find(view: DataView, start: number, end: number, type: string): Box | undefined {
  for (const box of boxes(view, start, end)) if (box.type === type) return box;
  return undefined;
}

function need(view: DataView, parent: Box, type: string): Box {
  const box = find(view, parent.body, parent.end, type);
  if (!box) throw new Fmp4Error(`box "${parent.type}" has no "${type}" box`);
  return box;
}

function fourcc(view: DataView, at: number): string {
  return String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));
}

/** Bounded reads inside one full box; offsets count from the version byte. */
class Fields {
  readonly length: number;
  readonly #view: DataView;
  readonly #box: Box;

  constructor(view: DataView, box: Box) {
    this.#view = view;
    this.#box = box;
    this.length = box.end - box.body;
  }

  version(): number {
    return this.u32(0) >>> 24;
  }

  flags(): number {
    return this.u32(0) & 0x00ff_ffff;
  }

  u32(offset: number): number {
    return this.#view.getUint32(this.#at(offset, 4));
  }

  i32(offset: number): number {
    return this.#view.getInt32(this.#at(offset, 4));
  }

  /** Exact up to 2^53 ticks: three centuries at a timescale of 1 MHz. */
  u64(offset: number): number {
    return Number(this.#view.getBigUint64(this.#at(offset, 8)));
  }

  fourcc(offset: number): string {
    return fourcc(this.#view, this.#at(offset, 4));
  }

  #at(offset: number, bytes: number): number {
    if (offset + bytes > this.length) throw new Fmp4Error(`box "${this.#box.type}" is cut short`);
    return this.#box.body + offset;
  }
}
