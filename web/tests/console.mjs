// Uses the console of a node as an operator does, in a real browser: gives a wrong and the right token, publishes a file,
// plays it beside another stream, connects a neighbour and disconnects it, sees a relay die, and stops the stream.
//
//     node tests/console.mjs URL --token TOKEN --file clip.mp4 --connect HOST:PORT --relays r1=PID,r2=PID
//                            [--stream cam1] [--out DIR] [--seconds 30] [--json]
//     node tests/console.mjs URL --token TOKEN --closed      (the node was started with --look token)
//
// --file names a file of the node's media folder, --connect where a node that is no neighbour yet accepts links, --relays
// those that may feed the node with --stream: the one that does is killed. Instead of a PID an address may stand, which is
// asked by POST (tests/fake-node.mjs). Prints one JSON object: {"ok", "url", "seen": {...}, "failures": [...],
// "screenshots": [...]}. Exits with 1 when anything was not as expected, with 2 on wrong usage.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { brightness, observe, pause, until } from "./browser.mjs";
import { openTrial, print } from "./trial.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    token: { type: "string", default: "" },
    file: { type: "string", default: "" },
    connect: { type: "string", default: "" },
    relays: { type: "string", default: "" },
    stream: { type: "string", default: "cam1" },
    out: { type: "string", default: "." },
    seconds: { type: "string", default: "30" },
    closed: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const relays = new Map(options.relays.split(",").map((word) => word.split(/=(.*)/s).slice(0, 2)));
const complete = options.closed || (options.file && options.connect && options.relays);
if (positionals.length !== 1 || !options.token || !complete) {
  console.error("usage: console.mjs URL --token TOKEN (--closed | --file FILE --connect HOST:PORT --relays r1=PID,r2=PID)");
  process.exit(2);
}
const [url] = positionals;
const { stream } = options;
const seconds = Number(options.seconds);
/** A death must show within this. */
const DEATH_SECONDS = 1;
/** A picture with less variance than this is one flat colour. */
const VARIANCE_MIN = 20;
const PUBLISHED = "harbour";

/**
 * The browser itself tells of what was refused, of the dead relay that does not answer, and of PoPs that are asked for the
 * stream that was stopped, all on purpose.
 */
const EXCUSED = /status of (401|502)|response code: 404|^Failed to establish a connection to https:|ERR_(CONNECTION|EMPTY|SOCKET|INCOMPLETE_CHUNKED)/;

const { page, failures, expect, run } = await openTrial({ width: 1440, height: 900, excused: EXCUSED });
const report = { ok: false, url, seen: {}, failures, screenshots: [] };
const shoot = async (name) => {
  const path = join(options.out, `console-${name}.png`);
  await page.screenshot({ path, fullPage: true });
  report.screenshots.push(path);
};
const button = (name) => page.getByRole("button", { name, exact: true });
const here = page.locator("[data-here=true]");
const row = (name) => page.locator(`[data-name="${name}"]`);
/** Who feeds whom, as the map draws it: "r1>pop". */
const tree = () => page.$$eval('[data-flow][data-kind="feed"]', (edges) => edges.map((edge) => edge.dataset.flow).sort());

await run(async () => {
  await mkdir(options.out, { recursive: true });
  try {
    await page.goto(url, { waitUntil: "load", timeout: 15_000 });
    if (options.closed) await closed();
    else await open();
  } catch (error) {
    await shoot("failed").catch(() => {});
    throw error;
  }
});
print(report, options);

async function open() {
  await here.waitFor({ timeout: seconds * 1000 });
  await publish();
  await playBoth();
  await neighbours();
  await death();
  await stop();
  await small();
}

/** Streams play for everybody; the mesh opens with the token, and closes without it. */
async function closed() {
  const notice = page.getByText("shows its mesh to operators only");
  await notice.waitFor({ timeout: seconds * 1000 });
  await button(`Play ${stream}`).click({ timeout: seconds * 1000 });
  const plays = async () => (await observe(page, [stream]))[stream]?.stats.phase === "playing";
  expect(await until(seconds, plays), `expected ${stream} to play without a token`);
  await button("Give the token").click();
  await page.getByLabel("Token").fill(options.token);
  await page.keyboard.press("Enter");
  await here.waitFor({ timeout: seconds * 1000 });
  await page.reload();
  await here.waitFor({ timeout: seconds * 1000 });
  await button("Operator").click();
  await notice.waitFor({ timeout: seconds * 1000 });
  expect((await here.count()) === 0, "expected the mesh to be hidden once the token is forgotten");
}

/** A wrong token is refused with a reason, the right one is asked for once. */
async function publish() {
  await button("Publish").click();
  await page.getByLabel("Token").fill("not the token");
  await button("Unlock").click();
  const refusal = await page.locator("dialog .problem").filter({ hasText: /./ }).textContent({ timeout: 5000 });
  report.seen.refusal = refusal;
  expect(/refuses/.test(refusal), `expected a wrong token to be refused, saw: ${refusal}`);
  await page.getByLabel("Token").fill(options.token);
  await button("Unlock").click();
  await page.getByLabel(/^File in/).selectOption(options.file);
  await page.getByLabel("Name of the stream").fill(PUBLISHED);
  await page.locator("dialog").getByRole("button", { name: "Publish" }).click();
  await page.getByText(`${PUBLISHED} is published.`).waitFor({ timeout: seconds * 1000 });
  await button("Close").click();
  await row(PUBLISHED).and(page.locator("[data-state=published]")).waitFor({ timeout: 5000 });
}

async function playBoth() {
  const names = [stream, PUBLISHED];
  for (const name of names) await button(`Play ${name}`).click({ timeout: 5000 });
  const plays = async () => {
    const seen = await observe(page, names);
    return names.every((name) => seen[name]?.stats.phase === "playing");
  };
  expect(await until(seconds, plays), `expected ${names.join(" and ")} to play within ${seconds} s`);
  const before = await observe(page, names);
  await pause(2);
  const after = await observe(page, names);
  for (const name of names) {
    const moved = after[name].position - before[name].position;
    const { variance } = await brightness(page, name);
    report.seen[name] = { moved, variance, stalls: after[name].stats.stalls };
    expect(moved > 1, `${name}: expected to go on, saw ${moved.toFixed(2)} s in 2 s`);
    expect(variance >= VARIANCE_MIN, `${name}: expected a picture, saw a variance of ${variance.toFixed(1)}`);
  }
  // Each PoP tells its own viewers only.
  const rows = () => page.$$eval(".pops tr[data-up=true]", (all) => all.map((one) => one.querySelector(".figure").textContent));
  const counted = await until(seconds, async () => {
    const seen = await rows();
    return seen.length > 0 && seen.every((viewers) => /^\d+$/.test(viewers));
  });
  report.seen.viewers = await rows();
  expect(counted, `expected the viewers of every PoP, saw: ${report.seen.viewers}`);
  const boxes = await page.$$eval("video", (videos) => videos.map((video) => video.getBoundingClientRect().toJSON()));
  expect(boxes.length === 2 && boxes[0].right <= boxes[1].left, "expected the players side by side");
}

async function neighbours() {
  const listed = page.locator("[data-neighbour]");
  const before = await listed.count();
  const address = page.getByLabel("Address of a node to connect to");
  await address.fill("127.0.0.1:1");
  await button("Connect").click();
  const problem = await page.locator(".neighbours .problem").last().filter({ hasText: /./ }).textContent({ timeout: seconds * 1000 });
  report.seen.unreachable = problem;
  await address.fill(options.connect);
  await button("Connect").click();
  const done = await page.locator(".neighbours .done").filter({ hasText: /./ }).textContent({ timeout: seconds * 1000 });
  const name = / ?(\S+) is a neighbour now/.exec(done)?.[1];
  report.seen.connected = name;
  const own = await here.getAttribute("data-node");
  const up = page.locator(`[data-neighbour="${name}"][data-up=true]`);
  await up.waitFor({ timeout: seconds * 1000 });
  const link = page.locator(`[data-link="${name}-${own}"][data-cut=none], [data-link="${own}-${name}"][data-cut=none]`);
  await link.waitFor({ timeout: seconds * 1000, state: "attached" });
  expect((await listed.count()) === before + 1, `expected ${before + 1} neighbours, saw ${await listed.count()}`);
  // The script that draws them comes when there is something to draw.
  await page.locator(".plot canvas").nth(2).waitFor({ timeout: seconds * 1000 });
  await shoot("dark-1440");
  await button(`Disconnect ${name}`).click();
  await page.locator("dialog").getByRole("button", { name: `Disconnect ${name}` }).click();
  await page.locator(`[data-neighbour="${name}"]`).waitFor({ state: "detached", timeout: seconds * 1000 });
}

/** The relay that feeds this node dies without a word. */
async function death() {
  await row(stream).locator(".name-button").click();
  const own = await here.getAttribute("data-node");
  const parent = await until(seconds, async () => {
    const edges = await tree();
    const by = edges.map((edge) => edge.split(">")).find(([from, to]) => to === own && relays.has(from))?.[0];
    // Whoever stands by makes it a death that viewers do not notice.
    return by && (await page.locator(`[data-flow$=">${own}"][data-kind="backup"]`).count()) > 0 ? by : undefined;
  });
  report.seen.before = await tree();
  if (!parent) return expect(false, `expected one of ${[...relays.keys()]} to feed ${own}, saw: ${await tree()}`);
  const stalls = (await observe(page, [stream]))[stream].stats.stalls;
  const seen = page.locator(`[data-node="${parent}"][data-condition="dead"]`).waitFor({ timeout: seconds * 1000 });
  const killed = performance.now();
  await kill(relays.get(parent));
  await seen;
  report.seen.killed = parent;
  report.seen.deathSeconds = (performance.now() - killed) / 1000;
  expect(
    report.seen.deathSeconds <= DEATH_SECONDS,
    `expected the map to show the death of ${parent} within ${DEATH_SECONDS} s, saw ${report.seen.deathSeconds.toFixed(2)} s`,
  );
  const around = await until(seconds, async () => {
    const edges = await tree();
    return edges.some((edge) => edge.endsWith(`>${own}`)) && !edges.some((edge) => edge.split(">").includes(parent));
  });
  report.seen.switchSeconds = (performance.now() - killed) / 1000;
  report.seen.after = await tree();
  expect(around, `expected a tree without ${parent}, saw: ${report.seen.after}`);
  const told = await until(seconds, async () => {
    const lines = await page.locator(".log li").allTextContents();
    return lines.some((line) => line.includes(parent));
  });
  expect(told, `expected the log to name ${parent}`);
  await page.emulateMedia({ colorScheme: "light" });
  await shoot("light-1440");
  report.seen.stalls = (await observe(page, [stream]))[stream].stats.stalls - stalls;
}

/** A PID, or an address that is asked. */
async function kill(target) {
  if (/^\d+$/.test(target)) process.kill(Number(target), "SIGKILL");
  else await fetch(target, { method: "POST" });
}

async function stop() {
  await button(`Stop ${PUBLISHED}`).first().click();
  await page.locator("dialog").getByRole("button", { name: `Stop ${PUBLISHED}` }).click();
  const gone = await until(seconds, async () => (await row(PUBLISHED).and(page.locator("[data-state=published]")).count()) === 0);
  expect(gone, `expected ${PUBLISHED} to be published no more`);
}

/** On a phone nothing is cut off, and what is chosen by keyboard is told. */
async function small() {
  await page.locator("[data-node]").first().focus();
  await page.keyboard.press("Enter");
  await page.locator(".chosen").waitFor({ timeout: 5000 });
  const said = await page.locator("body").innerText();
  expect(!/undefined|NaN|\[object/.test(said), `expected words for people, saw: ${/.*(undefined|NaN|\[object).*/.exec(said)?.[0]}`);
  await page.setViewportSize({ width: 320, height: 640 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  expect(overflow <= 0, `expected no sideways scrolling at 320 px, saw ${overflow} px`);
  await shoot("light-320");
  await page.emulateMedia({ colorScheme: "dark" });
  await shoot("dark-320");
}
