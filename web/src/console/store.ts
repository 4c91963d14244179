/** All that the page knows, and what follows from it. */

import { batch, computed, effect, signal } from "@preact/signals";
import { type Listing, nodeUrl, type PopEntry, parsePops, type StreamInfo } from "../api";
import type { Target } from "../map/model";
import { type Follower, follow } from "./events";
import { type History, joined, parseHistory, SAMPLES_MAX } from "./history";
import { mapLinks, mapNodes, type Pair, pairs } from "./mesh";
import { authorization, token } from "./operator";
import type { Entry, Mesh, Neighbour } from "./tables";
import { askNode, flowsOf, type Places, walk } from "./tree";

const ENTRIES_MAX = 500;
const TREE_MS = 1000;
const POPS_MS = 2000;
const HISTORY_MS = 1000;
/** Samples that are asked for again and again; a page that was away for longer asks for all of them. */
const HISTORY_AGAIN = 10;
/** A node that did not answer is not asked again before. */
const SILENT_MS = 5000;

export const listing = signal<Listing | undefined>(undefined);
export const mesh = signal<Mesh | undefined>(undefined);
export const neighbours = signal<readonly Neighbour[]>([]);
export const pops = signal<readonly PopEntry[]>([]);
export const entries = signal<readonly Entry[]>([]);
export const figures = signal<History | undefined>(undefined);
/** `streams`: the rest is for operators only. */
export const connection = signal<"connecting" | "open" | "streams" | { readonly reason: string }>("connecting");
export const selected = signal<Target | undefined>(undefined);
const chosen = signal<string | undefined>(undefined);
const links = signal<readonly Pair[]>([]);
const places = signal<Places>(new Map());

export const streams = computed<readonly StreamInfo[]>(() =>
  [...(listing.value?.streams ?? [])].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })),
);

/** The stream whose tree and figures are shown: the chosen one, or the first that flows here. */
export const shown = computed<StreamInfo | undefined>(
  () =>
    streams.value.find((stream) => stream.name === chosen.value) ??
    streams.value.find((stream) => stream.state !== "idle") ??
    streams.value[0],
);

const shownName = computed(() => shown.value?.name);

export function choose(name: string): void {
  chosen.value = name;
}

export const flows = computed(() => flowsOf(mesh.value?.node ?? "", shown.value, places.value));

export const nodesOnMap = computed(() =>
  mesh.value ? mapNodes(mesh.value, shown.value, flows.value, places.value, pops.value) : [],
);

export const linksOnMap = computed(() => (mesh.value ? mapLinks(links.value, mesh.value, neighbours.value) : []));

export function pairOf(target: Target | undefined): Pair | undefined {
  if (!target || "node" in target) return undefined;
  const [a, b] = target.link;
  return links.value.find((pair) => pair.a === a && pair.b === b);
}

/** Nodes at which the shown stream is watched, with their viewers. */
export const watchers = computed<readonly (readonly [string, number])[]>(() => {
  const own = shown.value && mesh.value ? ([[mesh.value.node, shown.value]] as const) : [];
  return [...new Map([...places.value, ...own])]
    .flatMap(([node, place]) => (place.viewers > 0 ? [[node, place.viewers] as const] : []))
    .sort(([, a], [, b]) => b - a);
});

const follower: Follower = {
  streams: (now) => {
    listing.value = now;
  },
  mesh: (now) => batch(() => {
    mesh.value = now;
    links.value = pairs(now, neighbours.value, links.value, Date.now());
  }),
  neighbours: (now) => {
    neighbours.value = now;
  },
  entry: (entry) => {
    entries.value = [...entries.value, entry].slice(-ENTRIES_MAX);
  },
  open: (all) => {
    connection.value = all ? "open" : "streams";
    if (!all) mesh.value = undefined;
  },
  broken: (reason) => {
    connection.value = { reason };
  },
};

export function start(): void {
  const again = follow(follower);
  document.addEventListener("visibilitychange", again);
  window.addEventListener("online", again);
  effect(() => {
    // A token opens what was shown to operators only.
    if (token.value) again();
  });
  const tree = repeat(TREE_MS, askTree);
  const popList = repeat(POPS_MS, askPops);
  repeat(HISTORY_MS, askHistory);
  // Another stream, or another parent of this node: the rest of the tree may be another one too.
  effect(() => {
    if (shown.value) tree();
  });
  effect(() => {
    if (shownName.value) popList();
  });
}

/** Does something again and again while somebody looks and the node answers, and at once when told to. */
function repeat(everyMs: number, work: () => Promise<void>): () => void {
  let [busy, again] = [false, false];
  const run = async (): Promise<void> => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    // What went wrong shows in the connection; the next turn is soon.
    if (!document.hidden && connection.peek() === "open") await work().catch(() => undefined);
    busy = false;
    if (again) {
      again = false;
      void run();
    }
  };
  window.setInterval(() => void run(), everyMs);
  return () => void run();
}

const silent = new Map<string, number>();

async function askTree(): Promise<void> {
  const [known, stream] = [mesh.peek(), shown.peek()];
  if (!known || !stream) return;
  const nodes = new Map(known.nodes.map((node) => [node.name, node]));
  const found = await walk(stream.name, stream.origins, async (name) => {
    // This node told already.
    if (name === known.node) return listing.peek();
    const node = nodes.get(name);
    if (!node?.http || !node.reachable || (silent.get(name) ?? 0) > Date.now()) return undefined;
    const answer = await askNode(node.http);
    if (!answer) silent.set(name, Date.now() + SILENT_MS);
    return answer;
  });
  if (shownName.peek() === stream.name) places.value = found;
}

async function askPops(): Promise<void> {
  const name = shownName.peek();
  const query = name === undefined ? "" : `?stream=${encodeURIComponent(name)}`;
  pops.value = parsePops(await ask(`api/v1/pops${query}`)).pops;
}

async function askHistory(): Promise<void> {
  const before = figures.peek();
  const last = before ? HISTORY_AGAIN : SAMPLES_MAX;
  const recent = parseHistory(await ask(`api/v1/history?last=${last}`));
  figures.value = before ? joined(before, recent) : recent;
}

async function ask(path: string): Promise<unknown> {
  const answer = await fetch(nodeUrl(path), { headers: authorization(), cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}
