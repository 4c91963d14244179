// Uses the console of a lab as a teacher does, in a real browser: chooses a relay on the way of a stream, kills it, and
// sees the tree change; starts it again with the keyboard, makes a link bad, cuts it one way, and heals it.
//
//     node tests/lab.mjs URL [--out DIR] [--seconds 30] [--json]
//
// URL is what `levada lab FILE` prints for the console. FILE must have a stream that reaches a node over a relay, and
// another way around that relay. Prints one JSON object: {"ok", "url", "seen": {...}, "failures": [...],
// "screenshots": [...]}. Exits with 1 when anything was not as expected, with 2 on wrong usage.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { until } from "./browser.mjs";
import { openTrial, print } from "./trial.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: "string", default: "." },
    seconds: { type: "string", default: "30" },
    json: { type: "boolean", default: false },
  },
});
if (positionals.length !== 1 || !(Number(options.seconds) > 0)) {
  console.error("usage: lab.mjs URL [--out DIR] [--seconds 30] [--json]");
  process.exit(2);
}
const [url] = positionals;
const seconds = Number(options.seconds);

/** The browser itself tells of the line that was refused and of the connections that were broken, both on purpose. */
const EXCUSED = /status of 400|ERR_FAILED/;

const { page, failures, expect, run } = await openTrial({ width: 1440, height: 900, excused: EXCUSED });
const report = { ok: false, url, seen: {}, failures, screenshots: [] };

/** The edges of the tree as the map draws them, as "s1>n1". */
const tree = () =>
  page.$$eval('[data-flow][data-kind="feed"]', (edges) => edges.map((edge) => edge.dataset.flow).sort());
const condition = (name) => page.locator(`[data-node="${name}"]`).getAttribute("data-condition");
const press = async (line) => {
  // Only an enabled, visible button with exactly this line can be pressed.
  await page.getByRole("button", { name: line, exact: true }).click({ timeout: 5000 });
};
const shoot = async (name) => {
  const path = join(options.out, `lab-${name}.png`);
  await page.screenshot({ path });
  report.screenshots.push(path);
};

await run(async () => {
  await mkdir(options.out, { recursive: true });
  // The first connections break, as when a laptop sleeps: the page says so, and tries again.
  let broken = 0;
  await page.route("**/api/events*", (route) => {
    broken += 1;
    return broken <= 2 ? route.abort() : route.continue();
  });
  await page.goto(url, { waitUntil: "load", timeout: 15_000 });
  const banner = page.getByText("The connection with the lab is lost");
  await banner.waitFor({ timeout: 10_000 });
  await banner.waitFor({ state: "hidden", timeout: 15_000 });
  // A relay is between an edge that comes in and one that goes out; it publishes nothing and nobody watches there.
  const relay = await until(seconds, async () => {
    const edges = (await tree()).map((edge) => edge.split(">"));
    const between = edges.map(([, to]) => to).filter((node) => edges.some(([from]) => from === node));
    const flowing = await page.locator('.viewers [data-state="flowing"]').count();
    for (const node of flowing > 0 ? between : []) {
      const ways = await page.locator(`[data-flow$=">${edges.find(([from]) => from === node)[1]}"]`).count();
      // Whom it feeds must have somebody who stands by.
      if (ways > 1) return node;
    }
    return undefined;
  });
  expect(relay !== undefined, `expected a relay with another way around it within ${seconds} s, saw: ${await tree()}`);
  const before = await tree();
  report.seen.relay = relay;
  report.seen.before = before;

  if (relay !== undefined) {
    await page.locator(`[data-node="${relay}"]`).click();
    await page.getByRole("button", { name: `kill ${relay}`, exact: true }).waitFor({ timeout: 5000 });
    await shoot("dark-1440");
    const killed = Date.now();
    await press(`kill ${relay}`);
    const changed = await until(seconds, async () => {
      const now = await tree();
      const without = now.length > 0 && now.every((edge) => !edge.split(">").includes(relay));
      const flowing = await page.locator('.viewers [data-state="flowing"]').count();
      return without && flowing > 0 && (await condition(relay)) === "dead" ? now : undefined;
    });
    report.seen.after = changed ?? (await tree());
    report.seen.changeSeconds = (Date.now() - killed) / 1000;
    expect(changed !== undefined, `expected a tree without ${relay} within ${seconds} s, saw: ${report.seen.after}`);
    const log = await until(5, async () => {
      const lines = await page.locator(".log li").allTextContents();
      return lines.some((line) => line.includes(`kill ${relay}`)) && lines.some((line) => / is fed /.test(line))
        ? lines
        : undefined;
    });
    expect(log !== undefined, "expected the log to tell of the death and of the new parent");
    await page.emulateMedia({ colorScheme: "light" });
    await shoot("light-1440");

    // By keyboard: the dead node is a button, and so is what brings it back.
    await page.keyboard.press("Escape");
    await page.locator(`[data-node="${relay}"]`).focus();
    await page.keyboard.press("Enter");
    await press(`start ${relay}`);
    const back = await until(seconds, async () => (await condition(relay)) === "running");
    expect(back, `expected ${relay} to run again, saw: ${await condition(relay)}`);

    await linkTest(changed?.[0] ?? before[0]);
  }

  // What the notation does not know is refused, and the page says why.
  await page.getByLabel("A line of a script").fill("tickle n1");
  await page.keyboard.press("Enter");
  const refusal = await page.getByRole("alert").textContent({ timeout: 5000 });
  report.seen.refusal = refusal;
  expect(/tickle/.test(refusal ?? ""), `expected the refusal to name the word, saw: ${refusal}`);

  await page.setViewportSize({ width: 390, height: 844 });
  await page.emulateMedia({ colorScheme: "dark" });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  expect(overflow <= 0, `expected no sideways scrolling at 390 px, saw ${overflow} px`);
  await page.locator("[data-node]").first().click();
  const path = join(options.out, "lab-dark-390.png");
  await page.screenshot({ path, fullPage: true });
  report.screenshots.push(path);
});
print(report, options);

/** Makes the link below an edge of the tree bad with the slider, cuts it one way, and heals it. */
async function linkTest(edge) {
  const [from, to] = edge.split(">");
  const link = page.locator(`[data-link="${from}-${to}"], [data-link="${to}-${from}"]`).first();
  await link.focus();
  await page.keyboard.press("Enter");
  const name = await link.getAttribute("data-link");
  const [a, b] = name.split("-");
  await page.getByLabel("delay", { exact: true }).first().fill("80");
  await page.getByLabel("loss", { exact: true }).last().fill("5");
  const told = await page.locator(".this-is code").textContent({ timeout: 5000 });
  report.seen.line = told;
  expect(told === `link ${name} delay=80ms loss=5%`, `expected the line of the script, saw: ${told}`);
  await page.getByRole("button", { name: "Apply" }).click();
  const bad = await until(10, async () => /80 ms · 5 %/.test((await link.getAttribute("aria-label")) ?? ""));
  expect(bad, `expected the map to show 80 ms and 5 %, saw: ${await link.getAttribute("aria-label")}`);
  await press(`cut ${a}>${b}`);
  const cut = await until(10, async () => (await link.getAttribute("data-cut")) === "there");
  expect(cut, `expected ${a}>${b} to be cut, saw: ${await link.getAttribute("data-cut")}`);
  await shoot("link-1440");
  await press(`heal ${name}`);
  const healed = await until(10, async () => (await link.getAttribute("data-cut")) === "none");
  expect(healed, `expected ${name} to pass again, saw: ${await link.getAttribute("data-cut")}`);
}
