import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, type Seen } from "../ages";

/** Ten pictures a second. */
const look = (seconds: number, age: (second: number) => number): Seen[] =>
  Array.from({ length: seconds * 10 }, (_, at) => ({ at: 500 + at * 100, age: age(at / 10) }));

test("a median within the bound holds, one above it does not", () => {
  const seen = look(20, (second) => (second < 15 ? 80 : 400));
  assert.deepEqual(judge(seen, 20, 80), { p50_ms: 80, p95_ms: 400, by_minute_p50_ms: [80], holds: true });
  assert.equal(judge(seen, 20, 79).holds, false);
  assert.equal(judge(seen, 20).holds, true, "where there is no bound");
});

test("a single minute above the bound is not staying there, nor is one without pictures", () => {
  const drifting = judge(look(301, (second) => (second < 240 ? 1000 : 1600)), 300, 1500);
  assert.deepEqual(drifting.by_minute_p50_ms, [1000, 1000, 1000, 1000, 1600], "the second left over belongs to the last");
  assert.deepEqual([drifting.p50_ms, drifting.holds], [1000, false]);
  const ended = judge(look(200, () => 1000), 300, 1500);
  assert.deepEqual([ended.by_minute_p50_ms[4], ended.holds], [null, false]);
  assert.equal(judge(look(301, () => 1000), 300, 1500).holds, true);
});

test("whoever shows nothing that can be read does not hold, whether there is a bound or not", () => {
  assert.deepEqual(judge([], 20), { p50_ms: null, p95_ms: null, by_minute_p50_ms: [null], holds: false });
});
