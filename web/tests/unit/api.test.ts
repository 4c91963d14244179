import assert from "node:assert/strict";
import { test } from "node:test";
import { parseListing } from "../../src/api";
import { bitrate, codecsOf, codecWords, plural, trackLine } from "../../src/format";

test("a full answer is read", () => {
  const listing = parseListing({
    node: "pop1",
    streams: [
      {
        name: "cam1",
        state: "watched",
        viewers: 3,
        bitrate_bps: 1_200_000,
        origins: ["origin1"],
        path: ["origin1", "relay2", "pop1"],
        tracks: [
          { id: 0, kind: "video", codec: "h264", width: 854, height: 480 },
          { id: 1, kind: "audio", codec: "aac", sample_rate: 48_000, channels: 2 },
        ],
        newest_age_ms: 12,
        something_newer: true,
      },
    ],
  });
  const [stream] = listing.streams;
  assert.equal(stream?.bitrateBps, 1_200_000);
  assert.equal(stream?.newestAgeMs, 12);
  assert.equal(trackLine(stream?.tracks ?? []), "H.264 854×480 · AAC 48 kHz");
});

test("what an idle stream lacks, and nonsense, is left out", () => {
  const { streams } = parseListing({
    streams: [
      { name: "cam1", state: "idle", viewers: 0, bitrate_bps: null, path: null, tracks: null, newest_age_ms: null },
      { name: "" },
      null,
      7,
      { name: "cam2", state: "?", viewers: -1, origins: ["a", 5], tracks: [{}, { codec: "h264", width: "wide" }] },
    ],
  });
  assert.deepEqual(
    streams.map(({ name, state, viewers, origins, path }) => ({ name, state, viewers, origins, path })),
    [
      { name: "cam1", state: "idle", viewers: 0, origins: [], path: [] },
      { name: "cam2", state: "idle", viewers: 0, origins: ["a"], path: [] },
    ],
  );
  const [one, two] = streams;
  assert.equal(one?.bitrateBps ?? one?.newestAgeMs ?? one?.parent, undefined);
  assert.equal(two?.tracks.length, 1);
  assert.equal(two?.tracks[0]?.width, undefined);
});

test("an answer without streams is an error", () => {
  for (const value of [null, 7, "x", {}, { streams: {} }]) assert.throws(() => parseListing(value), TypeError);
});

test("numbers and codecs are written for people", () => {
  assert.equal(bitrate(812_400), "812 kbit/s");
  assert.equal(bitrate(1_240_000), "1.2 Mbit/s");
  assert.equal(bitrate(24_800_000), "25 Mbit/s");
  assert.equal(plural(1, "viewer"), "1 viewer");
  assert.equal(plural(0, "viewer"), "0 viewers");
  assert.deepEqual(codecsOf('video/mp4; codecs="hvc1.1.6.L93.B0, mp4a.40.2"').map(codecWords), [
    "HEVC (hvc1.1.6.L93.B0)",
    "AAC (mp4a.40.2)",
  ]);
});
