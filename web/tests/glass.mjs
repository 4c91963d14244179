// From glass to glass: how old the stamped pictures of stamps.mjs are when they are shown, by each player and, of our own, with each
// delay that a viewer can choose, one after the other.
//
//     node tests/glass.mjs URL --stream cam [--seconds 20] [--players short,shortest,hls.js,mpegts.js] [--out DIR]
//
// Prints one JSON object a line: {"player", "frames", "unread", "p50_ms", "p95_ms", "by_minute_p50_ms", "stalls", "holds"}, and where there
// is a bound on the median, {"at_most_ms"}, which holds if it does over all and in each minute. Exits with 1, once all were tried, where a
// bound does not hold, a player does not start, or nothing could be read of what it shows.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { noteFrames, notedFrames, STAMPS } from "./barcode.mjs";
import { observe, openPage, pause, until } from "./browser.mjs";
import { load } from "./load.mjs";
import { serveOthers } from "./others.mjs";

const { judge } = await load("ages.ts");

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    stream: { type: "string", default: "cam" },
    seconds: { type: "string", default: "20" },
    players: { type: "string", default: "steady,short,shortest,hls.js,mpegts.js" },
    out: { type: "string", default: "." },
  },
});
const [node] = positionals;
const name = options.stream;
/** Time for a player to settle at its target. */
const SETTLE = 8;
/** Bounds on the median that we want to keep. */
const AT_MOST_MS = { short: 300, shortest: 120, "hls.js": 1500 };
/** Our own, by the delay that is chosen. */
const OWN = { steady: "own, MSE, steady", short: "own, MSE, short", shortest: "own, WebCodecs, shortest" };

await mkdir(options.out, { recursive: true });
const others = await serveOthers();
const { browser, page } = await openPage();
try {
  for (const player of options.players.split(",")) await tryOut(player);
} finally {
  await browser.close();
  others.close();
}

/** One that fails keeps nobody from trying the others. */
async function tryOut(player) {
  try {
    await (OWN[player] ? watchOwn(player) : watchOther(player));
  } catch (error) {
    console.log(JSON.stringify({ player: OWN[player] ?? player, holds: false, failure: error.message }));
    process.exitCode = 1;
  }
  await leave();
}

async function watchOwn(delay) {
  await page.goto(new URL(`#play=${name}`, node).href);
  await page.getByRole("button", { name: "How it fares" }).click();
  await page.getByRole("combobox", { name: "Delay" }).selectOption(delay);
  const stats = async () => (await observe(page, [name]))[name]?.stats;
  await watch(delay, async () => (await stats())?.phase === "playing", async () => (await stats()).stalls);
}

async function watchOther(player) {
  await page.goto(others.url(player, node, name));
  const plays = () => page.evaluate(() => document.querySelector("video").currentTime > 0.2);
  await watch(player, plays, () => page.evaluate(() => window.stalls));
}

async function watch(player, plays, stalls) {
  if (!(await until(20, plays))) throw new Error(`${player}: the stream did not start`);
  await pause(SETTLE);
  const before = await stalls();
  await noteFrames(page, name);
  await pause(Number(options.seconds));
  report(player, await notedFrames(page, name), (await stalls()) - before);
  await page.screenshot({ path: join(options.out, `glass-${player.replaceAll(/[^\w.]+/g, "-")}.png`) });
}

/** The next player begins on an empty page: addresses that differ in what they play only are the same page. */
function leave() {
  return page.goto("about:blank");
}

function report(player, noted, stalls) {
  const read = noted.filter(({ number }) => number !== null);
  const aged = read.map(({ at, wall, number }) => ({ at, age: (wall - number + 2 * STAMPS) % STAMPS }));
  const bound = AT_MOST_MS[player];
  const { holds, ...figures } = judge(aged, Number(options.seconds), bound);
  const line = { player: OWN[player] ?? player, frames: read.length, unread: noted.length - read.length, ...figures, stalls };
  console.log(JSON.stringify({ ...line, at_most_ms: bound, holds }));
  if (!holds) process.exitCode = 1;
}
