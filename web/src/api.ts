/** What a node tells of its streams and of PoPs, checked where it enters, and the addresses of what it serves. */

import { count, type Fields, fields, list, number, oneOf, text, texts, webAddress } from "./fields";

export interface TrackInfo {
  readonly id: number;
  readonly kind: string;
  readonly codec: string;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly sampleRate?: number | undefined;
  readonly channels?: number | undefined;
}

export interface StreamInfo {
  readonly name: string;
  /** `published`: by this very node; `watched`: viewers here; `passed`: carried for other nodes; `idle`: known, not carried. */
  readonly state: "published" | "watched" | "passed" | "idle";
  /** It is wanted here, and nobody can give it. */
  readonly waiting: boolean;
  /** Viewers of this node. */
  readonly viewers: number;
  readonly bitrateBps: number | undefined;
  /** What a new viewer waits for at most. */
  readonly groupMs: number | undefined;
  /** From the origin to here, by the clocks of both: below zero where they differ. */
  readonly latencyMs: number | undefined;
  readonly newestAgeMs: number | undefined;
  readonly origins: readonly string[];
  readonly parent: string | undefined;
  readonly backup: string | undefined;
  readonly children: readonly string[];
  /** Names of the nodes from the origin to this one; empty when the node does not carry the stream. */
  readonly path: readonly string[];
  readonly tracks: readonly TrackInfo[];
}

export interface Listing {
  readonly node: string;
  readonly streams: readonly StreamInfo[];
}

/** Reads an answer to `GET /api/v1/streams`. Unknown fields are ignored and entries without a name left out. */
export function parseListing(value: unknown): Listing {
  const root = fields(value);
  if (!root || !Array.isArray(root.streams)) throw new TypeError("the node's answer has no list of streams");
  return { node: text(root.node) ?? "", streams: list(root.streams, parseStream) };
}

/** A PoP as a node tells of it. */
export interface PopEntry {
  readonly name: string;
  readonly http: string;
  /** From the stream's nearest origin to the PoP; undefined where no way is known, or no stream was asked for. */
  readonly metricMs: number | undefined;
  /** Only the node that is asked tells how many it has. */
  readonly viewers: number | undefined;
  readonly viewersMax: number | undefined;
  /** Share of what it can give, 0 to 1. */
  readonly load: number;
  readonly reachable: boolean;
}

export interface PopListing {
  readonly node: string;
  readonly pops: readonly PopEntry[];
}

/** Reads an answer to `GET /api/v1/pops`. */
export function parsePops(value: unknown): PopListing {
  const root = fields(value);
  if (!root || !Array.isArray(root.pops)) throw new TypeError("the node's answer has no list of PoPs");
  return { node: text(root.node) ?? "", pops: list(root.pops, parsePop) };
}

function parsePop(entry: Fields): PopEntry | undefined {
  const [name, http, metricUs] = [text(entry.name), webAddress(entry.http), count(entry.stream_metric_us)];
  if (!name || !http) return undefined;
  return {
    name,
    http,
    metricMs: metricUs === undefined ? undefined : metricUs / 1000,
    viewers: count(entry.viewers),
    viewersMax: count(entry.viewers_max),
    load: Math.min(1, count(entry.load) ?? 0),
    reachable: entry.reachable === true,
  };
}

/** How a node is reached over WebTransport, at the host where it is reached over HTTP. */
export interface Offer {
  /** Of UDP. */
  readonly port: number;
  /** SHA-256 of the certificates that it may show. */
  readonly certificates: readonly Uint8Array<ArrayBuffer>[];
}

/** Reads an answer to `GET /api/v1/ping`. */
export function parseOffer(value: unknown): Offer | undefined {
  const entry = fields(fields(value)?.webtransport);
  const port = count(entry?.port);
  const hashes = texts(entry?.certificates).filter((hash) => /^[0-9a-f]{64}$/.test(hash));
  if (!port || port > 65_535 || hashes.length === 0) return undefined;
  const bytes = (hash: string): number[] => (hash.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));
  return { port, certificates: hashes.map((hash) => Uint8Array.from(bytes(hash))) };
}

function parseStream(entry: Fields): StreamInfo | undefined {
  const name = text(entry.name);
  if (!name) return undefined;
  return {
    name,
    state: oneOf(entry.state, ["idle", "published", "watched", "passed"]),
    waiting: entry.waiting === true,
    viewers: count(entry.viewers) ?? 0,
    bitrateBps: count(entry.bitrate_bps),
    groupMs: count(entry.group_ms),
    latencyMs: number(entry.latency_ms),
    newestAgeMs: count(entry.newest_age_ms),
    origins: texts(entry.origins),
    parent: text(entry.parent),
    backup: text(entry.backup),
    children: texts(entry.children),
    path: texts(entry.path),
    tracks: list(entry.tracks, parseTrack),
  };
}

function parseTrack(entry: Fields): TrackInfo | undefined {
  const codec = text(entry.codec);
  if (!codec) return undefined;
  return {
    id: count(entry.id) ?? 0,
    kind: text(entry.kind) ?? "data",
    codec,
    width: count(entry.width),
    height: count(entry.height),
    sampleRate: count(entry.sample_rate),
    channels: count(entry.channels),
  };
}

/** The address of something this node serves, below the page's own address. */
export function nodeUrl(path: string): URL {
  return new URL(path, document.baseURI);
}

/** Where VLC, ffplay or mpv play a stream. */
export function tsUrl(name: string): string {
  return nodeUrl(`live/${encodeURIComponent(name)}.ts`).href;
}

/** A node that does not answer within this time is not asked any longer. */
const TIMEOUT_MS = 4000;

/** The PoPs as the node at `base` knows them, for a stream. */
export async function fetchPops(base: string, stream: string): Promise<PopListing> {
  const url = new URL("api/v1/pops", base);
  url.searchParams.set("stream", stream);
  return parsePops(await fetchJson(url));
}

/** Names of the nodes from the origin to the node at `base`. */
export async function fetchPath(base: string, stream: string): Promise<string[]> {
  const answer = fields(await fetchJson(new URL(`api/v1/trace/${encodeURIComponent(stream)}`, base)));
  return list(answer?.hops, (hop) => text(hop.node));
}

async function fetchJson(url: URL): Promise<unknown> {
  const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}
