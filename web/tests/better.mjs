// Plays a stream that two PoPs of the fake node give, and makes the one in use lastingly worse: the page moves, not before the
// rule lets it, and nothing is skipped. Then no PoP can give the stream for a while: the page says so, and goes on by itself.
//
//     node tests/better.mjs

import { observe, pause, until } from "./browser.mjs";
import { startFake } from "./fake.mjs";
import { openTrial, tell } from "./trial.mjs";

const NAME = "cam1";
/** What the rule waits for (src/media/pops.ts), and by when the median of the round trips must have come over, and the rule. */
const LASTS_SECONDS = 30;
const WITHIN_SECONDS = 100;
/** Longer than the buffer, and than a connection that brings nothing is kept. */
const GONE_SECONDS = 10;

const fake = await startFake([NAME], 2);
const { page, failures, expect, run } = await openTrial();
const look = async () => (await observe(page, [NAME]))[NAME];
const phaseIs = (phase) => async () => (await look())?.stats.phase === phase;
const ranges = () => page.$eval("video", ({ buffered }) => Array.from({ length: buffered.length }, (_, at) => [buffered.start(at), buffered.end(at)]));
await run(async () => {
  await page.goto(`${fake.base}#play=${NAME}`);
  if (!(await until(20, phaseIs("playing")))) throw new Error("the stream did not start");
  await pause(8); // a page has just moved when it begins
  await movesForTheBetter();
  await waitsAndGoesOn();
});
fake.stop();
tell(failures, "moved, waited and went on");

/** A PoP that seems silent is left at once: a machine that is busy with other tests gets another try. */
async function movesForTheBetter() {
  for (let tries = 3; tries > 0; tries--) {
    const { took, ...seen } = await moves();
    console.log(JSON.stringify({ took, ...seen }));
    if (took < LASTS_SECONDS && tries > 1) continue;
    expect(took >= LASTS_SECONDS, `expected it to be better for ${LASTS_SECONDS} s first, saw a move after ${took.toFixed(1)} s`);
    return judge(seen);
  }
}

/** What the second before the move and the two after it were like. */
async function moves() {
  const began = await look();
  const from = began.stats.pop;
  await fake.fault(`${from}/far`);
  let before = began;
  const after = await until(WITHIN_SECONDS, async () => {
    const now = await look();
    if (now.stats.pop !== from) return now;
    if (now.at - before.at > 1) before = now;
    return undefined;
  });
  if (!after) throw new Error(`no move within ${WITHIN_SECONDS} s`);
  await pause(2);
  const end = await look();
  await fake.fault(`${from}/near`);
  const grown = (key) => end.stats[key] - before.stats[key];
  const counts = Object.fromEntries(["moves", "stalls", "jumps", "reconnects", "rebuilds"].map((key) => [key, grown(key)]));
  return { took: after.at - began.at, from, to: after.stats.pop, counts, pace: (end.position - before.position) / (end.at - before.at), buffered: await ranges() };
}

function judge({ counts, pace, buffered }) {
  const { moves: moved, ...others } = counts;
  expect(moved === 1, `expected one move, saw ${moved}`);
  for (const [what, count] of Object.entries(others)) expect(count === 0, `expected no ${what}, saw ${count}`);
  expect(pace > 0.93 && pace < 1.07, `expected playback at its pace, saw ${pace.toFixed(3)}`);
  // A frame that is left out is a hole in the buffer.
  expect(buffered.length === 1, `expected no holes, saw ${JSON.stringify(buffered)}`);
}

async function waitsAndGoesOn() {
  const { reconnects } = (await look()).stats;
  await fake.fault(`${NAME}/gone`);
  expect(await until(10, phaseIs("stalled")), "expected the picture to stop");
  await pause(GONE_SECONDS);
  const notice = await page.locator(".notice").textContent();
  expect(/No node has a path/.test(notice), `expected to be told what is missing, saw: ${notice}`);
  await fake.fault(`${NAME}/back`);
  expect(await until(15, phaseIs("playing")), "expected the picture to go on by itself");
  const after = await look();
  await pause(2);
  const later = await look();
  expect(later.position - after.position > 1.5, "expected the picture to go on at its pace");
  console.log(JSON.stringify({ waited: notice, reconnects: later.stats.reconnects - reconnects, latency: later.stats.latency }));
}
