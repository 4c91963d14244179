/** What decoders of the browser (WebCodecs) have to be told of a track, from an init segment (ISO/IEC 14496-12 and -15). */

import { boxes, find, type Tracks, viewOf } from "../fmp4";

export interface DecoderFacts {
  readonly track: number;
  /** RFC 6381. */
  readonly codec: string;
  /** Body of `avcC`, `hvcC` or `dOps`, or the AudioSpecificConfig. */
  readonly description: Uint8Array<ArrayBuffer>;
  /** Of sound only. */
  readonly channels: number;
  readonly sampleRate: number;
}

/** Bytes of a sample entry before its boxes: 12.1.3 and 12.2.3. */
const VISUAL_ENTRY = 78;
const AUDIO_ENTRY = 28;
/** Descriptor tags of ISO/IEC 14496-1: the one with the AudioSpecificConfig, and those around it with their own fields. */
const DECODER_SPECIFIC = 5;
const FIELDS_OF: Readonly<Record<number, number>> = { 3: 3, 4: 13 };

/** Reads the decoder parameters of every track; `mime` lists the codecs in the order of the tracks. */
export function readFacts(init: Uint8Array<ArrayBuffer>, mime: string, tracks: Tracks): DecoderFacts[] {
  const view = viewOf(init);
  const codecs = (/codecs="([^"]*)"/.exec(mime)?.[1] ?? "").split(",").map((codec) => codec.trim());
  const moov = find(view, 0, view.byteLength, "moov");
  if (!moov) return [];
  const traks = [...boxes(view, moov.body, moov.end)].filter(({ type }) => type === "trak");
  return [...tracks.keys()].flatMap((track, at) => {
    let box = traks[at];
    for (const type of ["mdia", "minf", "stbl", "stsd"]) box = box && find(view, box.body, box.end, type);
    // 8.5.2: version, flags and a count come before the first entry.
    const entry = box && [...boxes(view, box.body + 8, box.end)][0];
    const codec = codecs[at];
    if (!entry || !codec) return [];
    const sound = tracks.get(track)?.kind === "audio";
    const inner = [...boxes(view, entry.body + (sound ? AUDIO_ENTRY : VISUAL_ENTRY), entry.end)];
    const config = inner.find(({ type }) => ["avcC", "hvcC", "esds", "dOps"].includes(type));
    if (!config) return [];
    const body = init.subarray(config.body, config.end);
    const description = config.type === "esds" ? specificOf(body.subarray(4)) : body;
    const channels = sound ? view.getUint16(entry.body + 16) : 0;
    const sampleRate = sound ? view.getUint16(entry.body + 24) : 0;
    return [{ track, codec, description, channels, sampleRate }];
  });
}

/** Whether an entry is one of H.264 or HEVC is told by its codec alone. */
export function isPicture({ codec }: DecoderFacts): boolean {
  return /^(avc|hvc|hev)/.test(codec);
}

/** What the browser's decoder of this track is asked for. */
export function pictureConfig({ codec, description }: DecoderFacts): VideoDecoderConfig {
  return { codec, description, optimizeForLatency: true };
}

export function soundConfig({ codec, description, channels: numberOfChannels, sampleRate }: DecoderFacts): AudioDecoderConfig {
  return { codec, description, numberOfChannels, sampleRate };
}

/** Codecs of those tracks that the browser has no decoder for. */
export async function undecodable(facts: readonly DecoderFacts[]): Promise<string[]> {
  const supported = await Promise.all(facts.map((one) => isSupported(one).catch(() => false)));
  return facts.filter((_, at) => !supported[at]).map(({ codec }) => codec);
}

async function isSupported(facts: DecoderFacts): Promise<boolean> {
  const answer = isPicture(facts)
    ? await VideoDecoder.isConfigSupported(pictureConfig(facts))
    : await AudioDecoder.isConfigSupported(soundConfig(facts));
  return answer.supported === true;
}

/** Walks into nested descriptors up to the one that decoders want; empty if there is none. */
function specificOf(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let at = 0;
  while (at < bytes.byteLength) {
    const tag = bytes[at] ?? 0;
    at += 1;
    let length = 0;
    // 8.3.3: seven bits a byte, the highest one says that more follow.
    for (let more = true; more && at < bytes.byteLength; at += 1) {
      const byte = bytes[at] ?? 0;
      length = (length << 7) | (byte & 0x7f);
      more = (byte & 0x80) !== 0;
    }
    if (tag === DECODER_SPECIFIC) return bytes.subarray(at, at + length);
    at += FIELDS_OF[tag] ?? length;
  }
  return new Uint8Array();
}

