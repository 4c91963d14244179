// Plays streams side by side in a real browser and checks that they really play.
//
//     node tests/play.mjs URL --streams a,b [--seconds 8] [--out DIR] [--json]
//                             [--start-seconds 20] [--width 1280] [--height 800] [--theme dark|light] [--no-audio]
//                             [--no-mse] [--kill p1=PID]
//
// --no-mse: as in a browser without Media Source Extensions, which plays HLS by itself.
// --kill: then the PoP that all are watched from is killed, and each goes on from another one.
// Prints one JSON object: {"ok", "url", "seconds", "streams": {NAME: {...}}, "failures": [...], "screenshot"}, in one
// line with --json and indented without. Exits with 1 when anything was not as expected, with 2 on wrong usage.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { brightness, choose, OF_THE_DEAD, observe, pause, until } from "./browser.mjs";
import { openTrial, print } from "./trial.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    streams: { type: "string", default: "" },
    seconds: { type: "string", default: "8" },
    "start-seconds": { type: "string", default: "20" },
    out: { type: "string", default: "." },
    width: { type: "string", default: "1280" },
    height: { type: "string", default: "800" },
    theme: { type: "string", default: "dark" },
    "no-mse": { type: "boolean", default: false },
    kill: { type: "string", default: "" },
    "no-audio": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const names = options.streams.split(",").filter((name) => name !== "");
const seconds = Number(options.seconds);
const [killed, pid] = options.kill.split("=");
if (positionals.length !== 1 || names.length === 0 || !(seconds > 0)) {
  console.error("usage: play.mjs URL --streams a,b [--seconds 8] [--out DIR] [--json]");
  process.exit(2);
}

const PACE_MIN = 0.9;
const PACE_MAX = 1.15;
/** A picture with less variance than this is one flat colour. */
const VARIANCE_MIN = 20;
/** Names of so many letters are to be seen in whole on any screen. */
const NAME_LETTERS = 8;
/** A picture goes on from another PoP by then, in seconds: a player of HLS needs some to give one up, and some to begin. */
const GOES_ON_WITHIN = 30;
/** What the death of a PoP leaves to do, on the machine that plays too, may take some of the pace. */
const PACE_MIN_AFTER = 0.6;

const url = new URL(`#play=${names.map(encodeURIComponent).join(",")}`, positionals[0]).href;
const { page, failures, expect, run } = await openTrial({
  width: Number(options.width),
  height: Number(options.height),
  theme: options.theme,
  excused: killed ? OF_THE_DEAD : undefined,
});
const carriers = options["no-mse"] ? ["HLS"] : ["WebTransport", "WebSocket"];
const report = { ok: false, url, seconds, streams: {}, failures, screenshot: null };

await run(async () => {
  if (options["no-mse"]) await page.addInitScript(() => ["MediaSource", "ManagedMediaSource"].forEach((name) => delete window[name]));
  const opened = Date.now();
  await page.goto(url, { waitUntil: "load", timeout: 15_000 });
  const starts = {};
  await until(Number(options["start-seconds"]), async () => {
    const seen = await observe(page, names);
    for (const name of names) {
      if (seen[name]?.stats.phase === "playing") starts[name] ??= (Date.now() - opened) / 1000;
    }
    return names.every((name) => starts[name] !== undefined);
  });
  if (killed) await watchFrom(killed);
  // The first second after the start belongs to the start.
  await pause(1);
  const before = await observe(page, names);
  await pause(seconds);
  const after = await observe(page, names);

  for (const name of names) {
    report.streams[name] = await judge(name, starts[name], before[name], after[name]);
  }
  await mkdir(options.out, { recursive: true });
  report.screenshot = join(options.out, `play-${options.theme}-${options.width}${options["no-mse"] ? "-hls" : ""}.png`);
  await page.screenshot({ path: report.screenshot });
  if (killed) report.outlived = await outlive();
});
print(report, options);

async function judge(name, started, before, after) {
  expect(started !== undefined, `${name}: expected to play within ${options["start-seconds"]} s, saw ${phaseOf(after)}`);
  if (!before || !after) return null;
  const pace = (after.position - before.position) / (after.at - before.at);
  const stalls = after.stats.stalls - before.stats.stalls;
  const frames = after.stats.framesDecoded - before.stats.framesDecoded;
  const audioBytes = after.audioBytes - before.audioBytes;
  const isCut = await page.locator("article.card h3", { hasText: name }).first().evaluate((title) => title.scrollWidth > title.clientWidth);
  // Pages may not read what comes from another PoP, and that is not always the chosen one.
  const picture = killed ? undefined : await brightness(page, name);

  expect(
    pace >= PACE_MIN && pace <= PACE_MAX,
    `${name}: expected a pace of ${PACE_MIN} to ${PACE_MAX}, saw ${pace.toFixed(3)}`,
  );
  expect(!isCut || name.length > NAME_LETTERS, `${name}: expected to read its name, but it is cut`);
  expect(carriers.includes(after.stats.carrier), `${name}: expected ${carriers.join(" or ")}, saw ${after.stats.carrier}`);
  expect(stalls === 0, `${name}: expected no stalls after the start, saw ${stalls}`);
  expect(frames > 0, `${name}: expected decoded video frames to grow, saw ${frames} more`);
  if (!options["no-audio"]) {
    expect(audioBytes > 0, `${name}: expected decoded audio bytes to grow, saw ${audioBytes} more`);
  }
  expect(
    !picture || picture.variance >= VARIANCE_MIN,
    `${name}: expected a picture (variance of at least ${VARIANCE_MIN}), saw ${picture?.variance.toFixed(1)}`,
  );
  return {
    startSeconds: started ?? null,
    pace,
    stalls,
    frames,
    framesPerSecond: frames / (after.at - before.at),
    audioBytes,
    brightness: picture,
    muted: after.muted,
    stats: after.stats,
  };
}

async function watchFrom(pop) {
  for (const name of names) await choose(page, name, "PoP", pop);
  // It is told as soon as it is asked.
  await pause(2);
  if (!(await until(GOES_ON_WITHIN, () => allPlayFrom((one) => one === pop)))) throw new Error(`the streams do not come from ${pop}`);
}

async function allPlayFrom(test) {
  const seen = await observe(page, names);
  return names.every((name) => seen[name]?.stats.phase === "playing" && test(seen[name].stats.pop));
}

/** Kills the PoP that the streams come from, and waits for each to play from another one; tells how many seconds that took. */
async function outlive() {
  process.kill(Number(pid), "SIGKILL");
  const died = Date.now();
  const goesOn = await until(GOES_ON_WITHIN, () => allPlayFrom((pop) => pop !== killed));
  const took = (Date.now() - died) / 1000;
  // What is shown at the start belongs to the start here too.
  await pause(3);
  const before = await observe(page, names);
  expect(goesOn, `expected to go on from another PoP, saw ${names.map((name) => phaseOf(before[name])).join()}`);
  await pause(5);
  const after = await observe(page, names);
  for (const name of names) {
    const pace = (after[name].position - before[name].position) / (after[name].at - before[name].at);
    expect(pace >= PACE_MIN_AFTER && pace <= PACE_MAX, `${name}: expected its pace from the other PoP, saw ${pace.toFixed(3)}`);
  }
  return { took, stats: Object.fromEntries(names.map((name) => [name, after[name].stats])) };
}

function phaseOf(seen) {
  return seen ? `phase "${seen.stats.phase}"` : "no player";
}
