/** What a node tells of its mesh, checked where it enters: the map, neighbours, the log, and files to publish. */

import { count, fields, list, number, oneOf, text, texts, webAddress } from "../fields";
import { plural } from "../format";

export type NodeRole = "origin" | "relay" | "pop" | "leaf";

export interface MeshNode {
  readonly name: string;
  readonly id: string;
  readonly addresses: readonly string[];
  /** Base URL of its HTTP server, if it has one. */
  readonly http: string | undefined;
  /** Links lead from here to it. */
  readonly reachable: boolean;
  /** What it can be. */
  readonly roles: readonly NodeRole[];
}

/** One direction of a link. */
export interface MeshLink {
  readonly from: string;
  readonly to: string;
  readonly rttUs: number;
  readonly costUs: number;
  /** Loss and load are known of this node's own links only; of others their ends are asked (measured.ts). */
  readonly loss: number | undefined;
  readonly bps: number | undefined;
}

export interface Mesh {
  /** Who looks. */
  readonly node: string;
  readonly nodes: readonly MeshNode[];
  readonly links: readonly MeshLink[];
}

export interface Neighbour {
  readonly name: string;
  readonly up: boolean;
  /** Why there is no link, if there is none. */
  readonly failure: string | undefined;
  readonly rttUs: number | undefined;
  readonly jitterUs: number | undefined;
  readonly loss: number | undefined;
  readonly inUse: boolean;
  readonly kind: "listed" | "added" | "adopted" | "caller";
  readonly addresses: readonly string[];
  readonly sentBps: number | undefined;
  readonly receivedBps: number | undefined;
}

/** Something that happened. */
export interface Entry {
  readonly id: number;
  /** Unix time; undefined for what stands in place of entries that are no longer kept. */
  readonly atMs: number | undefined;
  readonly kind: string;
  readonly text: string;
}

/** A node counts its entries on from the microsecond of its start: a step as great as this leads into another life of it. */
const ANOTHER_LIFE = 1_000_000;

export interface MediaFile {
  readonly file: string;
  readonly bytes: number;
  /** The name that its stream gets unless another one is given. */
  readonly stream: string | undefined;
}

export interface Media {
  /** Undefined where the node publishes nothing on demand. */
  readonly folder: string | undefined;
  readonly uploadBytesMax: number;
  readonly files: readonly MediaFile[];
}

export function parseMesh(value: unknown): Mesh {
  const root = fields(value);
  if (!root || !Array.isArray(root.nodes)) throw new TypeError("the node's answer has no list of nodes");
  return {
    node: text(root.node) ?? "",
    nodes: list(root.nodes, (node) => {
      const name = text(node.name);
      if (!name) return undefined;
      return {
        name,
        id: text(node.id) ?? "",
        addresses: texts(node.addresses),
        http: webAddress(node.http),
        reachable: node.reachable === true,
        roles: texts(node.roles).map((role) => oneOf(role, ["relay", "origin", "pop", "leaf"])),
      };
    }),
    links: list(root.links, (link) => {
      const [from, to] = [text(link.from), text(link.to)];
      if (!from || !to) return undefined;
      return {
        from,
        to,
        rttUs: count(link.rtt_us) ?? 0,
        costUs: count(link.cost_us) ?? 0,
        loss: count(link.loss),
        bps: count(link.bps),
      };
    }),
  };
}

export function parseNeighbours(value: unknown): Neighbour[] {
  return list(fields(value)?.neighbours, (neighbour) => {
    const name = text(neighbour.name);
    if (!name) return undefined;
    return {
      name,
      up: neighbour.up === true,
      failure: text(neighbour.failure),
      rttUs: count(neighbour.rtt_us),
      jitterUs: count(neighbour.jitter_us),
      loss: count(neighbour.loss),
      inUse: neighbour.in_use === true,
      kind: oneOf(neighbour.kind, ["listed", "added", "adopted", "caller"]),
      addresses: texts(neighbour.addresses),
      sentBps: count(neighbour.sent_bps),
      receivedBps: count(neighbour.received_bps),
    };
  });
}

export function parseEntry(value: unknown): Entry | undefined {
  const entry = fields(value);
  const id = count(entry?.id);
  if (!entry || id === undefined) return undefined;
  return { id, atMs: number(entry.at_ms) ?? 0, kind: text(entry.kind) ?? "", text: text(entry.text) ?? "" };
}

/** What the node says of entries that it no longer keeps, as a line in their place: with the id of the last of them. */
export function parseMissed(value: unknown): Entry | undefined {
  const missed = fields(value);
  const [after, next] = [count(missed?.after), count(missed?.next)];
  if (after === undefined || next === undefined || next <= after + 1) return undefined;
  const lost = next - after - 1;
  const words = lost < ANOTHER_LIFE ? plural(lost, "event") : "Events";
  const line = `${words} in between ${lost === 1 ? "is" : "are"} no longer kept`;
  return { id: next - 1, atMs: undefined, kind: "missed", text: line };
}

export function parseMedia(value: unknown): Media {
  const root = fields(value);
  return {
    folder: text(root?.folder),
    uploadBytesMax: count(root?.upload_bytes_max) ?? 0,
    files: list(root?.files, (entry) => {
      const file = text(entry.file);
      return file ? { file, bytes: count(entry.bytes) ?? 0, stream: text(entry.stream) } : undefined;
    }),
  };
}
