import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Backoff } from "../../src/backoff";
import { Feed, type Socket } from "../../src/media/feed";

class FakeSocket {
  binaryType: BinaryType = "blob";
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  closed = false;

  close(): void {
    this.closed = true;
  }

  say(message: object | string): void {
    this.#receive(typeof message === "string" ? message : JSON.stringify(message));
  }

  send(length: number): void {
    this.#receive(new ArrayBuffer(length));
  }

  die(): void {
    this.onclose?.call(this as unknown as WebSocket, {} as CloseEvent);
  }

  #receive(data: unknown): void {
    this.onmessage?.call(this as unknown as WebSocket, { data } as MessageEvent);
  }
}

function setup(): { feed: Feed; sockets: FakeSocket[]; events: string[]; last: () => FakeSocket } {
  const sockets: FakeSocket[] = [];
  const events: string[] = [];
  const feed = new Feed(
    "ws://node/live/cam1.ws",
    {
      init: (mime, bytes, resumed) => events.push(`init ${mime} ${bytes.byteLength} ${resumed}`),
      media: (bytes) => events.push(`media ${bytes.byteLength}`),
      waiting: () => events.push("waiting"),
      error: (message) => events.push(`error ${message}`),
      lost: () => events.push("lost"),
    },
    () => {
      sockets.push(new FakeSocket());
      return sockets.at(-1) as unknown as Socket;
    },
  );
  return { feed, sockets, events, last: () => sockets.at(-1) as FakeSocket };
}

test("messages are told apart by what came before", () => {
  const { feed, events, last } = setup();
  last().send(9); // before any init: of no use
  last().say({ type: "init", mime: "video/mp4" });
  last().send(10);
  last().send(11);
  last().say({ type: "init", mime: "video/webm" });
  last().send(12);
  last().say({ type: "waiting" });
  last().say({ type: "something newer" });
  last().say("no JSON");
  last().say({ type: "error", message: "withdrawn" });
  assert.deepEqual(events, [
    "init video/mp4 10 true",
    "media 11",
    "init video/webm 12 false",
    "waiting",
    "error withdrawn",
  ]);
  feed.close();
});

test("a lost socket is opened again, later and later; close ends that", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const { feed, sockets, events, last } = setup();
  last().die();
  assert.equal(sockets.length, 1);
  context.mock.timers.tick(300);
  assert.equal(sockets.length, 2);
  for (let count = 0; count < 8; count++) {
    last().die();
    context.mock.timers.tick(12_000);
  }
  last().die();
  const before = sockets.length;
  context.mock.timers.tick(3000);
  assert.equal(sockets.length, before, "the pause has grown");
  feed.retryNow();
  assert.equal(sockets.length, before + 1);
  feed.close();
  assert.ok(last().closed);
  context.mock.timers.tick(60_000);
  assert.equal(sockets.length, before + 1);
  assert.ok(events.every((event) => event === "lost"));
});

test("a silent socket is given up, but not while the node says it waits", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const { feed, sockets, last } = setup();
  last().say({ type: "waiting" });
  context.mock.timers.tick(30_000);
  assert.equal(sockets.length, 1);
  last().say({ type: "init", mime: "video/mp4" });
  context.mock.timers.tick(8_000);
  context.mock.timers.tick(300);
  assert.equal(sockets[0]?.closed, true);
  assert.equal(sockets.length, 2);
  feed.close();
});

test("pauses double up to a bound, with jitter", () => {
  const random = mock.fn(() => 0.5);
  const backoff = new Backoff(100, 1000, random);
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => backoff.next()), [100, 200, 400, 800, 1000, 1000]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});
