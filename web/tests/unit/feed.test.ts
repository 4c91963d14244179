import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Backoff } from "../../src/backoff";
import type { ConnectionEvents } from "../../src/media/connection";
import { Feed, type Guide, type Pop } from "../../src/media/feed";
import { formatPosition, type Position } from "../../src/media/position";

const INIT = new Uint8Array([1, 2, 3]);

/** A connection that the feed has opened, in the hands of the test. */
class Line {
  closed = false;

  constructor(
    readonly pop: Pop,
    readonly after: Position | undefined,
    readonly events: ConnectionEvents,
  ) {}

  init(resumed: boolean, bytes = INIT): void {
    this.events.init("video/mp4", bytes, resumed);
  }

  /** Frames `from` up to `to` of a group. */
  frames(group: number, from: number, to: number, timeline = 1): void {
    for (let index = from; index <= to && !this.closed; index++) {
      const at = { group: BigInt(group), timeline: BigInt(timeline), index };
      this.events.media(at, new Uint8Array([group, index]));
    }
  }
}

class World {
  readonly lines: Line[] = [];
  readonly events: string[] = [];
  readonly failed: string[] = [];
  better: string | undefined;
  readonly feed: Feed;

  constructor(context: TestContext, names: readonly string[]) {
    context.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
    const pop = (name: string): Pop => ({ name, base: `http://${name}/` });
    const guide: Guide = {
      best: (without) => {
        const left = names.filter((name) => !without.includes(name));
        const fresh = left.filter((name) => !this.failed.includes(name));
        const name = fresh[0] ?? left[0];
        return name === undefined ? undefined : pop(name);
      },
      better: () => (this.better === undefined ? undefined : pop(this.better)),
      failed: (name) => this.failed.push(name),
      moved: () => undefined,
    };
    this.feed = new Feed(
      guide,
      {
        init: (_, bytes, known) => this.events.push(`init ${bytes.byteLength} ${known}`),
        media: (bytes) => this.events.push(bytes.join(".")),
        waiting: () => this.events.push("waiting"),
        error: (message) => this.events.push(`error ${message}`),
        lost: () => this.events.push("lost"),
        moved: ({ name }) => this.events.push(`from ${name}`),
      },
      (to, after, events) => {
        const line = new Line(to, after, events);
        this.lines.push(line);
        return { carrier: "WebSocket", close: () => (line.closed = true) };
      },
    );
    context.after(() => this.feed.close());
  }

  get last(): Line {
    return this.lines.at(-1) as Line;
  }

  /** What happened since the last look. */
  take(): string[] {
    return this.events.splice(0);
  }
}

/** Lets time go by in the steps of the feed's own clock, with a frame of one line each. */
function flow(context: TestContext, line: Line, group: number, from: number, to: number): void {
  for (let index = from; index <= to; index++) {
    context.mock.timers.tick(40);
    line.frames(group, index, index);
  }
}

function pass(context: TestContext, ms: number): void {
  for (let passed = 0; passed < ms; passed += 50) context.mock.timers.tick(50);
}

test("a PoP that dies is followed by the next one at the very frame", (context) => {
  const world = new World(context, ["p1", "p2"]);
  const [first] = world.lines as [Line];
  first.init(false);
  first.frames(5, 0, 2);
  assert.deepEqual(world.take(), ["from p1", "init 3 false", "5.0", "5.1", "5.2"]);
  first.events.closed();
  assert.equal(world.last.pop.name, "p2");
  assert.equal(formatPosition(world.last.after as Position), "5@1:2");
  world.last.init(true);
  world.last.frames(5, 3, 4);
  // The decoder needs no new start, and gets none: it would drop frames up to the next keyframe.
  assert.deepEqual(world.take(), ["from p2", "5.3", "5.4"]);
});

test("a PoP that falls silent is passed over, and whoever brings the next frame is the one", (context) => {
  const world = new World(context, ["p1", "p2"]);
  const [first] = world.lines as [Line];
  first.init(false);
  flow(context, first, 5, 0, 9);
  pass(context, 250);
  assert.equal(world.lines.length, 1, "not yet late");
  pass(context, 100);
  const second = world.last;
  assert.equal(second.pop.name, "p2");
  assert.ok(!first.closed, "the first one may yet come back");
  world.take();
  second.init(true);
  second.frames(5, 10, 11);
  assert.deepEqual(world.take(), ["from p2", "5.10", "5.11"]);
  assert.ok(first.closed && !second.closed);
  assert.deepEqual(world.failed, ["p1"]);
});

test("a pause of the stream itself moves nobody", (context) => {
  const world = new World(context, ["p1", "p2"]);
  const [first] = world.lines as [Line];
  first.init(false);
  flow(context, first, 5, 0, 9);
  pass(context, 500);
  assert.equal(world.lines.length, 2);
  pass(context, 3100);
  assert.ok(world.lines[1]?.closed, "the second has nothing either");
  world.take();
  first.frames(5, 10, 11);
  assert.deepEqual(world.take(), ["5.10", "5.11"]);
});

test("a better PoP takes over with its first frame, and what comes twice is left out", (context) => {
  const world = new World(context, ["p1", "p2"]);
  const [first] = world.lines as [Line];
  first.init(false);
  flow(context, first, 5, 0, 5);
  world.better = "p2";
  flow(context, first, 5, 6, 10);
  const second = world.last;
  assert.equal(second.pop.name, "p2");
  world.take();
  second.init(true);
  second.frames(5, Number(second.after?.index) + 1, 12);
  assert.deepEqual(world.take(), ["from p2", "5.11", "5.12"]);
  assert.ok(first.closed);
});

test("a better PoP that cannot go on at the frame is not worth a jump", (context) => {
  const world = new World(context, ["p1", "p2"]);
  const [first] = world.lines as [Line];
  first.init(false);
  flow(context, first, 5, 0, 5);
  world.better = "p2";
  flow(context, first, 5, 6, 10);
  const second = world.last;
  world.take();
  second.init(false);
  second.frames(6, 0, 1);
  assert.ok(second.closed && !first.closed);
  flow(context, first, 5, 11, 11);
  assert.deepEqual(world.take(), ["5.11"]);
});

test("where the frames between are gone the decoder starts anew, in the same timeline", (context) => {
  const world = new World(context, ["p1", "p2"]);
  const [first] = world.lines as [Line];
  first.init(false);
  first.frames(5, 0, 1);
  first.events.closed();
  world.take();
  world.last.init(false);
  world.last.frames(9, 0, 1);
  assert.deepEqual(world.take(), ["from p2", "init 3 true", "9.0", "9.1"]);
});

test("a group that comes again from its beginning goes on where the player is", (context) => {
  const world = new World(context, ["p1"]);
  const [first] = world.lines as [Line];
  first.init(false);
  first.frames(5, 0, 3);
  first.events.closed();
  pass(context, 250);
  world.take();
  world.last.init(false);
  world.last.frames(5, 0, 5);
  assert.deepEqual(world.take(), ["5.4", "5.5"]);
});

test("another timeline or other tracks are told", (context) => {
  const world = new World(context, ["p1"]);
  const [first] = world.lines as [Line];
  first.init(false);
  first.frames(5, 0, 0);
  first.init(false);
  first.frames(6, 0, 0, 2);
  first.init(false, new Uint8Array([1, 2]));
  first.frames(7, 0, 0, 2);
  assert.deepEqual(world.take(), ["from p1", "init 3 false", "5.0", "init 3 false", "6.0", "init 2 true", "7.0"]);
});

test("all PoPs are tried, then the pauses grow; close ends that", (context) => {
  const world = new World(context, ["p1", "p2", "p3"]);
  const allDie = (): void => {
    world.take();
    while (world.take().length === 0) world.last.events.closed();
  };
  allDie();
  assert.deepEqual(world.lines.map(({ pop }) => pop.name), ["p1", "p2", "p3"]);
  pass(context, 250);
  assert.equal(world.lines.length, 4);
  for (let round = 0; round < 8; round++) {
    allDie();
    pass(context, 12_000);
  }
  allDie();
  const tried = world.lines.length;
  pass(context, 3000);
  assert.equal(world.lines.length, tried, "the pause has grown");
  world.feed.retryNow();
  assert.equal(world.lines.length, tried + 1);
  world.feed.close();
  assert.ok(world.last.closed);
  pass(context, 60_000);
  assert.equal(world.lines.length, tried + 1);
});

test("a stream that nobody can give waits, and another PoP that has it is found", (context) => {
  const world = new World(context, ["p1", "p2"]);
  const [first] = world.lines as [Line];
  first.init(false);
  flow(context, first, 5, 0, 3);
  world.take();
  first.events.waiting();
  pass(context, 100);
  assert.equal(world.last.pop.name, "p2");
  world.last.events.waiting();
  assert.ok(world.last.closed && !first.closed);
  pass(context, 20_000);
  assert.ok(world.lines.length > 2, "asked again");
  assert.ok(world.lines.length < 12, `asked ${world.lines.length} times`);
  while (world.last.closed) pass(context, 50);
  world.last.init(true);
  world.last.frames(5, 4, 4);
  assert.deepEqual(world.take(), ["waiting", "from p2", "5.4"]);
});

test("a silent connection is given up, but not while the node says it waits", (context) => {
  const world = new World(context, ["p1"]);
  world.last.events.waiting();
  pass(context, 30_000);
  assert.equal(world.lines.length, 1);
  world.last.init(false);
  world.last.frames(1, 0, 0);
  pass(context, 8_300);
  assert.equal(world.lines[0]?.closed, true);
  assert.equal(world.lines.length, 2);
});

test("a PoP chosen by hand takes over without a break", (context) => {
  const world = new World(context, ["p1", "p2"]);
  const [first] = world.lines as [Line];
  first.init(false);
  first.frames(5, 0, 3);
  world.take();
  world.feed.moveTo({ name: "p2", base: "http://p2/" });
  world.last.init(true);
  first.frames(5, 4, 4);
  world.last.frames(5, 4, 5);
  assert.deepEqual(world.take(), ["5.4", "from p2", "5.5"]);
  assert.ok(first.closed);
});

test("pauses double up to a bound, with jitter", () => {
  const backoff = new Backoff(100, 1000, () => 0.5);
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => backoff.next()), [100, 200, 400, 800, 1000, 1000]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test("a PoP that gets its name while it plays is the same one", (context) => {
  const world = new World(context, ["a"]);
  const line = world.last;
  line.init(false);
  line.frames(1, 0, 1);
  assert.deepEqual(world.take(), ["from a", "init 3 false", "1.0", "1.1"]);
  (line.pop as { name: string }).name = "near";
  line.frames(1, 2, 2);
  assert.deepEqual(world.take(), ["1.2"], "no move");
});
