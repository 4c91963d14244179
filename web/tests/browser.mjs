// What the browser tests share: Debian's Chromium, started so that it plays by itself, and a look into the players.

import { chromium } from "playwright-core";

const ARGUMENTS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--autoplay-policy=no-user-gesture-required",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--mute-audio",
];

/** Opens a page; `complaints` collects console errors and uncaught exceptions. */
export async function openPage({ width = 1280, height = 800, theme = "dark", args = ARGUMENTS } = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args,
    ignoreDefaultArgs: ["--headless", "--headless=old"],
    headless: true,
  });
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: theme });
  const complaints = [];
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return { browser, page, complaints };
}

/** One look at each stream's player and `<video>`; null where there is none. */
export function observe(page, names) {
  return page.evaluate((wanted) => {
    const look = (name) => {
      const video = document.querySelector(`video[data-stream="${CSS.escape(name)}"]`);
      const player = window.levada?.players[name];
      if (!video || !player) return null;
      return {
        at: performance.now() / 1000,
        position: video.currentTime,
        paused: video.paused,
        muted: video.muted,
        audioBytes: video.webkitAudioDecodedByteCount ?? null,
        videoBytes: video.webkitVideoDecodedByteCount ?? null,
        stats: player.stats(),
      };
    };
    return Object.fromEntries(wanted.map((name) => [name, look(name)]));
  }, names);
}

/** Mean and variance of the picture's brightness (0 to 255), at 64 by 36. */
export function brightness(page, name) {
  return page.evaluate((wanted) => {
    const video = document.querySelector(`video[data-stream="${CSS.escape(wanted)}"]`);
    const canvas = document.createElement("canvas");
    canvas.width = 64;
    canvas.height = 36;
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    let squares = 0;
    const count = data.length / 4;
    for (let at = 0; at < data.length; at += 4) {
      const luma = 0.2126 * data[at] + 0.7152 * data[at + 1] + 0.0722 * data[at + 2];
      sum += luma;
      squares += luma * luma;
    }
    const mean = sum / count;
    return { mean, variance: squares / count - mean * mean };
  }, name);
}

/** What is chosen where the page is to choose the PoP. */
export const BY_ITSELF = "";

/** The browser complains of a PoP that dies by itself. */
export const OF_THE_DEAD = /WebSocket connection|^Failed to establish a connection to https:|ERR_(EMPTY_RESPONSE|CONNECTION|SOCKET|INCOMPLETE_CHUNKED)/;

/** Chooses a value of a list in a stream's card, "PoP" or "Delay", as a user does it. */
export async function choose(page, name, list, value) {
  const card = page.locator("article.card", { has: page.locator(`video[data-stream="${name}"]`) });
  const choice = card.getByRole("combobox", { name: list });
  if (!(await choice.isVisible())) await card.getByRole("button", { name: "How it fares" }).click();
  // A node that has not told its name yet has an empty one too.
  await choice.locator(`option[value="${value}"]`).first().waitFor({ state: "attached", timeout: 10_000 });
  await choice.selectOption(value);
  await page.evaluate(() => document.activeElement.blur());
}

/** Polls until `test` returns something truthy, and returns it; undefined when the time is over. */
export async function until(seconds, test) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const result = await test();
    if (result) return result;
    if (Date.now() > end) return undefined;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
