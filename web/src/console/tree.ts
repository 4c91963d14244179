/**
 * The tree of a stream. A node knows its own place in it only, so the page asks the others, from the origins down.
 */

import { type Listing, parseListing, type StreamInfo } from "../api";
import type { MapFlow } from "../map/model";

/** What nodes say of one stream, by their names. */
export type Places = ReadonlyMap<string, StreamInfo>;

/** What nodes say of all streams, by their names. */
export type Listings = ReadonlyMap<string, Listing>;

/** Asks a node; undefined: it does not tell. */
export type Ask = (node: string) => Promise<Listing | undefined>;

/** More nodes of one tree are not asked. */
const NODES_MAX = 200;
const TIMEOUT_MS = 1500;
/** A node that did not answer is not asked again before. */
const SILENT_MS = 2000;

/**
 * Asks the nodes of a tree what they do with a stream: first the origins, then whomever these feed, and so on. Nodes
 * that do not answer are left out.
 */
export async function walk(stream: string, starts: readonly string[], ask: Ask): Promise<Places> {
  const answers = await descend(starts, ask, ({ name }) => name === stream);
  const places = [...answers].map(([node, { streams }]) => [node, streams.find(({ name }) => name === stream)] as const);
  return new Map(places.filter((place): place is readonly [string, StreamInfo] => place[1] !== undefined));
}

/** The same for all streams at once: what each node of their trees says. */
export async function walkAll(starts: readonly string[], ask: Ask): Promise<Listings> {
  return descend(starts, ask, () => true);
}

async function descend(starts: readonly string[], ask: Ask, leads: (stream: StreamInfo) => boolean): Promise<Listings> {
  const listings = new Map<string, Listing>();
  const seen = new Set(starts);
  let level = [...seen];
  while (level.length > 0) {
    const answers = await Promise.all(level.map(async (node) => [node, await ask(node)] as const));
    level = [];
    for (const [node, listing] of answers) {
      if (!listing) continue;
      listings.set(node, listing);
      for (const child of listing.streams.filter(leads).flatMap(({ children }) => children)) {
        if (seen.has(child) || seen.size >= NODES_MAX) continue;
        seen.add(child);
        level.push(child);
      }
    }
  }
  return listings;
}

/** What came of asking a node. `refused`: nothing listens there; `late`: no answer in time. */
export type Answer = Listing | "refused" | "late";

export async function askNode(http: string): Promise<Answer> {
  const abort = new AbortController();
  const timer = window.setTimeout(() => abort.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch(new URL("api/v1/streams", http), { cache: "no-store", signal: abort.signal });
    return answer.ok ? parseListing(await answer.json()) : "late";
  } catch {
    return abort.signal.aborted ? "late" : "refused";
  } finally {
    window.clearTimeout(timer);
  }
}

/**
 * Nodes that answered this page and do not any more. The mesh takes some seconds to be sure that a node is dead where no
 * stream tells it sooner; a process that has died refuses connections at once.
 */
export class Pulse {
  readonly #answered = new Set<string>();
  readonly #askAgain = new Map<string, number>();
  readonly #lost = new Set<string>();

  get lost(): ReadonlySet<string> {
    return new Set(this.#lost);
  }

  /** Whether it is worth asking now: one that did not answer is left alone for a while. */
  mayAsk(node: string, nowMs: number): boolean {
    return (this.#askAgain.get(node) ?? 0) <= nowMs;
  }

  heard(node: string, answer: Answer, nowMs: number): void {
    if (typeof answer === "object") {
      this.#answered.add(node);
      this.#lost.delete(node);
      return;
    }
    this.#askAgain.set(node, nowMs + SILENT_MS);
    // Whoever never answered may be out of reach of this page, and well.
    if (answer === "refused" && this.#answered.has(node)) this.#lost.add(node);
  }
}

/** The edges of the tree, from what this node knows of its own path, and what the others said of theirs. */
export function flowsOf(node: string, own: StreamInfo | undefined, others: Places): MapFlow[] {
  const places = new Map(others);
  if (own) places.set(node, own);
  const feeds = new Map<string, string>();
  own?.path.forEach((name, n) => {
    const child = own.path[n + 1];
    if (child) feeds.set(child, name);
  });
  for (const [name, place] of places) for (const child of place.children) feeds.set(child, name);
  // Whom a node is fed by it knows best itself.
  for (const [name, place] of places) {
    if (place.parent) feeds.set(name, place.parent);
    else feeds.delete(name);
  }
  // Who is idle and has a parent all the same is told no more than how far the stream is, so that it can stand by for others.
  const flows = [...feeds].map(([to, from]) => ({ from, to, backup: places.get(to)?.state === "idle" }));
  for (const [to, { backup }] of places) if (backup) flows.push({ from: backup, to, backup: true });
  return flows;
}
