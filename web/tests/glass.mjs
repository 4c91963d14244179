// From glass to glass: how old the stamped pictures of stamps.mjs are when the page shows them, with each delay that a
// viewer can choose, one after the other.
//
//     node tests/glass.mjs URL --stream cam [--seconds 20] [--delays short,shortest] [--out DIR]

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { noteFrames, notedFrames, STAMPS } from "./barcode.mjs";
import { observe, openPage, pause, until } from "./browser.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    stream: { type: "string", default: "cam" },
    seconds: { type: "string", default: "20" },
    delays: { type: "string", default: "steady,short,shortest" },
    out: { type: "string", default: "." },
  },
});
const name = options.stream;
/** Time for a player to settle at its target. */
const SETTLE = 8;

const { browser, page } = await openPage();
try {
  await page.goto(new URL(`#play=${name}`, positionals[0]).href);
  await page.getByRole("button", { name: "How it fares" }).click();
  for (const delay of options.delays.split(",")) {
    await page.getByRole("combobox", { name: "Delay" }).selectOption(delay);
    const plays = async () => (await observe(page, [name]))[name]?.stats.phase === "playing";
    if (!(await until(20, plays))) throw new Error(`${delay}: the stream did not start`);
    await pause(SETTLE);
    await noteFrames(page, name);
    await pause(Number(options.seconds));
    report(delay, await notedFrames(page, name), (await observe(page, [name]))[name].stats);
    await mkdir(options.out, { recursive: true });
    await page.screenshot({ path: join(options.out, `glass-${delay}.png`) });
  }
} finally {
  await browser.close();
}

function report(delay, noted, stats) {
  const read = noted.filter(({ number }) => number !== null);
  const ages = read.map(({ wall, number }) => (wall - number + 2 * STAMPS) % STAMPS).sort((a, b) => a - b);
  const share = (part) => ages[Math.min(ages.length - 1, Math.floor(ages.length * part))];
  const line = { delay, frames: ages.length, unread: noted.length - read.length, p50_ms: share(0.5), p95_ms: share(0.95) };
  console.log(JSON.stringify({ ...line, stalls: stats.stalls, target_s: stats.target, dropped: stats.framesDropped }));
}
