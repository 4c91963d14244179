import assert from "node:assert/strict";
import { test } from "node:test";
import { MEASURED_MAX, Meter } from "../../src/media/meter";

const OFFER = { port: 8080, certificates: [] };

test("the median of what was answered, and the share that was not", async (context) => {
  const trips = [500, 10, 30, 20];
  const meter = new Meter(() => Promise.resolve({ rttMs: trips.shift() ?? 0, offer: OFFER }), () => 0.5);
  context.after(() => meter.close());
  meter.watch(["http://a/"]);
  await meter.settled();
  assert.deepEqual(meter.measured("http://a/"), { rttMs: 20, loss: 0, offer: OFFER }, "the first one opened the connection");
});

test("whoever does not answer is known not to, and delays nobody", async (context) => {
  const meter = new Meter((base) => Promise.resolve(base === "http://a/" ? { rttMs: 7 } : undefined));
  context.after(() => meter.close());
  meter.watch(["http://a/", "http://dead/"]);
  await meter.settled();
  assert.deepEqual(meter.measured("http://dead/"), { rttMs: undefined, loss: 1, offer: undefined });
  assert.deepEqual(meter.measured("http://a/"), { rttMs: 7, loss: 0, offer: undefined });
});

test("what somebody plays from is measured however many others there are", async (context) => {
  const all = Array.from({ length: 40 }, (_, at) => `http://p${at}/`);
  const meter = new Meter((base) => Promise.resolve({ rttMs: Number(/\d+/.exec(base)?.[0]) }));
  context.after(() => meter.close());
  const [one, other] = [{}, {}];
  meter.keep(one, ["http://p39/"]);
  meter.keep(other, ["http://p38/", "http://p39/"]);
  for (let round = 0; round < 20; round++) {
    meter.watch(all);
    await meter.settled();
    assert.equal(all.filter((base) => meter.measured(base)).length, MEASURED_MAX + 2);
    assert.equal(meter.measured("http://p39/")?.rttMs, 39);
    assert.equal(meter.measured("http://p38/")?.rttMs, 38);
  }
});

test("of many the nearest are kept and the others take turns", async (context) => {
  const all = Array.from({ length: 40 }, (_, at) => `http://p${at}/`);
  const meter = new Meter((base) => Promise.resolve({ rttMs: Number(/\d+/.exec(base)?.[0]) }));
  context.after(() => meter.close());
  const watched = (): string[] => all.filter((base) => meter.measured(base));
  const seen = new Set<string>();
  let nearest: string[] = [];
  for (let round = 0; round < 60; round++) {
    meter.watch(all);
    await meter.settled();
    assert.equal(watched().length, MEASURED_MAX);
    for (const base of watched()) seen.add(base);
    nearest = watched().slice(0, 4);
  }
  assert.ok(seen.size > 30, `${seen.size} of 40 were measured`);
  assert.ok(nearest.every((base) => all.indexOf(base) < 10), nearest.join());
});
