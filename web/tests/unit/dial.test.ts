import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Offer } from "../../src/api";
import type { Connection } from "../../src/media/connection";
import { Dialer } from "../../src/media/dial";
import type { Pop } from "../../src/media/feed";
import type { Session } from "../../src/media/transport";
import { FakeSession } from "./session";

const OFFER: Offer = { port: 8080, certificates: [] };
const POP: Pop = { name: "p1", base: "http://p1/", offer: OFFER };
const AFTER = { group: 5n, timeline: 7n, index: 9 };
const WAITING = '{"type":"waiting"}';

const WORDS = new TextEncoder().encode(WAITING);

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class FakeSocket {
  binaryType: BinaryType = "blob";
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  closes = 0;

  close(): void {
    this.closes += 1;
  }
}

class World {
  readonly sessions: FakeSession[] = [];
  readonly sockets: FakeSocket[] = [];
  readonly said: string[] = [];
  readonly dialer: Dialer;

  constructor(context: TestContext, browser: "has none" | "knows no hashes" | "has it" = "has it") {
    context.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_700_000_000_000 });
    const open = (): Session => {
      if (browser === "knows no hashes") throw new Error("NotSupportedError");
      const session = new FakeSession();
      this.sessions.push(session);
      return session.asSession;
    };
    const socket = (): WebSocket => {
      this.sockets.push(new FakeSocket());
      return this.sockets.at(-1) as unknown as WebSocket;
    };
    this.dialer = new Dialer({ session: browser === "has none" ? undefined : open, socket });
  }

  dial(pop = POP, after?: typeof AFTER): Connection {
    return this.dialer.to("cam")(pop, after, {
      init: () => this.said.push("init"),
      media: () => this.said.push("media"),
      waiting: () => this.said.push("waiting"),
      error: (message) => this.said.push(message),
      closed: () => this.said.push("closed"),
    });
  }

  get opened(): [sessions: number, sockets: number] {
    return [this.sessions.length, this.sockets.length];
  }
}

test("WebTransport carries it where it opens in time", async (context) => {
  const world = new World(context);
  const connection = world.dial();
  context.mock.timers.tick(900);
  world.sessions[0]?.open();
  await settled();
  context.mock.timers.tick(10_000);
  world.sessions[0]?.say(1, WORDS);
  await settled();
  assert.deepEqual([world.opened, world.said, connection.carrier], [[1, 0], ["waiting"], "WebTransport"]);
  world.sessions[0]?.die();
  await settled();
  assert.deepEqual([world.opened, world.said], [[1, 0], ["waiting", "closed"]], "what comes next is the feed's");
  world.dial();
  assert.deepEqual(world.opened, [2, 0], "it came through");
});

test("a WebSocket does where the browser or the PoP has nothing else", (context) => {
  const without = new World(context, "has none");
  assert.equal(without.dial().carrier, "WebSocket");
  context.mock.timers.reset();
  const refuses = new World(context, "knows no hashes");
  assert.equal(refuses.dial().carrier, "WebSocket");
  context.mock.timers.reset();
  const world = new World(context);
  assert.equal(world.dial({ name: "old", base: "http://old/" }).carrier, "WebSocket");
  assert.deepEqual(world.opened, [0, 1]);
});

test("where WebTransport does not come through it is left alone for a while", async (context) => {
  const world = new World(context);
  const connection = world.dial();
  world.sessions[0]?.fail();
  await settled();
  assert.deepEqual(world.opened, [1, 1]);
  world.sockets[0]?.onmessage?.({ data: WAITING });
  assert.deepEqual([world.said, connection.carrier], [["waiting"], "WebSocket"]);
  world.dial();
  assert.deepEqual(world.opened, [1, 2]);
  world.dial({ ...POP, base: "http://p2/" });
  assert.deepEqual(world.opened, [2, 2], "another PoP may be reached");
  context.mock.timers.tick(300_000);
  world.dial();
  assert.equal(world.sessions.length, 3);
});

test("one that opens too late is not waited for, and sooner not where a picture is shown", async (context) => {
  for (const [after, patience] of [[undefined, 1000], [AFTER, 300]] as const) {
    const world = new World(context);
    const connection = world.dial(POP, after);
    context.mock.timers.tick(patience - 1);
    assert.deepEqual(world.opened, [1, 0]);
    context.mock.timers.tick(1);
    assert.deepEqual(world.opened, [1, 1]);
    world.sockets[0]?.onmessage?.({ data: WAITING });
    assert.deepEqual([connection.carrier, world.sessions[0]?.closes], ["WebSocket", 1]);
    world.sessions[0]?.open();
    world.sessions[0]?.say(1, WORDS);
    await settled();
    assert.deepEqual(world.said, ["waiting"]);
    context.mock.timers.reset();
  }
});

test("of two that run the first to bring something stays", async (context) => {
  const world = new World(context);
  const connection = world.dial(POP, AFTER);
  context.mock.timers.tick(300);
  world.sessions[0]?.open();
  world.sessions[0]?.say(1, WORDS);
  await settled();
  assert.deepEqual([connection.carrier, world.sockets[0]?.closes, world.said], ["WebTransport", 1, ["waiting"]]);
  connection.close();
  assert.equal(world.sessions[0]?.closes, 1);
});

test("a PoP that answers in neither way is lost, and nothing is held against WebTransport", async (context) => {
  const world = new World(context);
  world.dial();
  world.sessions[0]?.fail();
  await settled();
  world.sockets[0]?.onclose?.();
  assert.deepEqual(world.said, ["closed"]);
  world.dial();
  assert.equal(world.sessions.length, 2);
});
