/** What the lab says of itself, checked where it enters, and how it is told what to do. */

import { Backoff } from "../backoff";
import { fields, list, number, oneOf, text, texts } from "../fields";

export interface Doing {
  readonly delayMs: number;
  readonly jitterMs: number;
  /** A share, 0 to 1. */
  readonly loss: number;
  readonly rateBps: number | undefined;
  /** As a script writes them: chance that a bad time begins, chance that it ends, share lost in it. */
  readonly burst?: string | undefined;
  /** Whether jitter may change the order of packets. */
  readonly reorder?: boolean;
  /** What waits where the rate is the limit, as a script writes it. */
  readonly queue?: string | undefined;
}

export interface Direction {
  readonly cut: boolean;
  /** Unknown of links that nodes made themselves. */
  readonly doing: Doing | undefined;
  readonly sentBps: number | undefined;
  /** As the sending end measures it. */
  readonly rttMs: number | undefined;
}

export interface LabNode {
  readonly name: string;
  readonly leaf: boolean;
  readonly pop: boolean;
  readonly state: "running" | "stalled" | "dead";
  readonly answers: boolean;
  readonly page: string | undefined;
  /** Streams that it published when it last said. */
  readonly publishes: readonly string[];
}

export interface LabLink {
  readonly a: string;
  readonly b: string;
  readonly planned: boolean;
  readonly usual: Doing | undefined;
  readonly there: Direction;
  readonly back: Direction;
}

export interface LabPlace {
  readonly node: string;
  readonly parent: string | undefined;
  readonly backup: string | undefined;
  readonly children: readonly string[];
  readonly waiting: boolean;
  /** Fed no more than headers, so that it can stand by for another. */
  readonly headers: boolean;
  readonly switches: number;
}

export interface LabStream {
  readonly name: string;
  readonly origins: readonly string[];
  readonly nodes: readonly LabPlace[];
}

export interface LabViewer {
  readonly node: string;
  readonly stream: string;
  readonly state: "flowing" | "late" | "waiting";
  readonly gapMs: number;
  readonly lost: number;
  readonly doubled: number;
}

export interface LabState {
  readonly about: string;
  readonly mode: string;
  /** The command that is being carried out. */
  readonly doing: string | undefined;
  readonly nodes: readonly LabNode[];
  readonly links: readonly LabLink[];
  readonly streams: readonly LabStream[];
  readonly viewers: readonly LabViewer[];
}

export interface Entry {
  readonly id: number;
  /** Since the lab began. */
  readonly atS: number;
  readonly kind: "did" | "failed" | "ended" | "parent" | "waits" | "served";
  readonly text: string;
  /** What was done, as a script says it. */
  readonly line: string | undefined;
}

export function parseState(value: unknown): LabState {
  const root = fields(value);
  if (!root || !Array.isArray(root.nodes)) throw new TypeError("the lab's answer has no list of nodes");
  return {
    about: text(root.about) ?? "",
    mode: text(root.mode) ?? "",
    doing: text(root.doing),
    nodes: list(root.nodes, (node) => ({
      name: text(node.name) ?? "",
      leaf: node.leaf === true,
      pop: node.pop === true,
      state: oneOf(node.state, ["running", "stalled", "dead"]),
      answers: node.answers === true,
      page: text(node.page),
      publishes: texts(node.publishes),
    })),
    links: list(root.links, (link) => ({
      a: text(link.a) ?? "",
      b: text(link.b) ?? "",
      planned: link.planned === true,
      usual: parseDoing(link.usual),
      there: parseDirection(link.there),
      back: parseDirection(link.back),
    })),
    streams: list(root.streams, (stream) => ({
      name: text(stream.name) ?? "",
      origins: texts(stream.origins),
      nodes: list(stream.nodes, (place) => ({
        node: text(place.node) ?? "",
        parent: text(place.parent),
        backup: text(place.backup),
        children: texts(place.children),
        waiting: place.waiting === true,
        headers: place.headers === true,
        switches: number(place.switches) ?? 0,
      })),
    })),
    viewers: list(root.viewers, (viewer) => ({
      node: text(viewer.node) ?? "",
      stream: text(viewer.stream) ?? "",
      state: oneOf(viewer.state, ["waiting", "late", "flowing"]),
      gapMs: number(viewer.gap_ms) ?? 0,
      lost: number(viewer.lost) ?? 0,
      doubled: number(viewer.doubled) ?? 0,
    })),
  };
}

export function parseEntry(value: unknown): Entry | undefined {
  const entry = fields(value);
  const id = number(entry?.id);
  if (!entry || id === undefined) return undefined;
  return {
    id,
    atS: number(entry.at_s) ?? 0,
    kind: oneOf(entry.kind, ["parent", "did", "failed", "ended", "waits", "served"]),
    text: text(entry.text) ?? "",
    line: text(entry.line),
  };
}

function parseDirection(value: unknown): Direction {
  const direction = fields(value) ?? {};
  return {
    cut: direction.cut === true,
    doing: parseDoing(direction),
    sentBps: number(direction.sent_bps),
    rttMs: number(direction.rtt_ms),
  };
}

function parseDoing(value: unknown): Doing | undefined {
  const doing = fields(value);
  const delayMs = number(doing?.delay_ms);
  if (!doing || delayMs === undefined) return undefined;
  return {
    delayMs,
    jitterMs: number(doing.jitter_ms) ?? 0,
    loss: number(doing.loss) ?? 0,
    rateBps: number(doing.rate_bps),
    burst: text(doing.burst),
    reorder: doing.reorder === true,
    queue: text(doing.queue),
  };
}

/** Has a line of the script's notation done; throws with what is wrong with it. */
export async function act(line: string): Promise<void> {
  let answer: Response;
  try {
    // A page of another site cannot set this header.
    answer = await fetch("api/do", { method: "POST", headers: { "x-levada-action": "lab" }, body: line });
  } catch {
    throw new Error("the lab does not answer");
  }
  if (answer.ok) return;
  const problem = fields(await answer.json().catch(() => undefined));
  throw new Error(text(problem?.error) ?? `status ${answer.status}`);
}

const RETRY_MS = 500;
const RETRY_MS_MAX = 8000;

export interface Follower {
  state(state: LabState): void;
  entry(entry: Entry): void;
  open(): void;
  /** The lab is tried again after so many milliseconds. */
  broken(retryMs: number): void;
}

/** Follows the lab for as long as the page is there. */
export function follow(follower: Follower): void {
  const backoff = new Backoff(RETRY_MS, RETRY_MS_MAX);
  let newest = 0;
  const connect = (): void => {
    const source = new EventSource(`api/events?after=${newest}`);
    source.addEventListener("open", () => {
      backoff.reset();
      follower.open();
    });
    source.addEventListener("state", (event) => follower.state(parseState(JSON.parse(event.data))));
    source.addEventListener("entry", (event) => {
      const entry = parseEntry(JSON.parse(event.data));
      if (!entry || entry.id <= newest) return;
      newest = entry.id;
      follower.entry(entry);
    });
    source.addEventListener("error", () => {
      source.close();
      const retryMs = backoff.next();
      follower.broken(retryMs);
      window.setTimeout(connect, retryMs);
    });
  };
  connect();
}
