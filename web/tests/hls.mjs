// Plays a stream with hls.js in a real browser, on a page of its own; with --kill ends the process of the PoP in use
// while it plays, and checks that playback goes on from another one.
//
//     node tests/hls.mjs http://POP/hls/NAME/index.m3u8 [--seconds 10] [--kill PID] [--within 9] [--latency 1.5]
//                        [--out DIR] [--json]
//
// Prints one JSON object: {"ok", "startSeconds", "latency": {"p50", "p95", "max"}, "stalls", "pace", "kill": {...},
// "failures": [...]}. Latency is from when the origin took a picture until it is shown, in seconds, by the dates of the
// playlist (EXT-X-PROGRAM-DATE-TIME) and the clock that the origin and this browser share. Exits with 1 when anything was not as
// expected, with 2 on wrong usage.

import { mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pause, until } from "./browser.mjs";
import { openTrial, print } from "./trial.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "10" },
    kill: { type: "string" },
    within: { type: "string", default: "9" },
    latency: { type: "string", default: "1.5" },
    out: { type: "string", default: "." },
    json: { type: "boolean", default: false },
  },
});
const seconds = Number(options.seconds);
const within = Number(options.within);
if (positionals.length !== 1 || !(seconds > 0)) {
  console.error("usage: hls.mjs URL [--seconds 10] [--kill PID] [--within 9] [--latency 1.5] [--out DIR] [--json]");
  process.exit(2);
}

const START_SECONDS = 20;
const PACE_MIN = 0.9;
const PACE_MAX = 1.15;
const PAGE = `<!doctype html><title>hls.js</title><body style="margin:0;background:#111">
<video muted autoplay playsinline style="width:100vw;height:100vh"></video><script src="/hls.js"></script><script>
  const video = document.querySelector("video");
  const hls = new Hls({ maxLiveSyncPlaybackRate: 1.1 });
  const seen = { stalls: 0, errors: [], samples: [] };
  hls.on(Hls.Events.ERROR, (_, { fatal, details, error }) => seen.errors.push({ fatal, details, text: String(error) }));
  video.addEventListener("waiting", () => (seen.stalls += 1));
  hls.loadSource(new URLSearchParams(location.search).get("url"));
  hls.attachMedia(video);
  setInterval(() => {
    const date = hls.playingDate;
    if (date && !video.paused) seen.samples.push((Date.now() - date.getTime()) / 1000);
  }, 100);
  window.look = () => ({
    at: performance.now() / 1000,
    position: video.currentTime,
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
    sound: video.webkitAudioDecodedByteCount,
    pathway: hls.levels[Math.max(0, hls.currentLevel)]?.attrs["PATHWAY-ID"],
    known: hls.pathways,
    stalls: seen.stalls,
    samples: seen.samples.length,
  });
  window.seen = seen;
</script>`;

const library = await readFile(new URL("../node_modules/hls.js/dist/hls.min.js", import.meta.url));
const server = createServer((request, response) => {
  const script = request.url === "/hls.js";
  response.setHeader("content-type", script ? "text/javascript" : "text/html");
  response.end(script ? library : PAGE);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

/** A PoP that is gone makes the browser itself complain. */
const excused = options.kill === undefined ? undefined : /ERR_(CONNECTION|EMPTY|SOCKET)/;
const { page, failures, expect, run } = await openTrial({ width: 960, height: 540, excused });
const report = { ok: false, url: positionals[0], failures };
// A page that hangs is told, and not waited for.
const look = () =>
  Promise.race([
    page.evaluate(() => window.look()),
    pause(5).then(() => Promise.reject(new Error("the page does not answer"))),
  ]);

await run(async () => {
  const opened = Date.now();
  const address = `http://127.0.0.1:${server.address().port}/`;
  await page.goto(`${address}?url=${encodeURIComponent(positionals[0])}`, { waitUntil: "load", timeout: 15_000 });
  const started = await until(START_SECONDS, async () => ((await look()).position > 0.2 ? Date.now() : undefined));
  expect(started !== undefined, `expected to play within ${START_SECONDS} s`);
  report.startSeconds = started && (started - opened) / 1000;
  // The start, and its way to the target latency, are not what is measured.
  await pause(3);
  await watch();
  if (options.kill !== undefined) await survive(Number(options.kill));
  await mkdir(options.out, { recursive: true });
  report.screenshot = join(options.out, options.kill === undefined ? "hls.png" : "hls-kill.png");
  await page.screenshot({ path: report.screenshot });
  report.errors = await page.evaluate(() => window.seen.errors);
  expect(!report.errors.some((error) => error.fatal), "expected no fatal error of hls.js");
});
server.close();
print(report, options);

/** Playback at its pace, without a stall, near to live. */
async function watch() {
  const before = await look();
  await pause(seconds);
  const after = await look();
  report.pathway = after.pathway;
  report.pathways = after.known;
  report.stalls = after.stalls - before.stalls;
  report.pace = (after.position - before.position) / (after.at - before.at);
  const samples = await page.evaluate((from) => window.seen.samples.slice(from).sort((a, b) => a - b), before.samples);
  const quantile = (share) => samples[Math.min(samples.length - 1, Math.floor(samples.length * share))];
  report.latency = { p50: quantile(0.5), p95: quantile(0.95), max: samples.at(-1) };
  expect(report.stalls === 0, `expected no stall in ${seconds} s, saw ${report.stalls}`);
  expect(report.pace > PACE_MIN && report.pace < PACE_MAX, `expected to play at its pace, saw ${report.pace}`);
  expect(after.frames > before.frames && after.sound > before.sound, "expected pictures and sound to be decoded");
  expect(report.latency.p50 <= Number(options.latency), `expected at most ${options.latency} s, saw ${report.latency.p50}`);
}

/** Playback goes on after the PoP in use has died. */
async function survive(pid) {
  const before = await look();
  expect(before.known?.length >= 2, `expected two pathways, saw ${before.known}`);
  process.kill(pid, "SIGKILL");
  const killed = Date.now();
  let last = { at: killed, position: before.position };
  let longest = 0;
  const end = killed + within * 1000 + 5_000;
  while (Date.now() < end) {
    const { position } = await look();
    const now = Date.now();
    longest = Math.max(longest, now - last.at);
    if (position > last.position + 0.01) last = { at: now, position };
    await pause(0.05);
  }
  const after = await look();
  report.kill = {
    pathway: after.pathway,
    longestFreeze: longest / 1000,
    stalls: after.stalls - before.stalls,
    played: after.position - before.position,
  };
  expect(after.pathway !== before.pathway, `expected another pathway than ${before.pathway}`);
  expect(longest <= within * 1000, `expected to go on within ${within} s, saw ${longest / 1000} s of a frozen picture`);
  expect(last.at > end - 1_000, "expected to play on");
}
