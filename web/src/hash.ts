/** The chosen streams in the address, as in `#play=cam1,cam2`, so that a reload or a link plays them again. */

/** More players than this are not opened from a link. */
export const PLAYERS_MAX = 16;

export function parseHash(hash: string): string[] {
  const names = new Set<string>();
  for (const part of hash.replace(/^#/, "").split("&")) {
    if (!part.startsWith("play=")) continue;
    for (const word of part.slice("play=".length).split(",")) {
      const name = decode(word);
      if (name && names.size < PLAYERS_MAX) names.add(name);
    }
  }
  return [...names];
}

/** The empty string when no stream is chosen. */
export function formatHash(names: readonly string[]): string {
  return names.length === 0 ? "" : `#play=${names.map(encodeURIComponent).join(",")}`;
}

function decode(word: string): string | undefined {
  try {
    return decodeURIComponent(word).trim();
  } catch {
    return undefined; // a stray percent sign in a hand-written link
  }
}
