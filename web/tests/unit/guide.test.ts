import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Offer, PopListing } from "../../src/api";
import { parsePops } from "../../src/api";
import { PopGuide } from "../../src/media/guide";
import { Meter } from "../../src/media/meter";

const LISTING = {
  node: "near",
  pops: [
    { name: "near", http: "http://10.0.0.1:8080", stream_metric_us: 30_000, load: 0, reachable: true },
    { name: "far", http: "http://10.0.0.2:8080", stream_metric_us: 80_000, load: 0, reachable: true },
    { name: "cut", http: "http://10.0.0.3:8080", stream_metric_us: null, load: 0, reachable: false },
    { name: "odd", http: "javascript:alert(1)", stream_metric_us: 1, load: 0, reachable: true },
  ],
};
const HOME = "http://proxy.example/";
const OFFERS: Record<string, Offer> = { [HOME]: { port: 8080, certificates: [new Uint8Array(32)] } };
const RTT: Record<string, number> = { [HOME]: 10, "http://10.0.0.2:8080/": 20, "http://10.0.0.3:8080/": 1 };

function guide(context: TestContext, list: () => Promise<PopListing>): PopGuide {
  const meter = new Meter((base) => Promise.resolve(RTT[base] === undefined ? undefined : { rttMs: RTT[base], offer: OFFERS[base] }));
  const choice = new PopGuide("cam", HOME, list, meter);
  context.after(() => {
    choice.close();
    meter.close();
  });
  return choice;
}

test("the best is chosen by the mesh's way and the page's own", async (context) => {
  const choice = guide(context, () => Promise.resolve(parsePops(LISTING)));
  await choice.start();
  // The page's own node is reached where the page came from.
  assert.deepEqual(choice.best([]), { name: "near", base: HOME, offer: OFFERS[HOME] });
  assert.deepEqual(choice.best(["near"]), { name: "far", base: "http://10.0.0.2:8080/", offer: undefined });
  assert.deepEqual(choice.best(["near", "far"])?.name, "cut", "where nothing else is left");
  assert.deepEqual(
    choice.views().map(({ name, wayMs, rttMs }) => [name, wayMs, rttMs]),
    [
      ["near", 40, 10],
      ["far", 100, 20],
      ["cut", undefined, 1],
    ],
  );
});

test("a choice by hand holds as long as that PoP can give the stream", async (context) => {
  const choice = guide(context, () => Promise.resolve(parsePops(LISTING)));
  await choice.start();
  assert.equal(choice.choose("far")?.name, "far");
  assert.equal(choice.best([])?.name, "far");
  assert.equal(choice.best(["far"])?.name, "near");
  assert.equal(choice.better("far"), undefined);
  assert.equal(choice.better("near")?.name, "far", "it is back");
  choice.choose(undefined);
  assert.equal(choice.best([])?.name, "near");
});

test("without a list the page's own node is what there is", async (context) => {
  const choice = guide(context, () => Promise.reject(new Error("status 404")));
  await choice.start();
  assert.deepEqual(choice.best([]), { name: "", base: HOME, offer: undefined });
  assert.equal(choice.best([""]), undefined);
});

/** A list that comes when the test says so. */
function slowly(): [() => Promise<PopListing>, () => Promise<void>] {
  let tell: (listing: PopListing) => void = () => undefined;
  const list = (): Promise<PopListing> => new Promise((resolve) => (tell = resolve));
  const come = async (): Promise<void> => {
    tell(parsePops(LISTING));
    await new Promise((resolve) => setTimeout(resolve, 50)); // the PoPs are measured
  };
  return [list, come];
}

test("a page that began without a list knows its PoP by its name as soon as it is told", async (context) => {
  const [list, come] = slowly();
  const choice = guide(context, list);
  await choice.start();
  const pop = choice.best([]);
  assert.deepEqual([pop?.name, pop?.base], ["", HOME]);
  assert.ok(pop);
  choice.moved(pop);
  await come();
  assert.equal(pop.name, "near");
  assert.equal(choice.best([pop.name])?.name, "far", "never the same node as the second connection");
});

test("one that was closed while its list was on the way asks no more", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let asked = 0;
  let fail: () => void = () => undefined;
  const list = (): Promise<PopListing> => {
    asked += 1;
    return new Promise((_, reject) => (fail = () => reject(new Error("no answer in time"))));
  };
  const choice = guide(context, list);
  const started = choice.start();
  choice.close();
  fail();
  await started;
  context.mock.timers.tick(10_000);
  assert.equal(asked, 1);
});

test("a PoP that was chosen by hand is not taken for another one before the list is there", async (context) => {
  const [list, come] = slowly();
  const choice = guide(context, list);
  assert.equal(choice.choose("far"), undefined);
  await choice.start();
  const pop = choice.best([]);
  assert.deepEqual([pop?.name, pop?.base], ["", HOME]);
  assert.equal(choice.better(""), undefined);
  await come();
  assert.equal(choice.better("near")?.base, "http://10.0.0.2:8080/", "now it is known");
});

test("a PoP that was chosen by hand and has left the list is waited for", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = async (): Promise<void> => {
    context.mock.timers.tick(10_000);
    await new Promise((resolve) => setImmediate(resolve));
  };
  let pops = LISTING.pops;
  const choice = guide(context, () => Promise.resolve(parsePops({ ...LISTING, pops })));
  await choice.start();
  assert.equal(choice.choose("far")?.name, "far");
  pops = pops.filter(({ name }) => name !== "far");
  await asked();
  assert.equal(choice.better("near"), undefined, "the page's own node is not the one that was chosen");
  assert.equal(choice.best([])?.name, "near");
  pops = LISTING.pops;
  await asked();
  assert.equal(choice.better("near")?.name, "far");
});

test("among many PoPs the one in use stays measured, and so does the one that was chosen", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const pops = Array.from({ length: 40 }, (_, at) => ({ name: `p${at}`, http: `http://p${at}/`, stream_metric_us: 0, load: 0, reachable: true }));
  const meter = new Meter((base) => Promise.resolve({ rttMs: Number(/\d+/.exec(base)?.[0] ?? 0) }));
  const choice = new PopGuide("cam", HOME, () => Promise.resolve(parsePops({ node: "home", pops })), meter);
  context.after(() => choice.close());
  await choice.start();
  choice.choose("p38");
  choice.moved({ name: "p39", base: "http://p39/" });
  for (let round = 0; round < 20; round++) {
    context.mock.timers.tick(10_000);
    await new Promise((resolve) => setImmediate(resolve));
    const measured = choice.views().filter(({ rttMs }) => rttMs !== undefined);
    for (const name of ["p38", "p39"]) assert.ok(measured.some((pop) => pop.name === name), `${name} is measured`);
  }
});

test("whoever closes leaves the meter, chosen or not, and one that is open holds it", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const meter = new Meter(() => Promise.resolve({ rttMs: 5 }));
  context.after(() => meter.close());
  const open = async (): Promise<PopGuide> => {
    const choice = new PopGuide("cam", HOME, () => Promise.resolve(parsePops(LISTING)), meter);
    context.after(() => choice.close());
    await choice.start();
    return choice;
  };
  const [one, other] = [await open(), await open()];
  one.moved({ name: "near", base: HOME });
  context.mock.timers.tick(1000);
  one.close();
  context.mock.timers.tick(1000);
  assert.equal(meter.measured(HOME)?.rttMs, 5, "the other one has not chosen yet");
  other.close();
  context.mock.timers.tick(1000);
  assert.equal(meter.measured(HOME), undefined);
});
