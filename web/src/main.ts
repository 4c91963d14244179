// The page: which streams there are, and players for those that were chosen. The address keeps the choice.

import { fetchStreams, type Stream, type Streams } from "./api";
import { Player } from "./player";

const players = new Map<string, { player: Player; card: HTMLElement }>();
let connected = true;

declare global {
  interface Window {
    levada: { players: Map<string, { player: Player }> };
  }
}
window.levada = { players };

function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

function play(name: string): void {
  if (players.has(name)) return;
  const video = element("video", { playsInline: true, ariaLabel: name });
  video.dataset.stream = name;
  const notice = element("p", { className: "notice" }, "Joining …");
  notice.setAttribute("role", "status");
  const numbers = element("span", { className: "numbers" });
  const volume = element("input", { type: "range", min: "0", max: "1", step: "0.05", value: "1", ariaLabel: "Volume" });
  volume.oninput = () => {
    video.volume = Number(volume.value);
    video.muted = false;
  };
  const sound = element("button", { type: "button" }, "Mute");
  const showSound = () => (sound.textContent = video.muted ? "Sound" : "Mute");
  video.addEventListener("volumechange", showSound);
  sound.onclick = () => {
    video.muted = !video.muted;
    notice.hidden = true;
    void video.play();
  };
  const full = element("button", { type: "button" }, "Fullscreen");
  full.onclick = () => void video.requestFullscreen();
  const close = element("button", { type: "button", ariaLabel: `Close ${name}` }, "Close");
  close.onclick = () => stop(name);
  const bar = element("div", { className: "bar" }, element("strong", {}, name), sound, volume, full, close, numbers);
  const card = element("article", { className: "player" }, element("div", { className: "screen" }, video, notice), bar);
  byId("players").append(card);
  const player = new Player(name, video, (text) => {
    notice.textContent = text;
    notice.hidden = text === "";
  });
  players.set(name, { player, card });
  remember();
}

function stop(name: string): void {
  const entry = players.get(name);
  if (!entry) return;
  entry.player.close();
  entry.card.remove();
  players.delete(name);
  remember();
}

function remember(): void {
  const names = [...players.keys()].join(",");
  history.replaceState(null, "", names ? `#play=${names}` : location.pathname);
}

function chosen(): string[] {
  const names = new URLSearchParams(location.hash.slice(1)).get("play");
  return (names ?? "").split(",").filter((name) => /^[A-Za-z0-9._-]{1,64}$/.test(name));
}

function describe(stream: Stream): string {
  const video = stream.tracks.find((track) => track.kind === "video");
  const parts = [
    video && `${video.width}×${video.height}`,
    stream.tracks.map((track) => track.codec.toUpperCase()).join(" + "),
    stream.bitrate_bps && `${(stream.bitrate_bps / 1e6).toFixed(2)} Mbit/s`,
    stream.origins.length > 0 ? `from ${stream.origins.join(", ")}` : "nobody publishes it now",
  ];
  return parts.filter(Boolean).join(" · ");
}

const rows = new Map<string, { row: HTMLElement; facts: HTMLElement; state: HTMLElement }>();

function rowOf(name: string): { row: HTMLElement; facts: HTMLElement; state: HTMLElement } {
  const known = rows.get(name);
  if (known) return known;
  const url = new URL(`live/${name}.ts`, location.href).href;
  const watch = element("button", { type: "button", className: "primary" }, "Watch");
  watch.onclick = () => play(name);
  const copy = element("button", { type: "button", title: "Address for VLC, ffplay and mpv" }, "Copy .ts link");
  copy.onclick = async () => {
    // Browsers refuse the clipboard to pages without TLS; the address is shown for copying by hand then.
    await navigator.clipboard?.writeText(url).catch(() => undefined);
    copy.textContent = navigator.clipboard ? "Copied" : url;
  };
  const facts = element("span", { className: "muted" });
  const state = element("span", { className: "state" });
  const row = element("li", {}, element("span", { className: "name" }, name), facts, state, copy, watch);
  row.dataset.stream = name;
  const made = { row, facts, state };
  rows.set(name, made);
  byId("streams").append(row);
  return made;
}

const states = { published: "published here", watched: "watched here", passed: "passed on", idle: "idle" };

function show(answer: Streams): void {
  byId("node").textContent = answer.node;
  document.title = `Levada · ${answer.node}`;
  byId("empty").hidden = answer.streams.length > 0;
  const names = new Set(answer.streams.map((stream) => stream.name));
  for (const [name, { row }] of rows) {
    if (!names.has(name)) {
      row.remove();
      rows.delete(name);
    }
  }
  for (const stream of answer.streams) {
    const { facts, state } = rowOf(stream.name);
    facts.textContent = describe(stream);
    state.textContent = stream.waiting ? "waiting for a path" : states[stream.state];
    state.className = `state ${stream.waiting ? "waiting" : stream.state}`;
  }
}

async function refresh(): Promise<void> {
  try {
    show(await fetchStreams());
    connected = true;
  } catch {
    connected = false;
  }
  const banner = byId("banner");
  banner.hidden = connected;
  banner.textContent = "This node does not answer; trying again …";
  window.setTimeout(() => void refresh(), 1000);
}

function showNumbers(): void {
  for (const { player, card } of players.values()) {
    const stats = player.stats();
    const numbers = card.querySelector(".numbers");
    if (!numbers) continue;
    numbers.textContent = stats.playing
      ? `${stats.latencyS.toFixed(2)} s behind live · buffer ${stats.bufferS.toFixed(2)} s · ` +
        `${stats.width}×${stats.height} · ${stats.stalls} stalls · ${stats.dropped} frames dropped`
      : "not playing";
  }
}

chosen().forEach(play);
window.addEventListener("hashchange", () => chosen().forEach(play));
window.setInterval(showNumbers, 500);
void refresh();
