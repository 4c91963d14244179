/** What links between other nodes lose and carry: only their ends know, so the page asks these. */

import { type MeshLink, type Neighbour, parseNeighbours } from "./tables";

const TIMEOUT_MS = 1500;

/** Loss and load of one direction of a link. */
export interface Carriage {
  readonly loss: number | undefined;
  readonly bps: number | undefined;
}

/** By both ends of the direction, the sending one first. */
export type Measured = ReadonlyMap<string, Carriage>;

const key = (from: string, to: string): string => `${from} ${to}`;

/** What nodes said of their links, by the names of these nodes. What a node sends it knows better than who receives it. */
export function measured(said: ReadonlyMap<string, readonly Neighbour[]>): Measured {
  const found = new Map<string, Carriage>();
  const up = [...said].flatMap(([node, known]) => known.filter((one) => one.up).map((one) => [node, one] as const));
  for (const [node, { name, receivedBps }] of up) found.set(key(name, node), { loss: undefined, bps: receivedBps });
  for (const [node, { name, loss, sentBps }] of up) found.set(key(node, name), { loss, bps: sentBps });
  return found;
}

/** Links with what their ends say, where the node that lists them does not know it itself. */
export function filled(links: readonly MeshLink[], known: Measured): MeshLink[] {
  return links.map((link) => {
    const told = known.get(key(link.from, link.to));
    return told ? { ...link, loss: link.loss ?? told.loss, bps: link.bps ?? told.bps } : link;
  });
}

/** Asks a node for its neighbours; undefined: it does not tell, or not in time. */
export async function askNeighbours(http: string): Promise<Neighbour[] | undefined> {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(new URL("api/v1/neighbours", http), { cache: "no-store", signal });
    return answer.ok ? parseNeighbours(await answer.json()) : undefined;
  } catch {
    return undefined;
  }
}
