// Plays streams of odd kinds with every delay: one of sound alone plays, of one without a decoder the page says so and rests.
//
//     node tests/odd.mjs

import { pause, until } from "./browser.mjs";
import { startFake } from "./fake.mjs";
import { openTrial, tell } from "./trial.mjs";

const SOUND = "sound";
const HEVC = "hevc";
/** Connections that a player may open while the page rests. */
const OPENED_MAX = 2;

const fake = await startFake([SOUND, HEVC]);
const { page, failures, expect, run } = await openTrial({ height: 900 });
let opened = 0;
page.on("websocket", () => (opened += 1));
const card = (name) => page.getByRole("article", { name: `Player of ${name}` });
const stats = (name) => page.evaluate((wanted) => window.levada.players[wanted].stats(), name);
await run(async () => {
  await page.goto(`${fake.base}#play=${SOUND},${HEVC}`);
  for (const name of [SOUND, HEVC]) {
    const details = (expanded) => card(name).getByRole("button", { name: "How it fares", expanded });
    await details(false).click();
    await details(true).waitFor({ timeout: 5000 });
  }
  for (const delay of ["steady", "shortest"]) {
    for (const name of [SOUND, HEVC]) await card(name).getByRole("combobox", { name: "Delay" }).selectOption(delay);
    await soundPlays(delay);
    await hevcIsRefused(delay);
  }
});
fake.stop();
tell(failures, "all as it is to be");

async function soundPlays(delay) {
  const plays = await until(15, async () => (await stats(SOUND)).phase === "playing");
  expect(plays, `${delay}: expected sound to play, saw phase "${(await stats(SOUND)).phase}"`);
  const before = await stats(SOUND);
  await pause(2);
  const after = await stats(SOUND);
  console.log(`${delay}: ${JSON.stringify(after)}`);
  const moved = after.position - before.position;
  expect(moved > 1.5 && moved < 2.5, `${delay}: expected sound to go on, saw ${moved.toFixed(2)} s in 2 s`);
  expect(after.latency !== null && after.latency < 2, `${delay}: expected sound near to live, saw ${after.latency}`);
}

/** Chromium as Debian has it has no decoder of HEVC. */
async function hevcIsRefused(delay) {
  const refused = await until(15, async () => (await stats(HEVC)).phase === "unsupported");
  const notice = await card(HEVC).locator(".notice").textContent();
  expect(refused && /cannot decode HEVC/.test(notice), `${delay}: expected to be told that HEVC cannot be decoded, saw: ${notice}`);
  const before = opened;
  await pause(2);
  expect(opened - before <= OPENED_MAX, `${delay}: expected the player to rest, saw ${opened - before} connections`);
}
