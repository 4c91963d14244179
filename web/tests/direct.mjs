// Plays a stream with the shortest delay (WebCodecs) and checks that pictures are drawn and sound is played at their pace.
//
//     node tests/direct.mjs URL --stream cam [--seconds 5] [--fps 25] [--kill p1=PID] [--out DIR]
//
// `--kill`: the stream, whose frames are numbered, is watched from that PoP, which is killed. This delay has no buffer that
// outlasts it: the picture stands still, but goes on from another PoP soon.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { noteFrames, notedFrames } from "./barcode.mjs";
import { BY_ITSELF, choose, OF_THE_DEAD, pause, until } from "./browser.mjs";
import { openTrial, tell } from "./trial.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    stream: { type: "string", default: "cam" },
    seconds: { type: "string", default: "5" },
    fps: { type: "string", default: "25" },
    kill: { type: "string", default: "" },
    out: { type: "string", default: "." },
  },
});
const [killed, pid] = options.kill.split("=");
/** By then, in seconds, pictures come from another PoP; and the longest that the picture may stand still. */
const GOES_ON_WITHIN = 5;
const STANDS_MAX = 3;
/** Pictures a second that must be seen in the end; a machine that is busy shows some late. */
const SEEN_MIN = 12;
const name = options.stream;
const { page, failures, expect, run } = await openTrial({ height: 900, excused: killed ? OF_THE_DEAD : undefined });
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
  await choose(page, name, "Delay", "shortest");
  const look = () =>
    page.evaluate((wanted) => ({ heard: window.heard, ...window.levada.players[wanted].stats() }), name);
  expect(await until(15, async () => (await look()).phase === "playing"), "it did not start");
  await pause(2);
  await (killed ? outlive(look) : keepsPace(look));
  await mkdir(options.out, { recursive: true });
  await page.screenshot({ path: join(options.out, "direct.png") });
});
tell(failures, killed ? "pictures go on from another PoP" : "pictures and sound come at their pace");

async function keepsPace(look) {
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
}

/** Kills the PoP under the pictures, and looks how long they stand still, and that they follow each other again. */
async function outlive(look) {
  await noteFrames(page, name);
  // A page whose browser stood still for a while has left the PoP from which nothing seemed to come.
  for (let tries = 3; tries > 0 && (tries === 3 || (await look()).pop !== killed); tries--) {
    await choose(page, name, "PoP", BY_ITSELF);
    await choose(page, name, "PoP", killed);
    if (!(await until(10, async () => (await look()).pop === killed))) throw new Error(`the stream does not come from ${killed}`);
    await pause(3);
  }
  const before = await look();
  const killedAt = await page.evaluate(() => performance.now());
  process.kill(Number(pid), "SIGKILL");
  const goesOn = async () => {
    const { phase, pop, framesDecoded } = await look();
    return phase === "playing" && pop !== killed && framesDecoded > before.framesDecoded;
  };
  expect(await until(GOES_ON_WITHIN, goesOn), `nothing came from another PoP within ${GOES_ON_WITHIN} s`);
  await pause(3);
  const after = await look();
  const noted = (await notedFrames(page, name)).filter(({ at }) => at > killedAt - 500);
  const pauses = noted.slice(1).map(({ at }, index) => at - noted[index].at);
  const stood = Math.max(...pauses) / 1000;
  const seen = { from: before.pop, to: after.pop, carriers: [before.carrier, after.carrier], stood, stalls: after.stalls - before.stalls, rebuilds: after.rebuilds };
  console.log(JSON.stringify(seen));
  expect(before.pop === killed && after.pop !== killed, `expected a move away from ${killed}, saw ${before.pop} and ${after.pop}`);
  expect(stood < STANDS_MAX, `the picture stood still for ${stood.toFixed(1)} s`);
  const last = noted.filter(({ at }) => at > noted.at(-1).at - 2000).length / 2;
  expect(last >= SEEN_MIN, `only ${last} pictures a second are seen in the end`);
  expect(after.rebuilds === before.rebuilds, "decoders were started again");
}
