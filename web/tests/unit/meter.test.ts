import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
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
  meter.keep({}, []);
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

/** A meter under a clock of the test's own and without jitter, and how often it asked. */
function clocked(context: TestContext) {
  let [now, asked] = [0, 0];
  context.mock.timers.enable({ apis: ["setTimeout"] });
  context.mock.method(performance, "now", () => now);
  const meter = new Meter(() => {
    asked += 1;
    return Promise.resolve({ rttMs: 5 });
  }, () => 0.5);
  context.after(() => meter.close());
  const pass = async (seconds: number): Promise<number> => {
    const before = asked;
    for (let step = 0; step < seconds * 10; step++) {
      now += 100;
      context.mock.timers.tick(100);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return asked - before;
  };
  return { meter, pass };
}

test("nothing is measured once nobody uses it, and whoever comes again measures anew", async (context) => {
  const { meter, pass } = clocked(context);
  const [one, other] = [{}, {}];
  meter.keep(one, ["http://a/"]);
  meter.keep(other, []); // has not chosen yet
  meter.watch(["http://a/", "http://b/"]);
  assert.ok((await pass(20)) > 8);
  meter.leave(one);
  assert.ok((await pass(20)) > 4, "the other one still wants to know");
  meter.leave(other);
  await pass(1);
  assert.equal(meter.measured("http://a/"), undefined);
  assert.equal(await pass(60), 0);

  meter.keep(one, []);
  meter.watch(["http://a/"]);
  await meter.settled();
  assert.equal(meter.measured("http://a/")?.rttMs, 5);
  assert.ok((await pass(20)) > 2);
});

test("a player that comes back at once, as for another delay, finds what was measured", async (context) => {
  const { meter, pass } = clocked(context);
  const [one, other] = [{}, {}];
  meter.keep(one, ["http://a/"]);
  meter.watch(["http://a/"]);
  await pass(5);
  meter.leave(one);
  meter.keep(other, []);
  await pass(1);
  assert.equal(meter.measured("http://a/")?.rttMs, 5);
});

test("what is let go of while it is being measured is asked no more, and nobody waits for it", async (context) => {
  const { meter, pass } = clocked(context);
  meter.watch(["http://a/"]);
  const settled = meter.settled();
  meter.close();
  await settled;
  assert.ok((await pass(10)) < 2);
});
