// Plays streams in a real Chromium and checks what it sees.
//   node web/tests/play.mjs URL --streams a,b [--seconds 8] [--out DIR]
// Prints one JSON object; exits non-zero with what was expected and what was seen.
import { mkdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    streams: { type: "string" },
    seconds: { type: "string", default: "8" },
    out: { type: "string", default: "." },
  },
});
const url = positionals[0];
const streams = values.streams.split(",");
const seconds = Number(values.seconds);
await mkdir(values.out, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
  ],
});
const problems = [];
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.on("console", (message) => message.type() === "error" && problems.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
  await page.goto(url);
  for (const stream of streams) {
    await page.locator(`#streams li[data-stream="${stream}"] button.primary`).click({ timeout: 20_000 });
  }
  const sample = () =>
    page.evaluate(() =>
      [...window.levada.players].map(([stream, { player }]) => {
        const canvas = document.createElement("canvas");
        canvas.width = 64;
        canvas.height = 36;
        const context = canvas.getContext("2d");
        context.drawImage(player.video, 0, 0, 64, 36);
        const bytes = context.getImageData(0, 0, 64, 36).data;
        const mean = bytes.reduce((sum, byte) => sum + byte, 0) / bytes.length;
        const variance = bytes.reduce((sum, byte) => sum + (byte - mean) ** 2, 0) / bytes.length;
        const { audioBytes = player.video.webkitAudioDecodedByteCount } = {};
        return { ...player.stats(), stream, audioBytes, variance, at: performance.now() };
      }),
    );
  await page.waitForFunction(
    (count) => {
      const all = [...window.levada.players.values()].map(({ player }) => player.stats());
      return all.length === count && all.every((stats) => stats.playing && stats.frames > 25);
    },
    streams.length,
    { timeout: 30_000 },
  );
  const before = await sample();
  await page.waitForTimeout(seconds * 1000);
  const after = await sample();
  await page.screenshot({ path: `${values.out}/play.png` });
  const result = before.map((first, at) => {
    const last = after[at];
    const pace = ((last.currentTime - first.currentTime) * 1000) / (last.at - first.at);
    const check = (right, text) => right || problems.push(`${first.stream}: ${text}`);
    check(pace > 0.9 && pace < 1.15, `currentTime should advance at real-time pace, but advanced ${pace.toFixed(3)} s a second`);
    check(last.stalls === first.stalls, `no stall was expected, ${last.stalls - first.stalls} seen`);
    check(last.audioBytes > first.audioBytes, "sound should be decoded, but is not");
    check(last.frames > first.frames + seconds * 10, `pictures should be decoded, only ${last.frames - first.frames} were`);
    check(last.variance > 50, `the picture should show something, its variance is ${last.variance.toFixed(1)}`);
    return { stream: first.stream, pace, stalls: last.stalls, latencyS: last.latencyS, frames: last.frames, audioBytes: last.audioBytes };
  });
  console.log(JSON.stringify({ players: result, problems }));
} finally {
  await browser.close();
}
if (problems.length > 0) {
  console.error(problems.join("\n"));
  process.exit(1);
}
