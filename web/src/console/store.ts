/** All that the page knows, and what follows from it. */

import { batch, computed, effect, signal } from "@preact/signals";
import { type Listing, nodeUrl, type PopEntry, parsePops, type StreamInfo } from "../api";
import type { Target } from "../map/model";
import { type Audiences, askAudiences, counted, type Watchers, watchersOf } from "./audience";
import { ANSWER_MS, type Follower, follow, type Sight } from "./events";
import { type History, joined, parseHistory, SAMPLES_MAX } from "./history";
import { askNeighbours, filled, type Measured, measured } from "./measured";
import { mapLinks, mapNodes, type Pair, pairs } from "./mesh";
import { authorization, token } from "./operator";
import type { Entry, Mesh, Neighbour } from "./tables";
import { type Ask, askNode, flowsOf, type Listings, type Places, Pulse, walk, walkAll } from "./tree";

const ENTRIES_MAX = 500;
/** A page that nobody sees for longer stops following. */
const HIDDEN_MS = 30_000;
/** A tree is asked for as often, and less often where many nodes are in it. */
const TREE_MS = 500;
const TREE_NODE_MS = 20;
/** Nodes of the trees that are not shown are asked for their viewers as often, and so many at most. */
const WATCHERS_MS = 2000;
const WATCHERS_NODES_MAX = 64;
const POPS_MS = 2000;
/** What links carry is asked for as often, of so many nodes at most. */
const LINKS_MS = 2000;
const LINKS_NODES_MAX = 64;
const HISTORY_MS = 1000;
/** Samples that are asked for again and again; a page that was away for longer asks for all of them. */
const HISTORY_AGAIN = 10;

export const listing = signal<Listing | undefined>(undefined);
export const mesh = signal<Mesh | undefined>(undefined);
export const neighbours = signal<readonly Neighbour[]>([]);
export const pops = signal<readonly PopEntry[]>([]);
export const entries = signal<readonly Entry[]>([]);
export const figures = signal<History | undefined>(undefined);
export const connection = signal<"connecting" | Sight | { readonly reason: string }>("connecting");
/** Why the node cannot show its mesh now, in its own words: too many follow it, or it stops. */
export const busy = signal<string | undefined>(undefined);
export const selected = signal<Target | undefined>(undefined);
const chosen = signal<string | undefined>(undefined);
const links = signal<readonly Pair[]>([]);
const places = signal<Places>(new Map());
/** What nodes in the shown tree, and in others, said last of their streams. */
const inTree = signal<Listings>(new Map());
const inTrees = signal<Listings>(new Map());
/** What other nodes say of their links. */
const told = signal<Measured>(new Map());
/** Nodes that answered this page, and refuse it now. */
const lost = signal<ReadonlySet<string>>(new Set());

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
  mesh.value ? mapNodes(mesh.value, shown.value, flows.value, places.value, pops.value, lost.value) : [],
);

export const linksOnMap = computed(() => (mesh.value ? mapLinks(links.value, mesh.value, neighbours.value) : []));

export function pairOf(target: Target | undefined): Pair | undefined {
  if (!target || "node" in target) return undefined;
  const [a, b] = target.link;
  return links.value.find((pair) => pair.a === a && pair.b === b);
}

/** Who watches what at other nodes, by stream. */
export const watchers = computed<ReadonlyMap<string, Watchers>>(() => {
  const here = mesh.value?.node;
  return watchersOf(new Map([...inTrees.value, ...inTree.value].filter(([node]) => here !== undefined && node !== here)));
});

const follower: Follower = {
  streams: (now) => {
    listing.value = now;
  },
  mesh: (now) => batch(() => {
    mesh.value = now;
    drawLinks();
  }),
  neighbours: (now) => {
    neighbours.value = now;
  },
  entry: (entry) => {
    entries.value = [...entries.value, entry].slice(-ENTRIES_MAX);
  },
  open: (sight, why) => {
    connection.value = sight;
    busy.value = why;
    if (sight !== "all") mesh.value = undefined;
  },
  broken: (reason) => {
    connection.value = { reason };
  },
};

function drawLinks(): void {
  const known = mesh.peek();
  if (!known) return;
  const whole = { ...known, links: filled(known.links, told.peek()) };
  links.value = pairs(whole, neighbours.peek(), links.peek(), Date.now());
}

export function start(): void {
  const { again, rest, restart } = follow(follower);
  let hidden: number | undefined;
  document.addEventListener("visibilitychange", () => {
    window.clearTimeout(hidden);
    if (document.hidden) hidden = window.setTimeout(rest, HIDDEN_MS);
    else again();
  });
  window.addEventListener("online", again);
  // What is shown to operators only opens with the token, and closes without it.
  let known = token.peek();
  token.subscribe((now) => {
    if (now !== known) restart();
    known = now;
  });
  const tree = repeat(TREE_MS, askTree);
  repeat(WATCHERS_MS, askTrees);
  const popList = repeat(POPS_MS, askPops);
  const carriage = repeat(LINKS_MS, askLinks);
  repeat(HISTORY_MS, askHistory);
  // Another stream, or another parent of this node: the rest of the tree may be another one too.
  effect(() => {
    if (shown.value) tree();
  });
  effect(() => {
    if (shownName.value) popList();
  });
  effect(() => {
    if (selected.value) carriage();
  });
}

/**
 * Does something again and again while somebody looks and the node answers, and at once when told to. `work` may say how
 * long to wait until the next time.
 */
function repeat(everyMs: number, work: () => Promise<number | void>): () => void {
  let timer: number | undefined;
  let [busy, again] = [false, false];
  const run = async (): Promise<void> => {
    window.clearTimeout(timer);
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    again = false;
    // What went wrong shows in the connection; the next turn is soon.
    const wanted = !document.hidden && connection.peek() === "all" ? await work().catch(() => undefined) : undefined;
    busy = false;
    timer = window.setTimeout(() => void run(), again ? 0 : (wanted ?? everyMs));
  };
  void run();
  return () => void run();
}

const pulse = new Pulse();

async function askTree(): Promise<number | undefined> {
  const [known, stream] = [mesh.peek(), shown.peek()];
  if (!known) return undefined;
  const ask = asker(known);
  // Neighbours are asked whether they are in the tree or not: who lives next door matters.
  const near = neighbours.peek().map(({ name }) => name);
  const said = new Map<string, Listing>();
  const found = await walk(stream?.name ?? "", [...(stream?.origins ?? []), ...near], async (name) => {
    const answer = await ask(name);
    if (answer) said.set(name, answer);
    return answer;
  });
  batch(() => {
    inTree.value = said;
    if (shownName.peek() === stream?.name) places.value = found;
    // Where this node does not answer either, it is the page that is cut off.
    if (connection.peek() === "all") lost.value = pulse.lost;
  });
  return Math.max(TREE_MS, said.size * TREE_NODE_MS);
}

/** Asks nodes of the other trees for their viewers. */
async function askTrees(): Promise<void> {
  const known = mesh.peek();
  if (!known) return;
  const ask = asker(known, WATCHERS_NODES_MAX);
  const starts = streams.peek().flatMap(({ origins, children }) => [...origins, ...children]);
  // Those in the shown one told a moment ago.
  inTrees.value = await walkAll([...inTree.peek().keys(), ...starts], async (name) => inTree.peek().get(name) ?? ask(name));
}

/** Asks nodes for their streams, so many at most. */
function asker(known: Mesh, nodesMax = Number.POSITIVE_INFINITY): Ask {
  const nodes = new Map(known.nodes.map((node) => [node.name, node]));
  let left = nodesMax;
  return async (name) => {
    // This node told already.
    if (name === known.node) return listing.peek();
    const node = nodes.get(name);
    if (left === 0 || !node?.http || !node.reachable || !pulse.mayAsk(name, Date.now())) return undefined;
    left -= 1;
    const answer = await askNode(node.http);
    pulse.heard(name, answer, Date.now());
    return typeof answer === "object" ? answer : undefined;
  };
}

let audiences: Audiences = new Map();

async function askPops(): Promise<void> {
  const name = shownName.peek();
  const query = name === undefined ? "" : `?stream=${encodeURIComponent(name)}`;
  const listed = parsePops(await ask(`api/v1/pops${query}`)).pops;
  // The list does not wait for the slowest of those in it.
  pops.value = counted(listed, audiences);
  audiences = await askAudiences(listed);
  pops.value = counted(listed, audiences);
}

/** Asks the nodes of the shown tree what their links carry, and the ends of the chosen link, whether it is in the tree or not. */
async function askLinks(): Promise<void> {
  const known = mesh.peek();
  if (!known) return;
  const target = selected.peek();
  const names = new Set([...(target && "link" in target ? target.link : []), ...places.peek().keys()]);
  const asked = known.nodes.filter(({ name, http, reachable }) => http && reachable && names.has(name) && name !== known.node);
  const said = await Promise.all(
    asked.slice(0, LINKS_NODES_MAX).map(async ({ name, http }) => [name, (http && (await askNeighbours(http))) || []] as const),
  );
  batch(() => {
    told.value = measured(new Map(said));
    drawLinks();
  });
}

async function askHistory(): Promise<void> {
  const before = figures.peek();
  const last = before ? HISTORY_AGAIN : SAMPLES_MAX;
  const recent = parseHistory(await ask(`api/v1/history?last=${last}`));
  figures.value = before ? joined(before, recent) : recent;
}

async function ask(path: string): Promise<unknown> {
  const signal = AbortSignal.timeout(ANSWER_MS);
  const answer = await fetch(nodeUrl(path), { headers: authorization(), cache: "no-store", signal });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}
