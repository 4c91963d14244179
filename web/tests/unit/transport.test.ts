import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOffer } from "../../src/api";
import { Cutter, TransportConnection, transportUrl } from "../../src/media/transport";
import { FakeSession, framed } from "./session";

const words = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function setup(): { session: FakeSession; said: string[]; connection: TransportConnection } {
  const session = new FakeSession();
  const said: string[] = [];
  const connection = new TransportConnection(session.asSession, {
    opened: () => said.push("opened"),
    init: (mime, bytes, resumed) => said.push(`init ${mime} ${bytes.byteLength} ${resumed}`),
    media: (at, bytes) => said.push(`media ${at.group}@${at.timeline}:${at.index} ${bytes.byteLength}`),
    waiting: () => said.push("waiting"),
    error: (text) => said.push(`error ${text}`),
    closed: () => said.push("closed"),
  });
  return { session, said, connection };
}

test("messages are cut out of the stream wherever its pieces end", () => {
  const sent = [new Uint8Array([1, 2, 3]), new Uint8Array(1000).fill(7), new Uint8Array([9])];
  const stream = sent.flatMap((bytes, at) => [...framed(at, bytes)]);
  for (const size of [1, 2, 3, 5, 7, 64, stream.length]) {
    const cutter = new Cutter();
    const cut = [];
    for (let at = 0; at < stream.length; at += size) {
      cut.push(...cutter.push(Uint8Array.from(stream.slice(at, at + size))));
    }
    assert.deepEqual(cut, sent.map((bytes, kind) => ({ kind, bytes })), `pieces of ${size}`);
  }
  assert.throws(() => [...new Cutter().push(new Uint8Array([2, 255, 0, 0, 0]))], RangeError);
});

test("what a WebSocket would say comes over a session too", async () => {
  const { session, said } = setup();
  session.open();
  session.say(1, words({ type: "init", mime: "video/mp4", resumed: true }));
  session.say(2, new Uint8Array(10));
  session.say(2, new Uint8Array(25));
  session.say(9, words("of a newer node"));
  session.say(1, words({ type: "waiting" }));
  await settled();
  assert.deepEqual(said, ["opened", "init video/mp4 10 true", "media 0@0:0 5", "waiting"]);
  session.die();
  await settled();
  assert.equal(said.at(-1), "closed");
});

test("a node that refuses says why", async () => {
  const { session, said } = setup();
  session.open();
  session.end({ closeCode: 503, reason: "node a has as many viewers as it takes" });
  session.die();
  await settled();
  assert.deepEqual(said, ["opened", "error node a has as many viewers as it takes", "closed"]);
});

test("garbage ends a session, and one that was closed says nothing more", async () => {
  const garbage = setup();
  garbage.session.open();
  garbage.session.say(2, new Uint8Array(3));
  await settled();
  assert.deepEqual(garbage.said, ["opened", "closed"]);
  const { session, said, connection } = setup();
  session.open();
  await settled();
  connection.close();
  session.say(1, words({ type: "waiting" }));
  session.die();
  await settled();
  assert.deepEqual(said, ["opened"]);
});

test("a node that falls silent is knocked at, which tells whether it is there", async (context) => {
  context.mock.timers.enable({ apis: ["setInterval", "Date"] });
  const { session, connection } = setup();
  session.open();
  await settled();
  for (let step = 0; step < 5; step++) {
    session.say(1, words({ type: "waiting" }));
    await settled();
    context.mock.timers.tick(20);
  }
  assert.equal(session.knocks, 0);
  for (let step = 0; step < 5; step++) {
    context.mock.timers.tick(30);
    await settled();
  }
  assert.equal(session.knocks, 5);
  connection.close();
  context.mock.timers.tick(1000);
  await settled();
  assert.equal(session.knocks, 5);
});

test("a node tells how it is reached", () => {
  const webtransport = { port: 8080, certificates: ["00ff".repeat(16), "no hash"] };
  const offer = parseOffer({ webtransport });
  assert.deepEqual(offer?.certificates.map((hash) => [hash.length, hash[0], hash[1]]), [[32, 0, 255]]);
  for (const none of [undefined, {}, { webtransport: null }, { webtransport: { ...webtransport, port: 70_000 } }]) {
    assert.equal(parseOffer(none), undefined);
  }
  assert.ok(offer);
  assert.equal(transportUrl("https://p1/tv/", offer, "cam1", undefined), "https://p1:8080/live/cam1");
  assert.equal(transportUrl("http://localhost:8081/", offer, "cam1", undefined), "https://127.0.0.1:8080/live/cam1");
  const after = { group: 5n, timeline: 7n, index: 9 };
  assert.equal(transportUrl("http://[::1]:80/", offer, "cam1", after), "https://[::1]:8080/live/cam1?after=5%407%3A9");
});
