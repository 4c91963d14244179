// From glass to glass: how old the stamped pictures of stamps.mjs are when they are shown, by each player and, of our own, with each
// delay that a viewer can choose, one after the other.
//
//     node tests/glass.mjs URL --stream cam [--seconds 20] [--players short,shortest,hls.js,mpegts.js] [--out DIR]
//
// Prints one JSON object a line: {"player", "frames", "unread", "p50_ms", "p95_ms", "by_minute_p50_ms", "stalls"}, and where there is a bound
// on the median, {"at_most_ms", "holds"}.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { noteFrames, notedFrames, STAMPS } from "./barcode.mjs";
import { observe, openPage, pause, until } from "./browser.mjs";
import { serveOthers } from "./others.mjs";

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
  for (const player of options.players.split(",")) await (OWN[player] ? watchOwn(player) : watchOther(player));
} finally {
  await browser.close();
  others.close();
}

async function watchOwn(delay) {
  await page.goto(new URL(`#play=${name}`, node).href);
  await page.getByRole("button", { name: "How it fares" }).click();
  await page.getByRole("combobox", { name: "Delay" }).selectOption(delay);
  const stats = async () => (await observe(page, [name]))[name]?.stats;
  await watch(delay, async () => (await stats())?.phase === "playing", async () => (await stats()).stalls);
  await leave();
}

async function watchOther(player) {
  await page.goto(others.url(player, node, name));
  const plays = () => page.evaluate(() => document.querySelector("video").currentTime > 0.2);
  await watch(player, plays, () => page.evaluate(() => window.stalls));
  await leave();
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
  const aged = read.map(({ at, wall, number }) => ({ minute: Math.floor((at - read[0].at) / 60_000), age: (wall - number + 2 * STAMPS) % STAMPS }));
  const minutes = [...new Set(aged.map(({ minute }) => minute))];
  const line = {
    player: OWN[player] ?? player,
    frames: aged.length,
    unread: noted.length - read.length,
    p50_ms: quantile(aged, 0.5),
    p95_ms: quantile(aged, 0.95),
    by_minute_p50_ms: minutes.map((of) => quantile(aged.filter(({ minute }) => minute === of), 0.5)),
    stalls,
  };
  const bound = AT_MOST_MS[player];
  console.log(JSON.stringify(bound ? { ...line, at_most_ms: bound, holds: line.p50_ms <= bound } : line));
}

function quantile(aged, share) {
  const ages = aged.map(({ age }) => age).sort((a, b) => a - b);
  return ages[Math.min(ages.length - 1, Math.floor(ages.length * share))];
}
