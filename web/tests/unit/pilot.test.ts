import assert from "node:assert/strict";
import { test } from "node:test";
import { LiveEdge, Pilot, type PilotOutput, RATE_FAST, RATE_QUICK, RATE_SLOW, type Range } from "../../src/media/pilot";

const TICK = 0.1;

/** A world in which media arrive at real time, and a player that obeys the pilot. */
class World {
  readonly pilot = new Pilot();
  now = 0;
  position: number;
  ranges: Range[];
  edge: number;
  dry = false;
  jumps: NonNullable<PilotOutput["jump"]>[] = [];
  rate = 1;

  constructor(position: number, ranges: Range[]) {
    this.position = position;
    this.ranges = ranges;
    this.edge = ranges.at(-1)?.end ?? 0;
  }

  run(seconds: number, arriving = true): this {
    for (let tick = 0; tick < Math.round(seconds / TICK); tick++) {
      this.now += TICK;
      if (arriving) this.arrive(TICK);
      const here = this.ranges.find((range) => this.position >= range.start && this.position <= range.end);
      const next = this.position + TICK * this.rate;
      this.dry = !here || next > here.end;
      this.position = here ? Math.min(next, here.end) : this.position;
      const output = this.pilot.step(this);
      this.rate = output.rate;
      if (output.jump) {
        this.jumps.push(output.jump);
        this.position = output.jump.to;
      }
    }
    return this;
  }

  arrive(seconds: number): void {
    this.edge += seconds;
    const last = this.ranges.pop() ?? { start: 0, end: 0 };
    this.ranges.push({ start: last.start, end: this.edge });
  }

  get behind(): number {
    return this.edge - this.position;
  }
}

test("on target it plays at the pace of time", () => {
  const world = new World(10, [{ start: 5, end: 10.6 }]).run(30);
  assert.equal(world.rate, 1);
  assert.deepEqual(world.jumps, []);
  assert.ok(Math.abs(world.behind - 0.6) < 0.01);
});

test("somewhat behind it hurries until the target is met, then stops hurrying", () => {
  const world = new World(10, [{ start: 5, end: 12 }]).run(2);
  assert.equal(world.rate, RATE_FAST);
  world.run(25);
  assert.equal(world.rate, 1);
  assert.ok(Math.abs(world.behind - 0.6) < 0.1, `behind by ${world.behind}`);
  assert.deepEqual(world.jumps, []);
});

test("a burst alone is no reason to hurry", () => {
  const world = new World(10, [{ start: 5, end: 10.6 }]).run(3);
  world.arrive(1);
  world.run(0.5);
  assert.equal(world.rate, 1);
  world.run(1);
  assert.notEqual(world.rate, 1);
});

test("far behind it jumps to the live edge", () => {
  const world = new World(10, [{ start: 5, end: 14 }]).run(0.2);
  assert.equal(world.jumps.length, 1);
  assert.equal(world.jumps[0]?.why, "behind");
  assert.ok(Math.abs(world.behind - 0.6) < 0.2);
});

test("a thin buffer slows playback down, and its refilling ends that", () => {
  const world = new World(10, [{ start: 5, end: 10.2 }]).run(1);
  assert.equal(world.rate, RATE_SLOW);
  world.run(20);
  assert.equal(world.rate, 1);
});

test("a gap is jumped once the buffer before it is played", () => {
  const world = new World(10, [
    { start: 5, end: 10.5 },
    { start: 12, end: 12.4 },
  ]).run(2);
  assert.equal(world.jumps.length, 1);
  assert.equal(world.jumps[0]?.why, "gap");
  assert.ok(world.position >= 12);
});

test("a decoder that stops short of the gap is helped over it", () => {
  const pilot = new Pilot();
  const ranges = [
    { start: 5, end: 10.5 },
    { start: 12, end: 12.4 },
  ];
  assert.equal(pilot.step({ now: 1, position: 10.3, ranges, edge: 12.4, dry: false }).jump, undefined);
  assert.equal(pilot.step({ now: 1.1, position: 10.3, ranges, edge: 12.4, dry: true }).jump?.why, "gap");
});

test("times that step back are followed back, after a moment", () => {
  const pilot = new Pilot();
  const ranges = [{ start: 5, end: 14 }];
  const input = { position: 13, ranges, edge: 9, dry: false };
  assert.equal(pilot.step({ now: 1, ...input }).jump, undefined);
  const { jump } = pilot.step({ now: 1.6, ...input });
  assert.equal(jump?.why, "ahead");
  assert.ok(Math.abs((jump?.to ?? 0) - 8.4) < 0.01);
});

test("jumps do not follow each other at once", () => {
  const pilot = new Pilot();
  const input = { position: 1, ranges: [{ start: 0, end: 9 }], edge: 9, dry: false };
  assert.ok(pilot.step({ now: 1, ...input }).jump);
  assert.equal(pilot.step({ now: 1.5, ...input }).jump, undefined);
  assert.ok(pilot.step({ now: 2.1, ...input }).jump);
});

test("jitter moves the target away, calm brings it back, an outage moves nothing", () => {
  const world = new World(10, [{ start: 5, end: 10.6 }]);
  world.pilot.stalled(0, 4);
  assert.equal(world.pilot.target, 0.6);
  for (let stall = 0; stall < 20; stall++) world.pilot.stalled(0, 0.3);
  assert.equal(world.pilot.target, 2.4);
  world.run(600);
  assert.equal(world.pilot.target, 0.6);
  assert.ok(Math.abs(world.behind - 0.6) < 0.25);
  assert.deepEqual(world.jumps, []);
});

test("an empty buffer is no reason to do anything", () => {
  assert.deepEqual(new Pilot().step({ now: 1, position: 0, ranges: [], edge: 0, dry: true }).jump, undefined);
});

test("playback begins near the edge of a long buffer, and waits for a short one", () => {
  const pilot = new Pilot();
  assert.equal(pilot.begin([], 0), undefined);
  assert.equal(pilot.begin([{ start: 1, end: 1.4 }], 1.4), undefined);
  assert.ok(Math.abs((pilot.begin([{ start: 1, end: 3 }], 3) ?? 0) - 2.4) < 1e-9);
});

test("the rate takes the middle step when little behind", () => {
  const world = new World(10, [{ start: 5, end: 10.95 }]).run(1);
  assert.equal(world.rate, RATE_QUICK);
});

test("live goes on when the network falls silent, and starts anew after a reset", () => {
  const live = new LiveEdge();
  assert.equal(live.behind(0, 0), undefined);
  live.update(10, 100);
  assert.equal(live.behind(10, 99.4)?.toFixed(2), "0.60");
  live.update(12, 100);
  assert.ok(Math.abs((live.behind(12, 99.9) ?? 0) - 2.1) < 0.01);
  live.reset();
  live.update(13, 50);
  assert.equal(live.behind(13, 49), 1);
});
