import assert from "node:assert/strict";
import { test } from "node:test";
import { type Fragment, readFragments, readInit } from "../../src/media/fmp4";
import { AppendQueue, type Init } from "../../src/media/queue";
import { Timeline } from "../../src/media/timeline";
import { AUDIO, fragmentOf, initOf, NON_SYNC, SYNC, VIDEO } from "./boxes";

const tracks = readInit(initOf(VIDEO, AUDIO));
const init = (mime = "video/mp4"): Init => ({ mime, tracks, resumed: true, bytes: initOf(VIDEO, AUDIO) });

function fragment(id: number, seconds: number, options: { key?: boolean; payload?: number } = {}): Fragment {
  const { timescale } = id === VIDEO.id ? VIDEO : AUDIO;
  const bytes = fragmentOf(id, Math.round(seconds * timescale), {
    duration: timescale / 25,
    flags: options.key ? SYNC : NON_SYNC,
    payload: options.payload ?? 4,
  });
  return readFragments(bytes, tracks)[0] as Fragment;
}

const video = (seconds: number, key = false, payload = 4): Fragment => fragment(1, seconds, { key, payload });
const audio = (seconds: number): Fragment => fragment(2, seconds);

function drain(queue: AppendQueue): (string | number)[] {
  const seen: (string | number)[] = [];
  for (;;) {
    const start = queue.takeInit();
    const next = start ? undefined : queue.takeFragment();
    if (start) seen.push(start.mime);
    else if (next) seen.push(next.decodeTime);
    else return seen;
  }
}

test("what goes in comes out in order", () => {
  const queue = new AppendQueue();
  queue.pushInit(init("a"));
  queue.pushFragment(video(1, true));
  queue.pushFragment(audio(1.02));
  queue.pushInit(init("b"));
  queue.pushFragment(video(7, true));
  assert.equal(queue.peekFragment(), undefined);
  assert.deepEqual(drain(queue), ["a", 1, 1.02, "b", 7]);
  assert.equal(queue.bytes, 0);
});

test("an init that nothing followed is replaced", () => {
  const queue = new AppendQueue();
  for (let count = 0; count < 1000; count++) queue.pushInit(init(`${count}`));
  assert.deepEqual(drain(queue), ["999"]);
});

test("a full queue drops the oldest up to a keyframe, and keeps the init", () => {
  const queue = new AppendQueue(10_000);
  queue.pushInit(init("a"));
  for (let frame = 0; frame < 40; frame++) queue.pushFragment(video(frame, frame % 5 === 0, 1000));
  const seen = drain(queue);
  assert.equal(seen[0], "a");
  assert.equal(Number(seen[1]) % 5, 0, `starts at frame ${seen[1]}`);
  assert.equal(seen.at(-1), 39);
  assert.ok(queue.dropped > 0);
});

test("a full queue without a keyframe waits for one", () => {
  const queue = new AppendQueue(5_000);
  queue.pushInit(init("a"));
  queue.pushFragment(video(0, true, 1000));
  for (let frame = 1; frame < 20; frame++) queue.pushFragment(video(frame, false, 1000));
  assert.ok(queue.bytes <= 5_000);
  queue.pushFragment(audio(20));
  queue.pushFragment(video(20, true));
  queue.pushFragment(video(21));
  assert.deepEqual(drain(queue).slice(0, 3), ["a", 20, 21]);
});

/** Feeds the timeline as the sink does; returns where each appended fragment ends, or why it was not appended. */
function place(timeline: Timeline, fragments: Fragment[], bufferEnd: () => number | undefined): (number | string)[] {
  return fragments.map((next) => {
    const placement = timeline.classify(next);
    if (placement === "drop") return "drop";
    if (placement === "rebase") timeline.rebase(next, bufferEnd());
    return Math.round(timeline.appended(next) * 1000) / 1000;
  });
}

test("the first keyframe lands at one second, wherever the stream's times are", () => {
  const timeline = new Timeline();
  timeline.restart(true);
  const placed = place(timeline, [video(89_999.9), audio(90_000), video(90_000, true), audio(90_000)], () => undefined);
  assert.deepEqual(placed, ["drop", "drop", 1.04, 1.04]);
});

test("another origin is moved to the end of the buffer", () => {
  const timeline = new Timeline();
  timeline.restart(true);
  place(timeline, [video(500, true)], () => undefined);
  timeline.restart(false);
  assert.deepEqual(place(timeline, [video(7, true), video(7.04)], () => 21), [21.04, 21.08]);
  // Times that are near by chance are moved as well.
  timeline.restart(false);
  assert.deepEqual(place(timeline, [video(4, true)], () => 21.08), [21.12]);
});

test("a reconnection to the same timeline keeps its place, though frames repeat", () => {
  const timeline = new Timeline();
  timeline.restart(true);
  place(timeline, [video(500, true)], () => undefined);
  timeline.restart(true);
  assert.deepEqual(place(timeline, [video(504, true), video(504.04)], () => 6), [5.04, 5.08]);
  timeline.restart(true);
  assert.deepEqual(place(timeline, [video(900, true)], () => 6), [6.04]);
});

test("a jump without a new init starts anew at a keyframe, and stray audio is dropped", () => {
  const timeline = new Timeline();
  timeline.restart(true);
  const end = { at: undefined as number | undefined };
  place(timeline, [video(500, true), video(500.04)], () => end.at);
  end.at = 1.08;
  const placed = place(timeline, [video(20), audio(20), video(20.04, true), audio(500.1), audio(20.06)], () => end.at);
  assert.deepEqual(placed, ["drop", "drop", 1.12, "drop", 1.14]);
});
