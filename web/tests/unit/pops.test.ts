import assert from "node:assert/strict";
import { test } from "node:test";
import { BETTER_LASTS_MS, Choice, type Cost, isBetter, ordered, score } from "../../src/media/pops";

// The same figures as in crates/overlay/src/pop.rs.

function cost(wayMs: number, loadPercent: number, name = ""): Cost {
  return { name, wayMs, loadPercent };
}

function preferred(...costs: [number, number][]): number[] {
  const named = costs.map(([wayMs, loadPercent], at) => cost(wayMs, loadPercent, String(at)));
  return ordered(named).map(({ name }) => Number(name));
}

test("the nearest is preferred, but of about equal ones the least loaded", () => {
  assert.deepEqual(preferred([50, 0], [20, 0], [30, 0]), [1, 2, 0]);
  assert.deepEqual(preferred([20, 40], [25, 10], [26, 0]), [2, 1, 0]);
  assert.deepEqual(preferred([20, 9], [25, 3]), [0, 1], "a few viewers are no load");
});

test("a full one is worth a detour", () => {
  assert.deepEqual(preferred([20, 100], [200, 0]), [1, 0]);
  assert.equal(score(cost(20, 60)), 20);
});

test("little gain is no reason to move", () => {
  assert.ok(!isBetter(cost(90, 0), cost(100, 0)));
  assert.ok(isBetter(cost(80, 0), cost(100, 0)));
  assert.ok(!isBetter(cost(10, 0), cost(20, 0)), "10 ms are not noticed");
  assert.ok(isBetter(cost(20, 0), cost(20, 90)));
});

test("a better PoP must be better for long, without a break", () => {
  const choice = new Choice();
  const costs = [cost(100, 0, "a"), cost(50, 0, "b")];
  assert.equal(choice.better(costs, "a", 0), undefined);
  assert.equal(choice.better(costs, "a", BETTER_LASTS_MS - 1), undefined);
  assert.equal(choice.better(costs, "a", BETTER_LASTS_MS), "b");
  choice.moved("b", BETTER_LASTS_MS);
  const turned = [cost(50, 0, "a"), cost(100, 0, "b")];
  assert.equal(choice.better(turned, "b", BETTER_LASTS_MS + 1), undefined);
  assert.equal(choice.better(costs, "b", 2 * BETTER_LASTS_MS), undefined, "the gain is gone");
  assert.equal(choice.better(turned, "b", 2 * BETTER_LASTS_MS + 2), undefined, "and begins anew");
  assert.equal(choice.better(turned, "b", 3 * BETTER_LASTS_MS + 2), "a");
});

test("whoever failed lately comes last, and is left out of moves", () => {
  const choice = new Choice();
  const costs = [cost(10, 0, "a"), cost(50, 0, "b"), cost(90, 0, "c")];
  assert.equal(choice.best(costs, [], 0), "a");
  choice.failed("a", 0);
  assert.equal(choice.best(costs, [], 1), "b");
  assert.equal(choice.best(costs, ["b"], 1), "c");
  choice.failed("b", 2);
  choice.failed("c", 3);
  assert.equal(choice.best(costs, [], 4), "a", "who failed first");
  assert.equal(choice.best(costs, [], 20_000), "a", "and all is forgotten");
  assert.equal(choice.best([], [], 0), undefined);
});
