/** Builds small fragmented MP4 for the tests, by the letter of ISO/IEC 14496-12. */

export function box(type: string, ...parts: (number[] | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  const body = parts.flatMap((part) => [...part]);
  return Uint8Array.from([...u32(body.length + 8), ...[...type].map((char) => char.charCodeAt(0)), ...body]);
}

export function u32(value: number): number[] {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff);
}

export function u64(value: number): number[] {
  return [...u32(Math.floor(value / 2 ** 32)), ...u32(value % 2 ** 32)];
}

const zeros = (count: number): number[] => new Array<number>(count).fill(0);
const chars = (text: string): number[] => [...text].map((char) => char.charCodeAt(0));

export const VIDEO = { id: 1, handler: "vide", timescale: 90_000 };
export const AUDIO = { id: 2, handler: "soun", timescale: 48_000 };
export const NON_SYNC = 0x0101_0000;
export const SYNC = 0x0200_0000;

export function initOf(...tracks: { id: number; handler: string; timescale: number }[]): Uint8Array<ArrayBuffer> {
  const traks = tracks.map(({ id, handler, timescale }) =>
    box(
      "trak",
      box("tkhd", u32(0), zeros(8), u32(id), zeros(68)),
      box(
        "mdia",
        box("mdhd", u32(0), zeros(8), u32(timescale), zeros(8)),
        box("hdlr", u32(0), zeros(4), chars(handler), zeros(13)),
      ),
    ),
  );
  const trexes = tracks.map(({ id }) => box("trex", u32(0), u32(id), u32(1), u32(1024), u32(0), u32(NON_SYNC)));
  const bytes = [...box("ftyp", chars("iso6"), u32(0)), ...box("moov", ...traks, box("mvex", ...trexes))];
  return Uint8Array.from(bytes);
}

/** One moof+mdat with one sample; times in ticks. */
export function fragmentOf(
  id: number,
  decodeTime: number,
  options: { duration?: number; flags?: number; offset?: number; payload?: number } = {},
): Uint8Array<ArrayBuffer> {
  const { duration = 1024, flags = SYNC, offset = 0, payload = 4 } = options;
  const moof = box(
    "moof",
    box("mfhd", u32(0), u32(1)),
    box(
      "traf",
      box("tfhd", u32(0x0002_0000), u32(id)),
      box("tfdt", u32(0x0100_0000), u64(decodeTime)),
      // data offset, first sample flags; duration, size and composition offset of each sample
      box("trun", u32(0x0100_0b05), u32(1), u32(0), u32(flags), u32(duration), u32(payload), u32(offset)),
    ),
  );
  return Uint8Array.from([...moof, ...box("mdat", zeros(payload))]);
}

export function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
