/** Numbers and words for people. */

import type { StreamInfo, TrackInfo } from "./api";

/** Bits per second as "1.2 Mbit/s". */
export function bitrate(bps: number): string {
  if (bps >= 999_500) return `${(bps / 1e6).toFixed(bps >= 9_950_000 ? 0 : 1)} Mbit/s`;
  return `${Math.round(bps / 1000)} kbit/s`;
}

/** Milliseconds as "0.4 ms", "24 ms", "1.2 s". */
export function millis(ms: number): string {
  if (Math.abs(ms) >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.abs(ms) < 9.95 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** A share as "0.4 %" or "12 %". */
export function percent(share: number): string {
  const value = share * 100;
  return `${value < 0.05 || value >= 9.95 ? Math.round(value) : value.toFixed(1)} %`;
}

export function bytes(length: number): string {
  const units = ["bytes", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, length)) / 3));
  const value = length / 1000 ** power;
  return `${power > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

/** The time of day of a Unix time in milliseconds. */
export function clock(ms: number): string {
  return CLOCK.format(ms);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

const CODECS: Readonly<Record<string, string>> = {
  h264: "H.264",
  h265: "HEVC",
  hevc: "HEVC",
  av1: "AV1",
  vp9: "VP9",
  aac: "AAC",
  opus: "Opus",
  mp2: "MP2",
  mp3: "MP3",
  ac3: "AC-3",
  eac3: "E-AC-3",
};

export function codecName(codec: string): string {
  return CODECS[codec.toLowerCase()] ?? codec;
}

/** An RFC 6381 name, for people: "HEVC (hvc1.1.6.L93.B0)". */
export function codecWords(code: string): string {
  const family = familyOf(code);
  return family === code ? code : `${family} (${code})`;
}

/** The RFC 6381 names in a MIME type. */
export function codecsOf(mime: string): string[] {
  const list = /codecs="?([^"]*)"?/.exec(mime)?.[1] ?? "";
  return list
    .split(",")
    .map((code) => code.trim())
    .filter((code) => code !== "");
}

function familyOf(code: string): string {
  const families: readonly (readonly [RegExp, string])[] = [
    [/^avc[13]/, "H.264"],
    [/^(hvc1|hev1)/, "HEVC"],
    [/^av01/, "AV1"],
    [/^vp0?9/, "VP9"],
    [/^mp4a\.40/, "AAC"],
    [/^mp4a\.(69|6b)/i, "MP2/MP3"],
    [/^opus/i, "Opus"],
    [/^ac-3/, "AC-3"],
    [/^ec-3/, "E-AC-3"],
  ];
  return families.find(([pattern]) => pattern.test(code))?.[1] ?? code;
}

export function trackLine(tracks: readonly TrackInfo[]): string {
  return tracks
    .map((track) => {
      const codec = codecName(track.codec);
      if (track.width && track.height) return `${codec} ${track.width}×${track.height}`;
      if (track.kind === "audio" && track.sampleRate) return `${codec} ${track.sampleRate / 1000} kHz`;
      return codec;
    })
    .join(" · ");
}

/** What a stream's state means, in one word and in one sentence. */
export function stateWords(stream: StreamInfo): { word: string; sentence: string } {
  switch (stream.state) {
    case "published":
      return { word: "published", sentence: "this node is its origin" };
    case "watched":
      return { word: "watched", sentence: "viewers of this node are watching" };
    case "passed":
      return { word: "passed on", sentence: "this node carries the stream for other nodes" };
    case "idle":
      return { word: "idle", sentence: "known in the mesh; this node fetches it when somebody watches" };
  }
}
