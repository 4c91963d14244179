// Breaks streams of the fake node in every way it knows while the page plays them, and checks that playback goes on.
//
//     node tests/survive.mjs [--only jump,kick]

import { parseArgs } from "node:util";
import { observe, pause, until } from "./browser.mjs";
import { startFake } from "./fake.mjs";
import { openTrial, tell } from "./trial.mjs";

const { values: options } = parseArgs({
  options: { only: { type: "string" } },
});

/** Fault: seconds after which playback must run at its pace again; stalls and sink rebuilds that are allowed. */
const FAULTS = {
  jump: { within: 4, stalls: 2, rebuilds: 0 },
  resize: { within: 4, stalls: 2, rebuilds: 0 },
  kick: { within: 4, stalls: 2, rebuilds: 0 },
  lose: { within: 6, stalls: 2, rebuilds: 0 },
  pause: { within: 6, stalls: 2, rebuilds: 0 },
  wait: { within: 8, stalls: 2, rebuilds: 0 },
  refuse: { within: 5, stalls: 2, rebuilds: 0 },
  garbage: { within: 6, stalls: 2, rebuilds: 1 },
  down: { within: 14, stalls: 2, rebuilds: 0 },
};
const NAMES = ["cam1", "bframes"];

/** A node that is down makes the browser itself complain. */
const EXCUSED = /WebSocket connection|ERR_(EMPTY_RESPONSE|CONNECTION|SOCKET|INCOMPLETE_CHUNKED)/;

const { base, stop, fault: cause } = await startFake(NAMES);
const { page, failures, expect, run } = await openTrial({ excused: EXCUSED });
await run(async () => {
  await page.route("**/player.js", comesLate);
  await page.goto(`${base}#play=${NAMES.join(",")}`);
  if (!(await until(15, () => running()))) throw new Error("the streams did not start");
  for (const fault of options.only?.split(",") ?? Object.keys(FAULTS)) await survive(fault, FAULTS[fault]);
  await closesWell();
});
stop();
tell(failures, "all survived");

/** The player is loaded when it is wanted: the page is without it for a while. */
async function comesLate(route) {
  await pause(1);
  return route.continue();
}

async function survive(fault, allowed) {
  await pause(1);
  const before = await observe(page, NAMES);
  for (const path of fault === "down" ? ["pop1/down"] : NAMES.map((name) => `${name}/${fault}`)) {
    await cause(path);
  }
  const broken = Date.now();
  // Longer than the buffer lasts, so that a player that plays out its rest does not pass for a running one.
  await pause(1.5);
  const mended = await until(allowed.within - 1.5, () => running());
  const took = ((Date.now() - broken) / 1000).toFixed(1);
  const after = await observe(page, NAMES);
  for (const name of NAMES) {
    const was = before[name].stats;
    const is = after[name].stats;
    const grown = (key) => is[key] - was[key];
    const line = `${fault} ${name}: ${took} s, stalls +${grown("stalls")} (${grown("stalledSeconds").toFixed(1)} s), jumps +${grown("jumps")}, reconnects +${grown("reconnects")}, rebuilds +${grown("rebuilds")}, latency ${is.latency?.toFixed(2)}, ${is.width}x${is.height}`;
    console.log(line);
    expect(mended, `${line}: expected to play again within ${allowed.within} s, saw phase "${is.phase}"`);
    expect(grown("stalls") <= allowed.stalls, `${line}: expected at most ${allowed.stalls} stalls`);
    expect(grown("rebuilds") <= allowed.rebuilds, `${line}: expected at most ${allowed.rebuilds} rebuilds`);
  }
}

/** Whether every stream plays at its pace, with new frames, not far from live. */
async function running() {
  const first = await observe(page, NAMES);
  await pause(0.8);
  const second = await observe(page, NAMES);
  return NAMES.every((name) => {
    const [a, b] = [first[name], second[name]];
    if (!a || !b) return false;
    const pace = (b.position - a.position) / (b.at - a.at);
    const frames = b.stats.framesDecoded - a.stats.framesDecoded;
    const good = pace > 0.85 && pace < 1.2 && frames > 8;
    return good && b.stats.phase === "playing" && b.stats.latency < 4 && b.stats.buffer < 4;
  });
}

/** Closing a player ends its socket, its element and its place in the address. */
async function closesWell() {
  const name = NAMES[0];
  await page.click(`[aria-label="Close ${name}"].icon-button`);
  const gone = await until(3, async () => {
    const { streams } = await (await fetch(`${base}api/v1/streams`)).json();
    const seen = (await observe(page, [name]))[name];
    return seen === null && streams.find((stream) => stream.name === name).viewers === 0;
  });
  expect(gone, "close: expected no player and no viewer left");
  const hash = new URL(page.url()).hash;
  expect(hash === `#play=${NAMES.slice(1).join(",")}`, `close: unexpected address ${hash}`);
}
