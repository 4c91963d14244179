import assert from "node:assert/strict";
import { test } from "node:test";
import { type Listing, parseListing, parsePops, type StreamInfo } from "../../src/api";
import { askAudiences, counted, watchersOf } from "../../src/console/audience";
import { EventCutter, follow } from "../../src/console/events";
import { type History, joined, line, parseHistory, SAMPLES_MAX, times } from "../../src/console/history";
import { filled, measured } from "../../src/console/measured";
import { CUT_SHOWN_MS, linkLabel, mapLinks, mapNodes, pairs } from "../../src/console/mesh";
import { type Entry, parseMesh, parseMissed, parseNeighbours } from "../../src/console/tables";
import { flowsOf, Pulse, walk, walkAll } from "../../src/console/tree";
import { bytes, millis, percent } from "../../src/format";

const direction = (from: string, to: string, more: object = {}) => ({ from, to, rtt_us: 4000, cost_us: 3000, ...more });
const both = (a: string, b: string, more: object = {}) => [direction(a, b, more), direction(b, a, more)];
const node = (name: string, more: object = {}) => ({ name, reachable: true, roles: ["relay"], ...more });
const mesh = parseMesh({
  node: "p",
  nodes: [node("o", { roles: ["origin"] }), node("r"), node("p", { reachable: false, roles: ["relay", "pop"] })],
  links: [...both("o", "r"), ...both("r", "p", { loss: 0.02, bps: 1_200_000 })],
});
const without = (name: string) => ({
  ...mesh,
  nodes: mesh.nodes.map((one) => (one.name === name ? { ...one, reachable: false } : one)),
  links: mesh.links.filter((link) => link.from !== name && link.to !== name),
});

const place = (node: string, more: object): Listing => parseListing({ node, streams: [{ name: "cam", ...more }] });
const streamOf = (listing: Listing): StreamInfo => listing.streams[0] as StreamInfo;

test("events are cut wherever their pieces end", () => {
  const text = 'id: 4\nevent: entry\ndata: {"a":\ndata: 1}\n\n: quiet\n\ndata: x\r\n\r\nevent: lost\n\n';
  for (let size = 1; size <= text.length; size += 1) {
    const cutter = new EventCutter();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...cutter.push(text.slice(at, at + size)));
    assert.deepEqual(events, [
      { kind: "entry", data: '{"a":\n1}' },
      { kind: "message", data: "x" },
    ]);
  }
});

test("why a node does not show its mesh it says itself: it may stop, or be followed by too many", async (context) => {
  Object.assign(globalThis, { window: globalThis, document: { baseURI: "http://node/" } });
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const refusal = (error: string): Response => Response.json({ error }, { status: 503 });
  context.mock.method(globalThis, "fetch", (url: URL) =>
    Promise.resolve(url.pathname.endsWith("/events") ? refusal("the node stops") : Response.json({ node: "p", streams: [] })),
  );
  const opened = await new Promise<unknown[]>((resolve) => {
    const ignore = (): void => undefined;
    const open = (...seen: unknown[]): void => resolve(seen);
    follow({ streams: ignore, mesh: ignore, neighbours: ignore, entry: ignore, broken: ignore, open });
  });
  assert.deepEqual(opened, ["busy", "the node stops"]);
});

test("a node that hangs is said not to answer, and whoever comes with a token need not wait for that", async (context) => {
  Object.assign(globalThis, { window: globalThis, document: { baseURI: "http://node/" } });
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const asked: string[] = [];
  context.mock.method(globalThis, "fetch", (url: URL, { signal }: RequestInit) => {
    asked.push(url.pathname);
    if (url.pathname.endsWith("/events")) return Promise.resolve(new Response(null, { status: 401 }));
    return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  });
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const reasons: string[] = [];
  const ignore = (): void => undefined;
  const broken = (reason: string): void => void reasons.push(reason);
  const { restart } = follow({ streams: ignore, mesh: ignore, neighbours: ignore, entry: ignore, open: ignore, broken });
  await turn();
  restart();
  await turn();
  context.mock.timers.tick(0);
  await turn();
  assert.deepEqual(asked, ["/api/v1/events", "/api/v1/streams", "/api/v1/events", "/api/v1/streams"]);
  assert.deepEqual(reasons, []);
  context.mock.timers.tick(10_000);
  await turn();
  assert.deepEqual(reasons, ["no answer in time"]);
});

test("what the node no longer keeps has a line of its own in the log, once, where it was", async (context) => {
  Object.assign(globalThis, { window: globalThis, document: { baseURI: "http://node/" } });
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const entry = (id: number): string => `event: entry\ndata: {"id":${id},"at_ms":5,"kind":"link_up","text":"entry ${id}"}\n\n`;
  const missed = (after: number, next: number): string => `event: missed\ndata: {"after":${after},"next":${next}}\n\n`;
  const asked: (string | null)[] = [];
  // Each breaks off, the second one before what follows the gap.
  const streams = [entry(7), missed(7, 20), missed(19, 20) + missed(7, 20) + entry(20) + missed(20, 2_000_000_000)];
  context.mock.method(globalThis, "fetch", (url: URL) => {
    asked.push(url.searchParams.get("after"));
    const text = streams.shift();
    return text === undefined ? new Promise(() => undefined) : Promise.resolve(new Response(text));
  });
  const log: [number, number | undefined, string, string][] = [];
  const ignore = (): void => undefined;
  const entered = ({ id, atMs, kind, text }: Entry): void => void log.push([id, atMs, kind, text]);
  follow({ streams: ignore, mesh: ignore, neighbours: ignore, entry: entered, open: ignore, broken: ignore });
  for (let step = 0; step < 40; step += 1) {
    context.mock.timers.tick(500);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(log, [
    [7, 5, "link_up", "entry 7"],
    [19, undefined, "missed", "12 events in between are no longer kept"],
    [20, 5, "link_up", "entry 20"],
    // Ids that far off are those of another life of the node: nobody knows how many there were.
    [1_999_999_999, undefined, "missed", "Events in between are no longer kept"],
  ]);
  assert.deepEqual(asked.slice(0, 4), ["0", "7", "19", "1999999999"]);
  assert.equal(parseMissed({ after: 7, next: 9 })?.text, "1 event in between is no longer kept");
  for (const odd of [{}, { after: 7, next: 8 }, { after: 9, next: 3 }]) assert.equal(parseMissed(odd), undefined);
});

test("an event without an end is given up", () => {
  const cutter = new EventCutter();
  const piece = "data: ".padEnd(1_000_000, "x");
  assert.throws(() => {
    for (let n = 0; n < 20; n += 1) cutter.push(`${piece}\n`);
  }, /too long/);
});

test("a mesh is read, and what is no link or no web address is left out", () => {
  assert.equal(mesh.links.length, 4);
  assert.throws(() => parseMesh({}), TypeError);
  const odd = parseMesh({ nodes: [node("a", { http: "javascript:alert(1)" }), { name: "" }, 3], links: [{ from: "a" }] });
  assert.deepEqual([odd.nodes.length, odd.nodes[0]?.http, odd.links.length], [1, undefined, 0]);
  const pop = { name: "p", http: "http://p:8080", load: 3, reachable: true };
  assert.deepEqual(
    parsePops({ pops: [pop, { ...pop, http: "data:text/html,x" }] }).pops.map(({ http, load }) => [http, load]),
    [["http://p:8080/", 1]],
  );
});

test("links have two directions, and a bad one says why", () => {
  const known = pairs(mesh, [], [], 0);
  assert.deepEqual(
    known.map(({ a, b }) => `${a}-${b}`),
    ["o-r", "p-r"],
  );
  assert.deepEqual(known.map(linkLabel), ["4.0 ms", "4.0 ms · 1.2 Mbit/s · 2.0 % lost"]);
  const [good, bad] = mapLinks(known, mesh, []);
  assert.equal(good?.there.severity, 0);
  assert.equal(bad?.there.severity, 0.25);
});

test("what links between others lose and carry is told by their ends, by the sender where both do", () => {
  const one = (name: string, more: object) => parseNeighbours({ neighbours: [{ name, up: true, ...more }] });
  const known = measured(
    new Map([
      ["o", one("r", { loss: 0.03, sent_bps: 3_000_000, received_bps: 9_000 })],
      ["r", one("p", { loss: 0.5, sent_bps: 1 })],
    ]),
  );
  const links = filled(mesh.links, known);
  const [own] = links.filter((link) => link.from === "r" && link.to === "p");
  assert.deepEqual([own?.loss, own?.bps], [0.02, 1_200_000], "of its own links the node knows best");
  assert.deepEqual(
    links.slice(0, 2).map(({ from, loss, bps }) => [from, loss, bps]),
    [
      ["o", 0.03, 3_000_000],
      ["r", undefined, 9_000],
    ],
  );
  const [pair] = pairs({ ...mesh, links }, [], [], 0);
  assert.equal(pair && linkLabel(pair), "4.0 ms · 3.0 Mbit/s · 3.0 % lost");
  assert.equal(measured(new Map([["o", parseNeighbours({ neighbours: [{ name: "r", up: false, loss: 1 }] })]])).size, 0);
});

test("each PoP is asked for its viewers, since the list tells those of the asked node only", async (context) => {
  const entry = (name: string, more: object = {}) => ({ name, http: `http://${name}`, load: 0, reachable: true, ...more });
  const listed = parsePops({ pops: [entry("here", { viewers: 3, viewers_max: 9 }), entry("there"), entry("mute"), entry("gone", { reachable: false })] }).pops;
  const asked: string[] = [];
  context.mock.method(globalThis, "fetch", (url: URL) => {
    asked.push(url.href);
    if (url.host !== "there") return Promise.reject(new TypeError("Failed to fetch"));
    return Promise.resolve(Response.json({ pops: [entry("here"), entry("there", { viewers: 212, viewers_max: 500 })] }));
  });
  const known = await askAudiences(listed);
  assert.deepEqual(asked, ["http://there/api/v1/pops", "http://mute/api/v1/pops"]);
  const pops = counted(listed, known);
  assert.deepEqual(
    pops.map(({ viewers, viewersMax }) => [viewers, viewersMax]),
    [
      [3, 9],
      [212, 500],
      [undefined, undefined],
      [undefined, undefined],
    ],
  );
  const shown = mapNodes({ ...mesh, nodes: mesh.nodes.map((one, at) => ({ ...one, name: ["there", "mute", "gone"][at] ?? "" })) }, undefined, [], new Map(), pops, new Set());
  assert.deepEqual(shown.map(({ viewers }) => viewers), [212, 0, 0]);
});

test("links of a dead node stay, as cut; those of living nodes for a moment", () => {
  const before = pairs(mesh, [], [], 0);
  const dead = pairs(without("o"), [], before, 1000);
  assert.deepEqual(
    mapLinks(dead, mesh, []).map((link) => `${link.a}-${link.b} ${link.there.cut}`),
    ["p-r false", "o-r true"],
  );
  assert.equal(pairs(without("o"), [], dead, 1e9).length, 2);
  const unlinked = { ...mesh, links: mesh.links.filter((link) => link.from !== "o" && link.to !== "o") };
  assert.equal(pairs(unlinked, [], before, 1000).length, 2);
  const later = pairs(unlinked, [], pairs(unlinked, [], before, 1000), 1000 + CUT_SHOWN_MS);
  assert.equal(later.length, 1);
  // Whoever left the mesh is forgotten with its links.
  assert.equal(pairs({ ...without("o"), nodes: mesh.nodes.slice(1) }, [], before, 1000).length, 1);
});

test("a neighbour that is not reached is drawn, and a link for repair is no link of the plan", () => {
  const neighbours = parseNeighbours({
    neighbours: [
      { name: "o", up: false, failure: "no answer" },
      { name: "r", up: true, kind: "adopted" },
      { name: "stranger", up: false },
    ],
  });
  const links = mapLinks(pairs(mesh, neighbours, [], 0), mesh, neighbours);
  assert.deepEqual(
    links.map((link) => [`${link.a}-${link.b}`, link.there.cut, link.planned]),
    [
      ["o-r", false, true],
      ["p-r", false, false],
      ["o-p", true, true],
    ],
  );
});

test("nodes have the role that they play for the shown stream", () => {
  const cam = streamOf(place("p", { origins: ["o"], parent: "r", path: ["o", "r", "p"], viewers: 1, state: "watched" }));
  const flows = flowsOf("p", cam, new Map());
  const { pops } = parsePops({ pops: [{ name: "p", http: "http://p", viewers: 7 }] });
  const nodes = mapNodes(without("r"), cam, flows, new Map(), pops, new Set());
  assert.deepEqual(
    nodes.map(({ name, role, condition, carries, viewers, here }) => [name, role, condition, carries, viewers, here]),
    [
      ["o", "origin", "running", true, 0, false],
      ["r", "relay", "dead", true, 0, false],
      ["p", "pop", "running", true, 7, true],
    ],
  );
  assert.equal(mapNodes(mesh, undefined, [], new Map(), [], new Set())[0]?.role, "origin");
});

test("whoever answered before and refuses now is lost, unless it feeds somebody", () => {
  const pulse = new Pulse();
  pulse.heard("r", place("r", {}), 0);
  pulse.heard("o", "refused", 0);
  assert.deepEqual([...pulse.lost], []);
  pulse.heard("r", "late", 0);
  assert.deepEqual([...pulse.lost], []);
  pulse.heard("r", "refused", 0);
  assert.deepEqual([...pulse.lost], ["r"]);
  assert.deepEqual([pulse.mayAsk("r", 1999), pulse.mayAsk("r", 2000)], [false, true]);
  const conditionOf = (from: string): string | undefined =>
    mapNodes(mesh, undefined, [{ from, to: "p", backup: false }], new Map(), [], pulse.lost)[1]?.condition;
  assert.deepEqual(["o", "r"].map(conditionOf), ["dead", "running"]);
  pulse.heard("r", place("r", {}), 0);
  assert.equal(conditionOf("o"), "running");
});

test("a tree is asked for from its origins down, each node once", async () => {
  const answers: Record<string, Listing> = {
    o: place("o", { children: ["r", "silent"] }),
    r: place("r", { parent: "o", children: ["p", "q"], state: "passed" }),
    p: place("p", { parent: "r", backup: "q", children: ["r"], state: "watched" }),
    // It stands by for others, and is told no more than how far the stream is.
    q: place("q", { parent: "x", children: [], state: "idle" }),
  };
  const asked: string[] = [];
  const places = await walk("cam", ["o"], async (name) => {
    asked.push(name);
    return answers[name];
  });
  assert.deepEqual(asked, ["o", "r", "silent", "p", "q"]);
  assert.deepEqual([...places.keys()], ["o", "r", "p", "q"]);
  // A child that says otherwise is believed; one that says nothing is where its parent has it.
  assert.deepEqual(
    flowsOf("p", places.get("p"), places).map(({ from, to, backup }) => `${from}${backup ? "~" : ">"}${to}`),
    ["o>r", "o>silent", "r>p", "x~q", "q~p"],
  );
});

test("who watches is known of every stream, from one question to each node of any tree", async () => {
  const one = (node: string, ...streams: [name: string, viewers: number, ...children: string[]][]): Listing =>
    parseListing({ node, streams: streams.map(([name, viewers, ...children]) => ({ name, viewers, children })) });
  const answers: Record<string, Listing> = {
    o: one("o", ["cam", 0, "r"], ["talk", 1, "q"]),
    r: one("r", ["cam", 3], ["talk", 0]),
    q: one("q", ["cam", 0], ["talk", 5]),
  };
  const asked: string[] = [];
  const listings = await walkAll(["o", "gone"], async (name) => {
    asked.push(name);
    return answers[name];
  });
  assert.deepEqual(asked, ["o", "gone", "r", "q"]);
  assert.deepEqual([...watchersOf(listings)], [
    ["talk", [["q", 5], ["o", 1]]],
    ["cam", [["r", 3]]],
  ]);
});

test("a tree that is asked for without end ends", async () => {
  let asked = 0;
  await walk("cam", ["0"], async (name) => {
    asked += 1;
    return place(name, { children: [`${Number(name) + 1}`] });
  });
  assert.ok(asked <= 200, `${asked} nodes were asked`);
});

const sampled = (endMs: number, values: readonly (number | null)[], name = "r"): History =>
  parseHistory({
    step_ms: 1000,
    end_ms: endMs,
    samples: values.length,
    in_bps: values,
    out_bps: values.map(() => 0),
    streams: [],
    neighbours: [{ name, rtt_us: values, loss: values.map(() => 0) }],
  });

test("figures grow at their end", () => {
  const grown = joined(sampled(10_000, [1, 2, 3]), sampled(11_990, [3, 4, 5]));
  assert.ok(grown);
  assert.deepEqual(grown.columns.get("in"), [1, 2, 3, 4, 5]);
  assert.deepEqual(times(grown, 2), [10.99, 11.99]);
  assert.deepEqual(line(grown, "neighbour r rtt", { label: "RTT r", tone: 1 }, 3, 10)?.values, [30, 40, 50]);
  assert.equal(line(grown, "neighbour x rtt", { label: "RTT x", tone: 1 }, 3), undefined);
});

test("a neighbour that comes or goes has nothing where it was not there", () => {
  const grown = joined(sampled(10_000, [1, 2, 3], "old"), sampled(12_000, [3, 4, 5], "new"));
  assert.deepEqual(grown?.columns.get("neighbour old rtt"), [1, 2, null, null, null]);
  assert.deepEqual(grown?.columns.get("neighbour new rtt"), [null, null, 3, 4, 5]);
});

test("figures that do not meet are not joined, and none grow without end", () => {
  assert.equal(joined(sampled(10_000, [1]), sampled(90_000, [2])), undefined);
  assert.equal(joined(sampled(10_000, [1]), sampled(9000, [2])), undefined);
  const full = sampled(0 + 1000, new Array(SAMPLES_MAX).fill(1));
  assert.equal(joined(full, sampled(3000, [2, 2]))?.columns.get("in")?.length, SAMPLES_MAX);
  assert.throws(() => parseHistory({ samples: 3 }), TypeError);
});

test("times, shares and lengths are written for people", () => {
  assert.deepEqual([0.42, 9.96, 24, 1240, -3.2].map(millis), ["0.4 ms", "10 ms", "24 ms", "1.2 s", "-3.2 ms"]);
  assert.deepEqual([0, 0.004, 0.12, 1].map(percent), ["0 %", "0.4 %", "12 %", "100 %"]);
  assert.deepEqual([0, 999, 1200, 48_200_000, 4e9].map(bytes), ["0 bytes", "999 bytes", "1.2 kB", "48 MB", "4.0 GB"]);
});
