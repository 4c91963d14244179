import assert from "node:assert/strict";
import { test } from "node:test";
import { advise, TARGET_S } from "./latency";

test("plays at normal speed at the target", () => {
  assert.deepEqual(advise(10 - TARGET_S, [{ start: 5, end: 10 }]), { rate: 1 });
});

test("speeds up when behind and slows down when thin", () => {
  assert.ok(advise(8.5, [{ start: 5, end: 10 }]).rate > 1.05);
  assert.ok(advise(9.9, [{ start: 5, end: 10 }]).rate < 1);
});

test("jumps to the edge when far behind, into the buffer when outside", () => {
  assert.equal(advise(5, [{ start: 4, end: 10 }]).seek, 10 - TARGET_S);
  assert.equal(advise(0, [{ start: 100, end: 100.2 }]).seek, 100);
  assert.equal(advise(0, []).seek, undefined);
});

test("crosses a hole when it is reached, and not before", () => {
  const buffered = [{ start: 0, end: 5 }, { start: 5.5, end: 6.5 }];
  assert.equal(advise(4.97, buffered).seek, 5.5);
  assert.equal(advise(4.5, buffered).seek, undefined);
});
