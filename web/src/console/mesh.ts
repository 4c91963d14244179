/** What the map shows of what a node knows: roles, deaths, and how good links are. */

import type { PopEntry, StreamInfo } from "../api";
import { bitrate, millis, percent } from "../format";
import type { MapDirection, MapFlow, MapLink, MapNode, Role } from "../map/model";
import type { Mesh, MeshLink, MeshNode, Neighbour } from "./tables";
import type { Places } from "./tree";

/** A link whose loss is above this is drawn as a bad one. */
const LOSS_BAD = 0.01;
/** A link that loses so many packets is hardly usable. */
const LOSS_WORST = 0.08;
/** A link that is there no more is shown as cut for so long, unless one of its ends is dead. */
export const CUT_SHOWN_MS = 8000;

/** What is known of the two directions of a link. */
export interface Pair {
  readonly a: string;
  readonly b: string;
  readonly there: MeshLink | undefined;
  readonly back: MeshLink | undefined;
  /** Since when it is there no more. */
  readonly goneMs: number | undefined;
}

/** Links of the mesh, and those that were there before, for as long as they are worth a look. */
export function pairs(mesh: Mesh, neighbours: readonly Neighbour[], before: readonly Pair[], nowMs: number): Pair[] {
  const found = new Map<string, Pair>();
  for (const link of mesh.links) {
    const [a, b] = link.from < link.to ? [link.from, link.to] : [link.to, link.from];
    const pair = found.get(`${a} ${b}`) ?? { a, b, there: undefined, back: undefined, goneMs: undefined };
    found.set(`${a} ${b}`, link.from === a ? { ...pair, there: link } : { ...pair, back: link });
  }
  const nodes = new Map(mesh.nodes.map((node) => [node.name, node]));
  // A neighbour that is not reached is still one.
  for (const { name } of neighbours.filter((one) => !one.up)) {
    const [a, b] = name < mesh.node ? [name, mesh.node] : [mesh.node, name];
    const gone = { a, b, there: undefined, back: undefined, goneMs: nowMs };
    if (nodes.has(name) && !found.has(`${a} ${b}`)) found.set(`${a} ${b}`, gone);
  }
  for (const pair of before) {
    const ends = [nodes.get(pair.a), nodes.get(pair.b)];
    if (found.has(`${pair.a} ${pair.b}`) || ends.some((end) => !end)) continue;
    const goneMs = pair.goneMs ?? nowMs;
    const dead = ends.some((end) => end && !isAlive(end, mesh));
    if (dead || nowMs - goneMs < CUT_SHOWN_MS) found.set(`${pair.a} ${pair.b}`, { ...pair, goneMs });
  }
  return [...found.values()];
}

export function isAlive(node: MeshNode, mesh: Mesh): boolean {
  return node.reachable || node.name === mesh.node;
}

export function mapNodes(
  mesh: Mesh,
  stream: StreamInfo | undefined,
  flows: readonly MapFlow[],
  places: Places,
  pops: readonly PopEntry[],
  lost: ReadonlySet<string>,
): MapNode[] {
  const feeding = new Set(flows.filter((flow) => !flow.backup).map((flow) => flow.from));
  const fed = new Set(flows.filter((flow) => !flow.backup).map((flow) => flow.to));
  return mesh.nodes.map((node) => {
    const origin = stream?.origins.includes(node.name) ?? false;
    const place = node.name === mesh.node ? stream : places.get(node.name);
    // One that feeds others is alive, whatever became of its HTTP server.
    const gone = lost.has(node.name) && !feeding.has(node.name) && node.name !== mesh.node;
    return {
      name: node.name,
      role: origin ? "origin" : roleOf(node, stream !== undefined),
      condition: isAlive(node, mesh) && !gone ? "running" : "dead",
      carries: origin || fed.has(node.name),
      waiting: place?.waiting === true,
      viewers: pops.find((pop) => pop.name === node.name)?.viewers ?? 0,
      here: node.name === mesh.node,
    };
  });
}

/** The one role that is drawn; a node that publishes other streams is no origin of the one that is shown. */
function roleOf({ roles }: MeshNode, streamShown: boolean): Role {
  const order: readonly Role[] = streamShown ? ["pop", "relay", "origin", "leaf"] : ["origin", "pop", "relay", "leaf"];
  return order.find((role) => roles.includes(role)) ?? "leaf";
}

export function mapLinks(links: readonly Pair[], mesh: Mesh, neighbours: readonly Neighbour[]): MapLink[] {
  const adopted = new Set(neighbours.filter((one) => one.kind === "adopted").map((one) => one.name));
  return links.map((pair) => ({
    a: pair.a,
    b: pair.b,
    planned: !(pair.a === mesh.node && adopted.has(pair.b)) && !(pair.b === mesh.node && adopted.has(pair.a)),
    there: direction(pair, pair.there),
    back: direction(pair, pair.back),
    label: linkLabel(pair),
  }));
}

function direction(pair: Pair, link: MeshLink | undefined): MapDirection {
  const loss = link?.loss ?? 0;
  return { cut: pair.goneMs !== undefined, severity: loss > LOSS_BAD ? Math.min(1, loss / LOSS_WORST) : 0 };
}

/** Round trip, what crosses it, and loss where there is some. */
export function linkLabel({ there, back, goneMs }: Pair): string {
  if (goneMs !== undefined) return "";
  const rtt = Math.max(there?.rttUs ?? 0, back?.rttUs ?? 0);
  const load = Math.max(there?.bps ?? 0, back?.bps ?? 0);
  const loss = Math.max(there?.loss ?? 0, back?.loss ?? 0);
  return [
    ...(rtt > 0 ? [millis(rtt / 1000)] : []),
    // Probes alone are no load.
    ...(load >= 20_000 ? [bitrate(load)] : []),
    ...(loss > LOSS_BAD ? [`${percent(loss)} lost`] : []),
  ].join(" · ");
}
