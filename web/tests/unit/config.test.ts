import assert from "node:assert/strict";
import { test } from "node:test";
import { readFacts, undecodable } from "../../src/media/direct/config";
import { readInit } from "../../src/media/fmp4";
import { AUDIO, box, u32, VIDEO } from "./boxes";

const zeros = (count: number): number[] => new Array<number>(count).fill(0);
const chars = (text: string): number[] => [...text].map((char) => char.charCodeAt(0));

function trak({ id, handler, timescale }: typeof VIDEO, entry: Uint8Array): Uint8Array {
  const mdhd = box("mdhd", u32(0), zeros(8), u32(timescale), zeros(8));
  const hdlr = box("hdlr", u32(0), zeros(4), chars(handler), zeros(13));
  const stsd = box("stsd", u32(0), u32(1), entry);
  return box("trak", box("tkhd", u32(0), zeros(8), u32(id), zeros(68)), box("mdia", mdhd, hdlr, box("minf", box("stbl", stsd))));
}

test("decoders are told what the sample entries hold", () => {
  const picture = box("avc1", zeros(78), box("avcC", [1, 100, 0, 30]), box("pasp", zeros(8)));
  // ES descriptor, decoder config and its AudioSpecificConfig, one of their lengths in more bytes than it needs.
  const esds = [3, 0x80, 0x80, 24, 0, 2, 0, 4, 17, 0x40, ...zeros(12), 5, 2, 0x11, 0x90];
  const sound = box("mp4a", zeros(16), [0, 2], [0, 16], zeros(4), [0xbb, 0x80], [0, 0], box("esds", u32(0), esds));
  const init = box("moov", trak(VIDEO, picture), trak(AUDIO, sound));
  const facts = readFacts(init, 'video/mp4; codecs="avc1.64001e, mp4a.40.2"', readInit(init));
  assert.deepEqual(
    facts.map(({ track, codec, description, channels, sampleRate }) => [track, codec, [...description], channels, sampleRate]),
    [
      [VIDEO.id, "avc1.64001e", [1, 100, 0, 30], 0, 0],
      [AUDIO.id, "mp4a.40.2", [0x11, 0x90], 2, 48_000],
    ],
  );
});

test("codecs without a decoder are named, and a question that makes no sense counts as no", async (context) => {
  const asks = (answer: (config: { codec: string }) => Promise<object>): object => ({ isConfigSupported: answer });
  Object.assign(globalThis, {
    VideoDecoder: asks(({ codec }) => Promise.resolve({ supported: codec.startsWith("avc1") })),
    AudioDecoder: asks(() => Promise.reject(new TypeError("no such config"))),
  });
  context.after(() => ["VideoDecoder", "AudioDecoder"].forEach((name) => Reflect.deleteProperty(globalThis, name)));
  const facts = ["avc1.64001e", "hvc1.1.6.L93.B0", "mp4a.40.2"].map((codec, track) => ({ track, codec, description: new Uint8Array(), channels: 2, sampleRate: 48_000 }));
  assert.deepEqual(await undecodable(facts), ["hvc1.1.6.L93.B0", "mp4a.40.2"]);
});
