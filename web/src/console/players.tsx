/** The open players, side by side. They are in the address, so that a reload or a link plays them again. */

import { computed, effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { formatHash, PLAYERS_MAX, parseHash } from "../hash";
import type { PlayerStats } from "../media/playing";
import type { Card } from "../ui/card";
import { connection } from "./store";

declare global {
  interface Window {
    /** For tests and the curious: `levada.players.cam1.stats()`. */
    levada: { players: Record<string, { stats(): PlayerStats }> };
  }
}

export const playing = signal<readonly string[]>([]);
/** As many are open as the page takes. */
export const full = computed(() => playing.value.length >= PLAYERS_MAX);
const cards = new Map<string, Card>();

/** Nearly half of the page's script is for playing: it comes when something is to be played. */
const SCRIPT = "./player.js";
const player = signal<typeof Card | "coming" | "lost" | undefined>(undefined);

function fetchPlayer(): void {
  if (typeof player.peek() === "function" || player.peek() === "coming") return;
  player.value = "coming";
  const coming: Promise<typeof import("../ui/card")> = import(SCRIPT);
  coming.then(
    (script) => {
      player.value = script.Card;
    },
    () => {
      player.value = "lost";
    },
  );
}

export function play(name: string): void {
  if (!full.value && !playing.value.includes(name)) playing.value = [...playing.value, name];
}

export function close(name: string): void {
  const focused = cards.get(name)?.element.contains(document.activeElement);
  playing.value = playing.value.filter((other) => other !== name);
  if (focused) document.querySelector<HTMLElement>(`[data-name="${CSS.escape(name)}"] .play-button`)?.focus();
}

export function Players() {
  const names = playing.value;
  if (names.length === 0) return null;
  return (
    <section class="players" data-count={names.length} aria-label="Players">
      {names.map((name) => (
        <PlayerFrame key={name} name={name} />
      ))}
    </section>
  );
}

/** The one place where the player meets the console. */
function PlayerFrame({ name }: { name: string }) {
  const frame = useRef<HTMLDivElement>(null);
  const script = player.value;
  useEffect(() => {
    if (typeof script !== "function") return;
    const card = new script(name, {
      muted: [...cards.values()].some((other) => other.audible),
      onClose: () => close(name),
    });
    cards.set(name, card);
    window.levada.players[name] = { stats: () => card.player.stats() };
    frame.current?.append(card.element);
    return () => {
      card.close();
      cards.delete(name);
      delete window.levada.players[name];
    };
  }, [name, script]);
  return (
    <div class="player" ref={frame}>
      {script === "coming" && <p class="quiet">The player of {name} is loading.</p>}
      {script === "lost" && <p class="quiet">The player of {name} did not load. Reload the page once the node answers again.</p>}
    </div>
  );
}

/** Keeps the address in step, and has players try again as soon as the node is back. */
export function startPlayers(): void {
  window.levada = { players: Object.create(null) as Window["levada"]["players"] };
  const followHash = (): void => {
    playing.value = parseHash(location.hash);
  };
  followHash();
  window.addEventListener("hashchange", followHash);
  effect(() => {
    if (playing.value.length > 0) fetchPlayer();
  });
  effect(() => {
    const hash = formatHash(playing.value);
    if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname + location.search);
  });
  let lost = false;
  effect(() => {
    const now = connection.value;
    if (lost && typeof now === "string") {
      // In vain where a browser keeps in mind what did not load; the page says to reload it.
      if (playing.peek().length > 0) fetchPlayer();
      for (const card of cards.values()) card.player.source.retryNow();
    }
    lost = typeof now === "object";
  });
}
