// Watches streams whose frames are numbered while the page moves to another PoP, and checks that no frame is skipped or
// shown twice and that nothing stalls.
//
//     node tests/moves.mjs URL --streams a,b (--kill p1=PID [--signal SIGKILL] | --far p1) [--fps 25] [--frames 1000]
//                             [--delay steady] [--carrier WebTransport] [--out DIR] [--json]
//
// The page is told to watch from the PoP that will be killed (kill -9; with --signal SIGSTOP it falls silent instead).
// `--far`: that PoP lives, but answers late whenever the page measures it; the page, left to itself, goes to a better one.
// `--delay short`: with that of the delays that a viewer can choose, which is to be as good at a death that the system tells of.
// `--frames`: how many the looped clip has. `--carrier WebSocket`: what goes to the PoPs over UDP is lost on the way, and
// the page has to do without.

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { framesAt, noteFrames, notedFrames } from "./barcode.mjs";
import { BY_ITSELF, choose, OF_THE_DEAD, observe, pause, until } from "./browser.mjs";
import { openTrial, print } from "./trial.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    streams: { type: "string", default: "" },
    kill: { type: "string", default: "" },
    signal: { type: "string", default: "SIGKILL" },
    far: { type: "string", default: "" },
    delay: { type: "string", default: "steady" },
    fps: { type: "string", default: "25" },
    frames: { type: "string", default: "1000" },
    carrier: { type: "string", default: "WebTransport" },
    out: { type: "string", default: "." },
    json: { type: "boolean", default: false },
  },
});
const names = options.streams.split(",").filter((name) => name !== "");
const [killed, pid] = options.kill.split("=");
/** The PoP that the page watches from, and leaves. */
const left = options.far || killed;
const fps = Number(options.fps);
const frames = Number(options.frames);
if (positionals.length !== 1 || names.length === 0 || (options.far === "" && !(Number(pid) > 0))) {
  console.error("usage: moves.mjs URL --streams a,b (--kill POP=PID | --far POP) [--delay steady] [--fps 25] [--frames 1000] [--out DIR] [--json]");
  process.exit(2);
}

/** Frames that are looked at one by one in the end: the move lies well within them, with the seconds of buffer after it. */
const LOOK_BACK = { before: 15, frames: 60 };
/** Playback is watched for this long before and after the death or the move, in seconds. */
const BEFORE = 4;
const AFTER = 6;
/**
 * How much later a far PoP answers, and how long the page may take to leave it: what is better has to last for 30 s, and a busy machine
 * answers late itself.
 */
const FAR_MS = 300;
const LEFT_WITHIN = 100;

/** Takes whatever comes and answers nothing. */
const hole = createSocket("udp4").bind(0, "127.0.0.1");
await once(hole, "listening");

const { page, failures, expect, run } = await openTrial({ height: 900, excused: OF_THE_DEAD });
const report = { ok: false, streams: {}, failures, screenshots: [] };
await run(async () => {
  if (options.carrier === "WebSocket") await page.route("**/api/v1/ping", loseUdp);
  if (options.far !== "") await page.route(new URL("api/v1/ping", positionals[0]).href, answerLate);
  await page.goto(new URL(`#play=${names.join(",")}`, positionals[0]).href, { waitUntil: "load", timeout: 15_000 });
  const plays = (seen) => names.every((name) => seen[name]?.stats.phase === "playing");
  if (!(await until(20, async () => plays(await observe(page, names))))) throw new Error("the streams did not start");
  if (options.delay !== "steady") for (const name of names) await choose(page, name, "Delay", options.delay);
  await settle();
  for (const name of names) await noteFrames(page, name);
  await pause(BEFORE);
  // A page whose browser stood still for a while has left the PoP from which nothing seemed to come.
  for (let tries = 3; !(await comesFromLeft()) && tries > 0; tries--) await settle();
  await shoot("before");
  const { at: leftAt, before } = options.far === "" ? await kill() : await waitUntilLeft();
  await pause(AFTER);
  const after = await observe(page, names);
  await shoot("after");
  for (const name of names) {
    const noted = (await notedFrames(page, name)).filter(({ at }) => at > leftAt[name] - BEFORE * 1000);
    const buffered = await lookBack(name, noted, leftAt[name]);
    report.streams[name] = judge(name, leftAt[name], noted, buffered, before[name].stats, after[name].stats);
  }
});
hole.close();
print(report, options);

/** Leads the page to a port that swallows everything, where the node offers its own. */
async function loseUdp(route) {
  // The PoP may be dead by then.
  const response = await route.fetch().catch(() => undefined);
  if (!response) return route.abort("connectionrefused");
  const answer = await response.json();
  if (answer.webtransport) answer.webtransport.port = hole.address().port;
  return route.fulfill({ response, json: answer });
}

/** Answers the page as the node does, but late. */
async function answerLate(route) {
  await pause(FAR_MS / 1000);
  return route.continue();
}

/** Kills the PoP, and tells when, for each stream, and how each fared before. */
async function kill() {
  const before = await observe(page, names);
  const at = await page.evaluate(() => performance.now());
  process.kill(Number(pid), options.signal);
  return { at: Object.fromEntries(names.map((name) => [name, at])), before };
}

/** Lets the page choose by itself, and tells when each stream came from elsewhere, and how it fared a second before. */
async function waitUntilLeft() {
  const at = {};
  const before = await observe(page, names);
  for (const name of names) await choose(page, name, "PoP", BY_ITSELF);
  const gone = await until(LEFT_WITHIN, async () => {
    const seen = await observe(page, names);
    const now = await page.evaluate(() => performance.now());
    for (const name of names) {
      if (seen[name].stats.pop !== left) at[name] ??= now;
      else if (seen[name].at - before[name].at > 1) before[name] = seen[name];
    }
    return names.every((name) => name in at);
  });
  if (!gone) throw new Error(`the page did not leave ${left} within ${LEFT_WITHIN} s`);
  return { at, before };
}

/** Sees to it that the page watches from the PoP that it will leave, and has done so for a while. */
async function settle() {
  for (const name of names) {
    // Chosen again, it must be chosen anew.
    await choose(page, name, "PoP", BY_ITSELF);
    await choose(page, name, "PoP", left);
  }
  if (!(await until(10, comesFromLeft))) throw new Error(`the streams do not come from ${left}`);
  await pause(2);
}

async function comesFromLeft() {
  return from(await observe(page, names)).every((pop) => pop === left);
}

function from(seen) {
  return names.map((name) => seen[name].stats.pop);
}

async function shoot(when) {
  await mkdir(options.out, { recursive: true });
  const path = join(options.out, `moves-${when}.png`);
  await page.screenshot({ path });
  report.screenshots.push(path);
}

/** Numbers of the frames around the move as they lie in the buffer, each at its own place. */
async function lookBack(name, noted, leftAt) {
  const { mediaTime } = noted.findLast(({ at }) => at < leftAt);
  const places = Array.from({ length: LOOK_BACK.frames }, (_, at) => mediaTime + (at - LOOK_BACK.before + 0.5) / fps);
  return framesAt(page, name, places, 1 / fps);
}

function judge(name, leftAt, noted, buffered, before, after) {
  const read = noted.filter(({ number }) => number !== null);
  expect(read.length === noted.length, `${name}: ${noted.length - read.length} frames could not be read`);
  // Where each number lies on the timeline, in frames. A hole or a repetition in what was decoded would move all that
  // follow. A canvas may get the frame after the one it is told of, so single looks may be ahead.
  const lies = read.map(({ number, mediaTime }) => (((number - Math.round(mediaTime * fps)) % frames) + frames) % frames);
  const place = mostOf(lies.filter((_, at) => read[at].at < leftAt));
  const placeAfter = mostOf(lies.filter((_, at) => read[at].at > leftAt + 1000));
  const astray = lies.filter((lie) => (lie - place + 2 * frames) % frames > 2).length;
  let skipped = 0;
  let doubled = 0;
  let longest = 0;
  for (let at = 1; at < read.length; at++) {
    const [a, b] = [read[at - 1], read[at]];
    const step = Math.round((b.mediaTime - a.mediaTime) * fps);
    // Frames that the browser showed between two looks of this test were shown all the same.
    const shown = b.presentedFrames - a.presentedFrames;
    if (step < shown) doubled += shown - step;
    if (step > shown) skipped += step - shown;
    longest = Math.max(longest, b.at - a.at);
  }
  const holes = buffered.filter((number, at) => at > 0 && number !== (buffered[at - 1] + 1) % frames).length;
  const result = {
    frames: read.length,
    buffered: `${buffered[0]} to ${buffered.at(-1)}`,
    holes,
    notShownInTime: skipped,
    doubled,
    place: [place, placeAfter],
    astray,
    longestMs: longest,
    secondsAfter: read.at(-1).mediaTime - read.find(({ at }) => at > leftAt).mediaTime,
    stalls: after.stalls - before.stalls,
    jumps: after.jumps - before.jumps,
    dropped: after.framesDropped - before.framesDropped,
    from: before.pop,
    to: after.pop,
    moves: after.moves,
    carriers: [before.carrier, after.carrier],
    latency: [before.latency, after.latency],
    target: [before.target, after.target],
  };
  expect(result.from === left, `${name}: expected it to come from ${left}, saw ${result.from}`);
  expect(result.to !== left, `${name}: expected another PoP than ${left}`);
  for (const carrier of result.carriers) {
    expect(carrier === options.carrier, `${name}: expected ${options.carrier}, saw ${carrier}`);
  }
  expect(result.stalls === 0, `${name}: ${result.stalls} stalls`);
  expect(result.jumps === 0, `${name}: ${result.jumps} jumps`);
  expect(holes === 0, `${name}: frames are missing or doubled around the move: ${buffered.join(" ")}`);
  // What a busy machine does not show in time is not missing; most is shown even there.
  expect(skipped < read.length / 10, `${name}: ${skipped} frames were not shown`);
  expect(doubled === 0, `${name}: ${doubled} frames shown twice`);
  expect(placeAfter === place, `${name}: numbers lie ${placeAfter - place} frames off after the move`);
  expect(astray === 0, `${name}: ${astray} frames have a number from elsewhere`);
  expect(result.secondsAfter > AFTER - 1.5, `${name}: only ${result.secondsAfter} s were shown after the move`);
  return result;
}

function mostOf(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
}
