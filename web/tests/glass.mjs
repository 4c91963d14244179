// From glass to glass: how old the stamped pictures of stamps.mjs are when they are shown, by each player and, of our own, with each
// delay that a viewer can choose, one after the other.
//
//     node tests/glass.mjs URL --stream cam [--seconds 20] [--players short,shortest,hls.js,mpegts.js] [--out DIR]
//
// Prints one JSON object a line: {"player", "frames", "unread", "p50_ms", "p95_ms", "stalls"}.

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
  await watch(OWN[delay], async () => (await stats())?.phase === "playing", async () => (await stats()).stalls);
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
  const ages = read.map(({ wall, number }) => (wall - number + 2 * STAMPS) % STAMPS).sort((a, b) => a - b);
  const share = (part) => ages[Math.min(ages.length - 1, Math.floor(ages.length * part))];
  const line = { player, frames: ages.length, unread: noted.length - read.length, p50_ms: share(0.5), p95_ms: share(0.95) };
  console.log(JSON.stringify({ ...line, stalls }));
}
