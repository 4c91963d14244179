import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parsePops } from "../../src/api";
import { PopGuide } from "../../src/media/guide";
import { Meter } from "../../src/media/meter";
import { NativePlayer } from "../../src/media/native";
import type { PlayerView } from "../../src/media/playing";

/** As much of a `<video>` as the player uses. */
class FakeVideo extends EventTarget {
  muted = false;
  paused = true;
  seeking = false;
  readonly HAVE_FUTURE_DATA = 3;
  readyState = 2;
  currentTime = 0;
  playbackRate = 1;
  videoWidth = 640;
  videoHeight = 360;
  error: { message: string } | null = null;
  src = "";
  /** Addresses in turn. */
  readonly opened: string[] = [];
  readonly seekable = { length: 1, end: () => 60 };
  readonly buffered = { length: 1, end: () => 58 };

  constructor(readonly hls: string) {
    super();
  }

  canPlayType(): string {
    return this.hls;
  }

  getVideoPlaybackQuality(): object {
    return { totalVideoFrames: 25, droppedVideoFrames: 1 };
  }

  play(): Promise<void> {
    this.opened.push(this.src);
    this.paused = false;
    return Promise.resolve();
  }

  load(): void {}

  removeAttribute(): void {
    this.src = "";
  }

  tell(...events: string[]): void {
    for (const type of events) this.dispatchEvent(new Event(type));
  }
}

const HOME = "http://home/";

function begin(context: TestContext, hls = "maybe"): { video: FakeVideo; player: NativePlayer; views: PlayerView[] } {
  const pop = (name: string, metric: number): object => ({ name, http: `http://${name}`, stream_metric_us: metric, load: 0, reachable: true });
  const listing = parsePops({ node: "home", pops: [pop("home", 0), pop("far", 900_000)] });
  const meter = new Meter(() => Promise.resolve({ rttMs: 1 }));
  const guide = new PopGuide("cam 1", HOME, () => Promise.resolve(listing), meter);
  Object.assign(globalThis, { document: { hidden: false } });
  context.mock.timers.enable({ apis: ["setInterval"] });
  const video = new FakeVideo(hls);
  const views: PlayerView[] = [];
  const player = new NativePlayer("cam 1", guide, video as unknown as HTMLVideoElement, (view) => views.push(view));
  context.after(() => {
    player.close();
    meter.close();
  });
  return { video, player, views };
}

async function opened(video: FakeVideo, count: number): Promise<void> {
  const end = Date.now() + 5000;
  while (video.opened.length < count && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(video.opened.length, count);
}

test("the browser is given the address of the best PoP, and how it fares is told", async (context) => {
  const { video, player, views } = begin(context);
  await opened(video, 1);
  assert.deepEqual(video.opened, ["http://home/hls/cam%201/index.m3u8"]);
  assert.equal(views.length, 0);
  video.tell("loadedmetadata", "playing");
  video.currentTime = 57;
  const { phase, pop, carrier, latency, buffer, moves, framesDecoded } = player.stats();
  assert.deepEqual(
    { phase, pop, carrier, latency, buffer, moves, framesDecoded },
    { phase: "playing", pop: "home", carrier: "HLS", latency: 3, buffer: 1, moves: 0, framesDecoded: 25 },
  );
  video.readyState = 3;
  video.tell("waiting");
  assert.equal(views.at(-1)?.phase, "playing", "there are data again");
  video.readyState = 2;
  video.tell("waiting");
  assert.equal(views.at(-1)?.phase, "stalled");
  video.tell("playing");
  assert.equal(player.stats().stalls, 1);
});

test("where a PoP fails the next one is asked, and after all of them it goes on by itself", async (context) => {
  const { video, player, views } = begin(context);
  await opened(video, 1);
  video.tell("loadedmetadata", "playing");
  video.error = { message: "status 404" };
  video.tell("error");
  assert.equal(video.opened[1], "http://far/hls/cam%201/index.m3u8");
  assert.match(views.at(-1)?.notice ?? "", /status 404.*Trying again/);
  video.tell("error");
  assert.equal(video.opened.length, 2, "after a pause");
  await opened(video, 3);
  video.tell("playing");
  const { moves, reconnects } = player.stats();
  assert.deepEqual([views.at(-1)?.phase, moves, reconnects], ["playing", 0, 2], "it comes from home as before");
});

test("a choice by hand is followed", async (context) => {
  const { video, player } = begin(context);
  await opened(video, 1);
  video.tell("playing");
  player.choose("far");
  assert.equal(video.opened[1], "http://far/hls/cam%201/index.m3u8");
  assert.equal(player.chosen, "far");
});

test("a browser that plays no HLS either is told so", (context) => {
  const { player, views } = begin(context, "");
  assert.equal(views.at(-1)?.phase, "unsupported");
  assert.match(views.at(-1)?.notice ?? "", /neither Media Source Extensions nor HLS/);
  assert.equal(player.stats().phase, "unsupported");
});
