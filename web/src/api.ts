/** The node's answer about its streams, checked where it enters, and the loop that asks for it. */

import { Backoff } from "./backoff";

const states = ["published", "watched", "passed", "idle"] as const;

export interface TrackInfo {
  readonly id: number;
  readonly kind: string;
  readonly codec: string;
  readonly width?: number;
  readonly height?: number;
  readonly sampleRate?: number;
  readonly channels?: number;
}

export interface StreamInfo {
  readonly name: string;
  /** `published`: by this very node; `watched`: viewers here; `passed`: carried for other nodes; `idle`: known, not carried. */
  readonly state: "published" | "watched" | "passed" | "idle";
  readonly viewers: number;
  readonly bitrateBps?: number;
  readonly origins: readonly string[];
  /** Names of the nodes from the origin to this one; empty when the node does not carry the stream. */
  readonly path: readonly string[];
  readonly tracks: readonly TrackInfo[];
  readonly newestAgeMs?: number;
}

export interface Listing {
  readonly node: string;
  readonly streams: readonly StreamInfo[];
}

/** No page can show more than this with sense. */
const STREAMS_MAX = 2000;

/** Reads an answer to `GET /api/v1/streams`. Unknown fields are ignored and entries without a name left out. */
export function parseListing(value: unknown): Listing {
  const root = record(value);
  if (!root || !Array.isArray(root.streams)) throw new TypeError("the node's answer has no list of streams");
  return {
    node: text(root.node) ?? "",
    streams: root.streams.slice(0, STREAMS_MAX).flatMap((entry: unknown) => parseStream(entry) ?? []),
  };
}

/** A PoP as a node tells of it. */
export interface PopEntry {
  readonly name: string;
  readonly http: string;
  /** From the stream's nearest origin to the PoP; undefined where no way is known. */
  readonly metricMs?: number;
  /** Share of what it can give, 0 to 1. */
  readonly load: number;
  readonly reachable: boolean;
}

export interface PopListing {
  readonly node: string;
  readonly pops: readonly PopEntry[];
}

/** No viewer needs to choose among more. */
const POPS_MAX = 500;

/** Reads an answer to `GET /api/v1/pops`. */
export function parsePops(value: unknown): PopListing {
  const root = record(value);
  if (!root || !Array.isArray(root.pops)) throw new TypeError("the node's answer has no list of PoPs");
  return {
    node: text(root.node) ?? "",
    pops: root.pops.slice(0, POPS_MAX).flatMap((entry: unknown) => parsePop(entry) ?? []),
  };
}

function parsePop(value: unknown): PopEntry | undefined {
  const entry = record(value);
  const name = text(entry?.name);
  const http = text(entry?.http);
  if (!entry || !name || !http || !/^https?:\/\//.test(http)) return undefined;
  const metricUs = count(entry.stream_metric_us);
  return {
    name,
    http: http.endsWith("/") ? http : `${http}/`,
    load: Math.min(1, count(entry.load) ?? 0),
    reachable: entry.reachable === true,
    ...(metricUs === undefined ? {} : { metricMs: metricUs / 1000 }),
  };
}

function parseStream(value: unknown): StreamInfo | undefined {
  const entry = record(value);
  const name = text(entry?.name);
  if (!entry || !name) return undefined;
  const bitrateBps = count(entry.bitrate_bps);
  const newestAgeMs = count(entry.newest_age_ms);
  return {
    name,
    state: states.find((state) => state === entry.state) ?? "idle",
    viewers: count(entry.viewers) ?? 0,
    origins: texts(entry.origins),
    path: texts(entry.path),
    tracks: Array.isArray(entry.tracks) ? entry.tracks.flatMap((track: unknown) => parseTrack(track) ?? []) : [],
    ...(bitrateBps === undefined ? {} : { bitrateBps }),
    ...(newestAgeMs === undefined ? {} : { newestAgeMs }),
  };
}

function parseTrack(value: unknown): TrackInfo | undefined {
  const entry = record(value);
  const codec = text(entry?.codec);
  if (!entry || !codec) return undefined;
  const width = count(entry.width);
  const height = count(entry.height);
  const sampleRate = count(entry.sample_rate);
  const channels = count(entry.channels);
  return {
    id: count(entry.id) ?? 0,
    kind: text(entry.kind) ?? "data",
    codec,
    ...(width === undefined ? {} : { width }),
    ...(height === undefined ? {} : { height }),
    ...(sampleRate === undefined ? {} : { sampleRate }),
    ...(channels === undefined ? {} : { channels }),
  };
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((word): word is string => typeof word === "string") : [];
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** The address of something this node serves, below the page's own address. */
export function nodeUrl(path: string): URL {
  return new URL(path, document.baseURI);
}

/** Where VLC, ffplay or mpv play a stream. */
export function tsUrl(name: string): string {
  return nodeUrl(`live/${encodeURIComponent(name)}.ts`).href;
}

const POLL_MS = 1000;
const POLL_HIDDEN_MS = 10_000;
const TIMEOUT_MS = 4000;
const RETRY_MS_MAX = 5000;

export interface PollEvents {
  listing(listing: Listing): void;
  /** The node does not answer; asking goes on. */
  unreachable(reason: string): void;
}

/**
 * Asks each second for the streams, less often while nobody looks or nobody answers: the page's own node, and if that is
 * gone one of the `others`, by their base URLs. Never ends.
 */
export function pollListing(events: PollEvents, others: () => readonly string[]): void {
  const backoff = new Backoff(POLL_MS, RETRY_MS_MAX);
  let timer: number | undefined;
  let asking = false;

  const ask = async (): Promise<void> => {
    if (asking) return;
    asking = true;
    window.clearTimeout(timer);
    let wait: number;
    try {
      events.listing(await askAny([nodeUrl(".").href, ...others()]));
      backoff.reset();
      wait = document.hidden ? POLL_HIDDEN_MS : POLL_MS;
    } catch (error) {
      events.unreachable(reasonOf(error));
      wait = backoff.next();
    }
    asking = false;
    timer = window.setTimeout(() => void ask(), wait);
  };

  const askNow = (): void => {
    if (!document.hidden) void ask();
  };
  document.addEventListener("visibilitychange", askNow);
  window.addEventListener("online", askNow);
  void ask();
}

/** The PoPs as the node at `base` knows them, for a stream. */
export async function fetchPops(base: string, stream: string): Promise<PopListing> {
  const url = new URL("api/v1/pops", base);
  url.searchParams.set("stream", stream);
  return parsePops(await fetchJson(url));
}

/** Names of the nodes from the origin to the node at `base`. */
export async function fetchPath(base: string, stream: string): Promise<string[]> {
  const answer = record(await fetchJson(new URL(`api/v1/trace/${encodeURIComponent(stream)}`, base)));
  const hops: unknown[] = Array.isArray(answer?.hops) ? answer.hops : [];
  return hops.flatMap((hop) => text(record(hop)?.node) ?? []);
}

/** The first answer; the reason of the first one that gave none, if none did. */
async function askAny(bases: readonly string[]): Promise<Listing> {
  let reason: unknown;
  for (const base of new Set(bases)) {
    try {
      return parseListing(await fetchJson(new URL("api/v1/streams", base)));
    } catch (error) {
      reason ??= error;
    }
  }
  throw reason;
}

async function fetchJson(url: URL): Promise<unknown> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch(url, { cache: "no-store", signal: abort.signal });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return await answer.json();
  } finally {
    clearTimeout(timer);
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "no answer";
  if (error.name === "AbortError") return "no answer in time";
  // Browsers name a refused connection "TypeError: Failed to fetch", which helps nobody.
  return error.name === "TypeError" && /fetch|network|load/i.test(error.message) ? "no connection" : error.message;
}
