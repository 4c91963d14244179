// Plays a stream with the shortest delay (WebCodecs) and checks that pictures are drawn and sound is played at their pace.
//
//     node tests/direct.mjs URL --stream cam [--seconds 5] [--fps 25] [--out DIR]

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pause, until } from "./browser.mjs";
import { openTrial, tell } from "./trial.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    stream: { type: "string", default: "cam" },
    seconds: { type: "string", default: "5" },
    fps: { type: "string", default: "25" },
    out: { type: "string", default: "." },
  },
});
const name = options.stream;
const { page, failures, expect, run } = await openTrial({ height: 900 });
await run(async () => {
  // How long the pieces of sound are that are played.
  await page.addInitScript(() => {
    window.heard = 0;
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function (...args) {
      window.heard += this.buffer.duration;
      return start.apply(this, args);
    };
  });
  await page.goto(new URL(`#play=${name}`, positionals[0]).href);
  await page.getByRole("button", { name: "How it fares" }).click();
  await page.getByRole("combobox", { name: "Delay" }).selectOption("shortest");
  const look = () =>
    page.evaluate((wanted) => ({ heard: window.heard, ...window.levada.players[wanted].stats() }), name);
  expect(await until(15, async () => (await look()).phase === "playing"), "it did not start");
  await pause(2);
  const before = await look();
  await pause(Number(options.seconds));
  const after = await look();
  const share = (key, rate) => (after[key] - before[key]) / (Number(options.seconds) * rate);
  const shares = { pictures: share("framesDecoded", Number(options.fps)), sound: share("heard", 1) };
  console.log(JSON.stringify({ ...shares, after }));
  for (const [what, seen] of Object.entries(shares)) {
    // A machine that is busy with other tests is late with some of it.
    expect(seen >= 0.6 && seen <= 1.2, `expected the ${what} at their pace, saw a share of ${seen.toFixed(2)}`);
  }
  expect(after.rebuilds === 0, `decoders were started again ${after.rebuilds} times`);
  await mkdir(options.out, { recursive: true });
  await page.screenshot({ path: join(options.out, "direct.png") });
});
tell(failures, "pictures and sound come at their pace");
