/** How many viewers PoPs and streams have: each node knows its own only, so the page asks them. */

import { type PopEntry, parsePops } from "../api";
import type { Listings } from "./tree";

const TIMEOUT_MS = 1500;
/** More PoPs are not asked. */
const POPS_MAX = 64;

/** What PoPs said of themselves, by their names. */
export type Audiences = ReadonlyMap<string, Pick<PopEntry, "viewers" | "viewersMax">>;

/** Nodes at which a stream is watched, with their viewers; most first. */
export type Watchers = readonly (readonly [node: string, viewers: number])[];

/** Who watches what, by stream. */
export function watchersOf(listings: Listings): ReadonlyMap<string, Watchers> {
  const found = new Map<string, [string, number][]>();
  for (const [node, { streams }] of listings) {
    for (const { name, viewers } of streams) if (viewers > 0) found.set(name, [...(found.get(name) ?? []), [node, viewers]]);
  }
  for (const watchers of found.values()) watchers.sort(([, a], [, b]) => b - a);
  return found;
}

/** The list of one node, with the viewers of the others. */
export function counted(pops: readonly PopEntry[], known: Audiences): PopEntry[] {
  return pops.map((pop) => (pop.viewers === undefined ? { ...pop, ...known.get(pop.name) } : pop));
}

/** Asks those whose viewers the list lacks; whoever does not tell, or not in time, is left out. */
export async function askAudiences(pops: readonly PopEntry[]): Promise<Audiences> {
  const asked = pops.filter((pop) => pop.viewers === undefined && pop.reachable).slice(0, POPS_MAX);
  const told = await Promise.all(asked.map((pop) => askPop(pop).catch(() => undefined)));
  return new Map(told.flatMap((pop) => (pop ? [[pop.name, { viewers: pop.viewers, viewersMax: pop.viewersMax }] as const] : [])));
}

async function askPop({ name, http }: PopEntry): Promise<PopEntry | undefined> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const answer = await fetch(new URL("api/v1/pops", http), { cache: "no-store", signal });
  return answer.ok ? parsePops(await answer.json()).pops.find((pop) => pop.name === name) : undefined;
}
