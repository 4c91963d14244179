import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock } from "../../src/media/direct/clock";

/** Frames of 25 a second that come after their time by `way` and what `late` says. */
function flow(clock: Clock, frames: number, way: number, late: (frame: number) => number): void {
  for (let frame = 0; frame < frames; frame++) clock.arrived(frame / 25, frame / 25 + way + late(frame));
}

test("frames that come evenly are shown nearly at once", () => {
  const clock = new Clock();
  assert.equal(clock.due(0), undefined);
  flow(clock, 500, 7, () => 0);
  assert.ok(clock.delay <= 0.0201, `${clock.delay}`);
  assert.ok(Math.abs((clock.due(20) ?? 0) - 27.02) < 0.001);
  assert.ok(Math.abs((clock.time(27.02) ?? 0) - 20) < 0.001);
});

test("late frames make all wait longer, until they are rare", () => {
  const clock = new Clock();
  flow(clock, 250, 7, (frame) => (frame % 5 === 0 ? 0.08 : 0));
  assert.ok(clock.delay > 0.05 && clock.delay < 0.09, `${clock.delay}`);
});

test("an outage is no reason to wait", () => {
  const clock = new Clock();
  flow(clock, 100, 7, () => 0);
  const before = clock.delay;
  clock.arrived(4, 13);
  assert.ok(clock.delay <= before);
});

test("another timeline begins anew, and a clock that drifts is followed", () => {
  const clock = new Clock();
  flow(clock, 10, 7, () => 0);
  clock.reset();
  assert.equal(clock.due(0), undefined);
  flow(clock, 10_000, 7, (frame) => (frame / 25) * 0.0005);
  const lag = (clock.due(400) ?? 0) - 407.2;
  assert.ok(Math.abs(lag) < 0.1, `${lag}`);
});
