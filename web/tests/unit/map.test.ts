import assert from "node:assert/strict";
import { test } from "node:test";
import { curve, fit, labelPlaces, UNMOVED, wheelFactor, zoomed } from "../../src/map/geometry";
import { layout, type Places } from "../../src/map/layout";

const named = (...names: string[]) => names.map((name) => ({ name }));
const DIAMOND = [
  ["s1", "n1"],
  ["n1", "n2"],
  ["n1", "n3"],
  ["n2", "n4"],
  ["n3", "n4"],
] as const;
const NODES = named("s1", "n1", "n2", "n3", "n4");

function distance(places: Places, one: string, other: string): number {
  const [a, b] = [places.get(one), places.get(other)];
  assert.ok(a && b);
  return Math.hypot(a.x - b.x, a.y - b.y);
}

test("the same graph always has the same places", () => {
  assert.deepEqual([...layout(NODES, DIAMOND)], [...layout(NODES, DIAMOND)]);
});

test("distances on the map follow the number of links", () => {
  const places = layout(NODES, DIAMOND);
  for (const [a, b] of DIAMOND) assert.ok(Math.abs(distance(places, a, b) - 1) < 0.35, `${a}-${b}`);
  assert.ok(distance(places, "s1", "n4") > 2.2);
  assert.ok(distance(places, "n2", "n3") > 0.8);
});

test("no node lies on a link of others, and none on another", () => {
  const names = Array.from({ length: 20 }, (_, n) => `n${n}`);
  const links = names.flatMap((name, n) => (n === 0 ? [] : [[name, names[Math.floor((n - 1) / 2)] ?? ""] as const]));
  const places = layout(named(...names), links);
  for (const one of names) {
    for (const other of names) if (one < other) assert.ok(distance(places, one, other) > 0.25, `${one} ${other}`);
  }
});

test("what was there moves little when a node comes", () => {
  const before = layout(NODES, DIAMOND);
  const after = layout([...NODES, { name: "n5" }], [...DIAMOND, ["n4", "n5"]], before);
  for (const { name } of NODES) {
    const [was, is] = [before.get(name), after.get(name)];
    assert.ok(was && is && Math.hypot(was.x - is.x, was.y - is.y) < 0.5, name);
  }
  assert.ok(after.has("n5"));
});

test("places that are given are kept", () => {
  const given = [
    { name: "porto", at: { x: -8.6, y: 41.1 } },
    { name: "faro", at: { x: -7.9, y: 37 } },
  ];
  assert.deepEqual(layout(given, [["porto", "faro"]]).get("faro"), { x: -7.9, y: 37 });
});

test("parts that hang together in no way, and nothing at all, are no trouble", () => {
  assert.equal(layout([], []).size, 0);
  const places = layout(named("a", "b", "c", "d"), [["a", "b"], ["c", "d"], ["a", "gone"]]);
  assert.equal(places.size, 4);
  assert.ok(distance(places, "a", "c") > 0.5);
});

test("a map fits its frame, and is turned where the frame is high", () => {
  const places = layout(named("a", "b", "c", "d"), [["a", "b"], ["b", "c"], ["c", "d"]]);
  for (const size of [
    { width: 1000, height: 500 },
    { width: 360, height: 480 },
  ]) {
    const at = [...fit(places, size, { x: 40, y: 40 }, UNMOVED).values()];
    for (const { x, y } of at) assert.ok(x >= 39 && x <= size.width - 39 && y >= 39 && y <= size.height - 39);
    const spread = (of: (point: { x: number; y: number }) => number) => Math.max(...at.map(of)) - Math.min(...at.map(of));
    assert.equal(spread((point) => point.y) > spread((point) => point.x), size.height > size.width);
  }
});

test("what is under the pointer stays there when zoomed", () => {
  const [size, pointer] = [{ width: 800, height: 600 }, { x: 700, y: 100 }];
  const places: Places = new Map([
    ["a", { x: 0, y: 0 }],
    ["b", { x: 1, y: 1 }],
  ]);
  const before = fit(places, size, { x: 40, y: 40 }, UNMOVED).get("b");
  assert.ok(before);
  const after = fit(places, size, { x: 40, y: 40 }, zoomed(UNMOVED, 2, before, size)).get("b");
  assert.ok(after && Math.hypot(before.x - after.x, before.y - after.y) < 1e-6);
  assert.equal(zoomed(UNMOVED, 1000, pointer, size).zoom, zoomed(UNMOVED, 2000, pointer, size).zoom);
});

test("strokes of both directions lie on different sides of a link", () => {
  const [p, q] = [
    { x: 0, y: 0 },
    { x: 100, y: 0 },
  ];
  const [there, back] = [curve(p, q, 0, 5, 10).at(0.5), curve(q, p, 0, 5, 10).at(0.5)];
  assert.ok(there.y * back.y < 0);
});

test("labels cover neither each other nor nodes; bad links are written first", () => {
  const line = curve({ x: 0, y: 0 }, { x: 600, y: 0 }, 0, 0, 0);
  const crossing = curve({ x: 300, y: -100 }, { x: 300, y: 100 }, 0, 0, 0);
  const wish = (key: string, of: typeof line, urgency: number) => ({ key, line: of, width: 50, urgency });
  const places = labelPlaces([wish("calm", line, 0), wish("bad", crossing, 1)], [], 14);
  assert.deepEqual(places.get("bad"), { x: 300, y: 0 });
  assert.ok(Math.abs((places.get("calm")?.x ?? 300) - 300) >= 50);
  const crowded = labelPlaces([wish("calm", line, 0), wish("bad", line, 1)], [150, 220, 300, 370, 440].map((x) => ({ x, y: 0 })), 14);
  assert.deepEqual([...crowded.keys()], ["bad"]);
});

test("a wheel scrolls the page, and zooms with Ctrl or Meta only, by little at each notch", () => {
  const wheel = (deltaY: number, keys: object = {}) => wheelFactor({ deltaY, ctrlKey: false, metaKey: false, ...keys });
  assert.equal(wheel(-120), undefined);
  assert.equal(wheel(-120, { ctrlKey: true }), wheel(-120, { metaKey: true }));
  const [nearer = 0, further = 0, pinch = 0] = [-120, 120, -5].map((deltaY) => wheel(deltaY, { ctrlKey: true }));
  assert.ok(nearer > 1.1 && nearer < 1.3, String(nearer));
  assert.ok(Math.abs(nearer * further - 1) < 1e-9);
  assert.ok(pinch > 1.04 && pinch < 1.06, String(pinch));
});
