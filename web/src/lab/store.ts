/** All that the page knows, and what follows from it for the map. */

import { computed, signal } from "@preact/signals";
import type { MapFlow, MapLink, MapNode, Target } from "../map/model";
import { act, type Entry, follow, type LabLink, type LabState, type LabStream } from "./api";
import { linkLabel, severity } from "./notation";

/** The lab keeps as many. */
const ENTRIES_MAX = 500;

export const state = signal<LabState | undefined>(undefined);
export const entries = signal<readonly Entry[]>([]);
export const connection = signal<"connecting" | "open" | { readonly retryMs: number }>("connecting");
export const selected = signal<Target | undefined>(undefined);
/** Lines that were sent and not answered yet. */
export const pending = signal<readonly string[]>([]);
export const problem = signal<string | undefined>(undefined);
const chosen = signal<string | undefined>(undefined);

export const stream = computed<LabStream | undefined>(() => {
  const streams = state.value?.streams ?? [];
  return streams.find((known) => known.name === chosen.value) ?? streams[0];
});

export function chooseStream(name: string): void {
  chosen.value = name;
}

export const mapNodes = computed<readonly MapNode[]>(() => {
  const [known, shown] = [state.value, stream.value];
  if (!known) return [];
  return known.nodes.map((node) => {
    const place = shown?.nodes.find((one) => one.node === node.name);
    const has = place?.parent !== undefined || shown?.origins.includes(node.name) === true;
    return {
      name: node.name,
      role: node.leaf ? "leaf" : node.publishes.length > 0 ? "origin" : node.pop ? "pop" : "relay",
      condition: node.state,
      carries: has && place?.headers !== true,
      waiting: place !== undefined && !has,
      viewers: node.leaf ? 0 : known.viewers.filter((viewer) => viewer.node === node.name).length,
    };
  });
});

export const mapLinks = computed<readonly MapLink[]>(() =>
  (state.value?.links ?? []).map((link) => ({
    a: link.a,
    b: link.b,
    planned: link.planned,
    there: { cut: link.there.cut, severity: severity(link.there, link.usual) },
    back: { cut: link.back.cut, severity: severity(link.back, link.usual) },
    label: linkLabel(link),
  })),
);

export const mapFlows = computed<readonly MapFlow[]>(() =>
  (stream.value?.nodes ?? []).flatMap((place) => [
    ...(place.parent ? [{ from: place.parent, to: place.node, backup: place.headers }] : []),
    ...(place.backup ? [{ from: place.backup, to: place.node, backup: true }] : []),
  ]),
);

export function linkOf(target: Target | undefined): LabLink | undefined {
  if (!target || "node" in target) return undefined;
  const [a, b] = target.link;
  return state.value?.links.find((link) => (link.a === a && link.b === b) || (link.a === b && link.b === a));
}

/** Has a line done, and shows what is wrong with it. */
export async function perform(line: string): Promise<boolean> {
  pending.value = [...pending.value, line];
  try {
    await act(line);
    problem.value = undefined;
    return true;
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
    return false;
  } finally {
    const at = pending.value.indexOf(line);
    pending.value = pending.value.filter((_, n) => n !== at);
  }
}

export function start(): void {
  follow({
    state: (now) => {
      state.value = now;
    },
    entry: (entry) => {
      entries.value = [...entries.value, entry].slice(-ENTRIES_MAX);
    },
    open: () => {
      connection.value = "open";
    },
    broken: (retryMs) => {
      connection.value = { retryMs };
    },
  });
}
