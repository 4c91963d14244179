import assert from "node:assert/strict";
import { test } from "node:test";
import { Fmp4Error, readFragments, readInit } from "../../src/media/fmp4";
import { AUDIO, box, concat, fragmentOf, initOf, NON_SYNC, u32, VIDEO } from "./boxes";

const tracks = readInit(initOf(AUDIO, VIDEO));

test("an init segment tells its tracks, and video leads", () => {
  assert.deepEqual(
    [...tracks.values()].map(({ id, kind, timescale, lead }) => ({ id, kind, timescale, lead })),
    [
      { id: 2, kind: "audio", timescale: 48_000, lead: false },
      { id: 1, kind: "video", timescale: 90_000, lead: true },
    ],
  );
  assert.equal(readInit(initOf(AUDIO)).get(2)?.lead, true);
});

test("fragments tell their times, also beyond 32 bits", () => {
  const ticks = 90_000 * 1_700_000_000;
  const message = concat(
    fragmentOf(1, ticks, { duration: 3600, offset: 7200 }),
    fragmentOf(2, 48_000, {}),
    fragmentOf(1, ticks + 3600, { duration: 3600, flags: NON_SYNC }),
  );
  const fragments = readFragments(message, tracks);
  assert.deepEqual(
    fragments.map(({ track, decodeTime, entry }) => ({ id: track.id, decodeTime, entry })),
    [
      { id: 1, decodeTime: 1_700_000_000, entry: true },
      { id: 2, decodeTime: 1, entry: false },
      { id: 1, decodeTime: 1_700_000_000.04, entry: false },
    ],
  );
  assert.equal(fragments[0]?.duration, 0.04);
  assert.equal((fragments[0]?.time ?? 0) - (fragments[0]?.decodeTime ?? 0) > 0.0799, true);
  assert.equal(
    fragments.reduce((sum, fragment) => sum + fragment.bytes.length, 0),
    message.length,
  );
});

test("a stream without video can be entered at any audio frame", () => {
  const [fragment] = readFragments(fragmentOf(2, 0), readInit(initOf(AUDIO)));
  assert.equal(fragment?.entry, true);
});

test("other boxes between fragments are left out", () => {
  const message = concat(box("styp", u32(0)), fragmentOf(1, 0), box("emsg", u32(0)), fragmentOf(2, 0));
  assert.equal(readFragments(message, tracks).length, 2);
});

test("what is cut short or false is refused with words", () => {
  const whole = fragmentOf(1, 0);
  for (let length = 1; length < whole.length; length++) {
    assert.throws(() => readFragments(whole.slice(0, length), tracks), Fmp4Error, `at ${length} bytes`);
  }
  const init = initOf(VIDEO);
  for (let length = 1; length < init.length; length++) {
    assert.throws(() => readInit(init.slice(0, length)), Fmp4Error, `at ${length} bytes`);
  }
  assert.throws(() => readFragments(fragmentOf(9, 0), tracks), /track 9/);
  assert.throws(() => readFragments(box("mdat", u32(0)), tracks), /does not follow/);
});

test("any single damaged byte is read or refused, and nothing else", () => {
  const whole = fragmentOf(1, 90_000);
  for (let at = 0; at < whole.length; at++) {
    for (const value of [0x00, 0x01, 0x7f, 0xff]) {
      const damaged = whole.slice();
      damaged[at] = value;
      try {
        readFragments(damaged, tracks);
      } catch (error) {
        assert.ok(error instanceof Fmp4Error, `byte ${at} as ${value}: ${String(error)}`);
      }
    }
  }
});
