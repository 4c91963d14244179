import assert from "node:assert/strict";
import { test } from "node:test";
import { type LabLink, parseEntry, parseState } from "../../src/lab/api";
import { besides, clock, linkLabel, linkLine, script, severity } from "../../src/lab/notation";

const usual = { delayMs: 10, jitterMs: 0, loss: 0, rateBps: undefined };
const direction = { cut: false, doing: usual, sentBps: 500_000, rttMs: 20.4 };
const link: LabLink = { a: "n1", b: "n2", planned: true, usual, there: direction, back: direction };

test("a change of a link is the line that a script has for it", () => {
  assert.equal(linkLine(link, "both", { ...usual, delayMs: 80, loss: 0.05 }), "link n1-n2 delay=80ms loss=5%");
  assert.equal(linkLine(link, "there", { ...usual, jitterMs: 2.5 }), "link n1>n2 jitter=2.5ms");
  assert.equal(linkLine(link, "back", { ...usual, rateBps: 600_000 }), "link n2>n1 rate=600kbit/s");
  assert.equal(linkLine(link, "both", usual), undefined);
});

test("bursts, order and queue are told where they are not as usual, and put back as the file has them", () => {
  const odd = { ...usual, burst: "1%,20%,50%", reorder: true, queue: "40kB" };
  const worse = { ...link, there: { ...direction, doing: odd } };
  assert.equal(linkLine(worse, "both", usual), "link n1-n2 burst=none reorder=false queue=250kB");
  assert.equal(linkLine(link, "there", odd), "link n1>n2 burst=1%,20%,50% reorder=true queue=40kB");
  assert.equal(linkLine(worse, "there", { ...odd, delayMs: 80 }), "link n1>n2 delay=80ms", "what is there stays");
  assert.equal(linkLine({ ...link, there: { ...direction, doing: { ...usual, queue: "250kB" } } }, "both", usual), undefined);
  assert.equal(linkLabel(worse), "10 ms · bursts · reorders · queue ⇄ 10 ms");
  assert.deepEqual(besides(odd), ["bursts 1%,20%,50%", "reorders", "queue 40kB"]);
  assert.deepEqual(besides({ ...usual, queue: "250kB" }), []);
  const often = severity({ ...direction, doing: { ...usual, burst: "1%,20%,50%" } }, usual);
  assert.ok(often > 0.2 && often < 0.4, String(often));
  assert.equal(severity({ ...direction, doing: odd }, odd), 0);
});

test("what differs in one direction is said of both, and fractions of the lab are no difference", () => {
  const uneven = { ...link, back: { ...direction, doing: { ...usual, loss: 0.070_000_000_000_000_01, rateBps: 2e6 } } };
  assert.equal(linkLine(uneven, "both", usual), "link n1-n2 loss=0% rate=none");
  assert.equal(linkLine(uneven, "back", { ...usual, loss: 0.07, rateBps: 2e6 }), undefined);
  assert.equal(linkLabel(uneven), "10 ms ⇄ 10 ms · 7 % · 2.0 Mbit/s");
  assert.equal(linkLabel(link), "10 ms");
});

test("a link is as bad as it is worse than the file has it", () => {
  assert.equal(severity(direction, usual), 0);
  assert.equal(severity({ ...direction, doing: { ...usual, delayMs: 500 } }, usual), 1);
  assert.equal(severity({ ...direction, doing: { ...usual, delayMs: 500 } }, { ...usual, delayMs: 500 }), 0);
  const lossy = severity({ ...direction, doing: { ...usual, loss: 0.02 } }, usual);
  assert.ok(lossy > 0.1 && lossy < 0.5, String(lossy));
});

test("what was done becomes steps, with the time between them", () => {
  const entry = (id: number, atS: number, kind: string, line?: string) => {
    const read = parseEntry({ id, at_s: atS, kind, text: "…", line });
    assert.ok(read);
    return read;
  };
  const entries = [
    entry(1, 4.04, "did", "kill n3"),
    entry(2, 4.3, "parent"),
    entry(3, 5, "failed", "kill n3"),
    entry(4, 7.54, "did", "start n3"),
  ];
  assert.equal(script(entries), '[[step]]\ndo = "kill n3"\n\n[[step]]\nafter = "3.5s"\ndo = "start n3"\n');
  assert.equal(script([]), "");
});

test("answers are checked where they enter", () => {
  assert.throws(() => parseState({ streams: [] }), /list of nodes/);
  const more = { burst: "0.1%,20%,50%", reorder: true, queue: null };
  const state = parseState({
    nodes: [{ name: "n1", state: "stalled" }, 7],
    links: [{ a: "n1", b: "n2", planned: true, there: { cut: true, delay_ms: 10, loss: 0.01, rate_bps: null, ...more }, back: { delay_ms: 10 } }],
    viewers: [{ node: "n1", stream: "cam", state: "unheard of" }],
  });
  assert.deepEqual(state.nodes.map((node) => node.state), ["stalled"]);
  const plain = { delayMs: 10, jitterMs: 0, loss: 0, rateBps: undefined, burst: undefined, reorder: false, queue: undefined };
  assert.deepEqual(state.links[0]?.there.doing, { ...plain, loss: 0.01, burst: "0.1%,20%,50%", reorder: true });
  assert.deepEqual(state.links[0]?.back.doing, plain, "a lab too old to tell");
  assert.equal(state.links[0]?.usual, undefined);
  assert.equal(state.viewers[0]?.state, "waiting");
  assert.equal(parseEntry({ text: "no id" }), undefined);
});

test("times are minutes and seconds", () => {
  assert.equal(clock(4.04), "0:04.0");
  assert.equal(clock(75.26), "1:15.3");
});
