/**
 * Follows a node's event stream for as long as the page is there. Read with fetch, since EventSource sends no token.
 * Cutting it into events follows WHATWG HTML, section 9.2.6.
 */

import { type Listing, nodeUrl, parseListing } from "../api";
import { Backoff } from "../backoff";
import { authorization, problemOf } from "./operator";
import { type Entry, type Mesh, type Neighbour, parseEntry, parseMesh, parseMissed, parseNeighbours } from "./tables";

const RETRY_MS = 500;
const RETRY_MS_MAX = 5000;
/** The node says something each 15 s. */
const SILENCE_MS = 25_000;
/** A question that is not answered in whole by then is asked anew; the figures of ten minutes take the longest. */
export const ANSWER_MS = 10_000;
/** How often the streams are asked for where the rest is for operators only. */
const LISTING_MS = 1000;
/** Characters of one event; tables of a thousand nodes take less than one million. */
const EVENT_MAX = 16_000_000;

export interface ServerEvent {
  readonly kind: string;
  readonly data: string;
}

/** Cuts events from text that comes in pieces. */
export class EventCutter {
  #rest = "";
  #kind = "";
  #data: string[] = [];
  #length = 0;

  push(piece: string): ServerEvent[] {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop() ?? "";
    this.#length += piece.length;
    const events: ServerEvent[] = [];
    for (const line of lines) {
      const event = this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (event) events.push(event);
    }
    if (this.#length > EVENT_MAX) throw new Error("an event is too long");
    return events;
  }

  #line(line: string): ServerEvent | undefined {
    if (line === "") {
      const event = this.#data.length > 0 ? { kind: this.#kind || "message", data: this.#data.join("\n") } : undefined;
      [this.#kind, this.#data, this.#length] = ["", [], this.#rest.length];
      return event;
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === "event") this.#kind = value ?? "";
    else if (field === "data") this.#data.push(value ?? "");
    return undefined;
  }
}

/** What the node shows: everything, or no more than the streams, since the rest is for operators, or it cannot show it now. */
export type Sight = "all" | "operators" | "busy";

export interface Follower {
  streams(listing: Listing): void;
  mesh(mesh: Mesh): void;
  neighbours(neighbours: readonly Neighbour[]): void;
  entry(entry: Entry): void;
  /** `why`: the node's own words, where it shows less than it might. */
  open(sight: Sight, why?: string): void;
  broken(reason: string): void;
}

export interface Following {
  /** Goes on at once, after a rest or where the node did not answer. */
  again(): void;
  /** Lets go of the node until then: it has seats for few, and browsers open few connections to one. */
  rest(): void;
  /** Begins anew: whoever asks is another one now. */
  restart(): void;
}

/** Never ends. */
export function follow(follower: Follower): Following {
  const backoff = new Backoff(RETRY_MS, RETRY_MS_MAX);
  let newest = 0;
  let wake: () => void = () => {};
  let abort = new AbortController();
  /** The stream is left on purpose. */
  let leaving = false;
  let resting = false;

  const hear = ({ kind, data }: ServerEvent): void => {
    const value: unknown = JSON.parse(data);
    if (kind === "streams") follower.streams(parseListing(value));
    else if (kind === "map") follower.mesh(parseMesh(value));
    else if (kind === "neighbours") follower.neighbours(parseNeighbours(value));
    else if (kind === "entry" || kind === "missed") {
      const entry = kind === "entry" ? parseEntry(value) : parseMissed(value);
      if (!entry || entry.id <= newest) return;
      newest = entry.id;
      follower.entry(entry);
    }
  };

  /** Until the stream breaks, or at once where it is not for us. */
  const listen = async (): Promise<void> => {
    abort = new AbortController();
    leaving = false;
    let timer: number | undefined;
    const expect = (withinMs: number): void => {
      window.clearTimeout(timer);
      timer = window.setTimeout(() => abort.abort(), withinMs);
    };
    expect(SILENCE_MS);
    try {
      const url = nodeUrl(`api/v1/events?after=${newest}`);
      const answer = await fetch(url, { headers: authorization(), cache: "no-store", signal: abort.signal });
      if (!answer.ok) expect(ANSWER_MS);
      // Whoever came to watch needs the streams only, and those are open to all.
      if (answer.status === 401) return await look("operators");
      if (answer.status === 503) return await look("busy", await problemOf(answer));
      if (!answer.ok || !answer.body) throw new Error(`status ${answer.status}`);
      const [reader, words, cutter] = [answer.body.getReader(), new TextDecoder(), new EventCutter()];
      for (let first = true; ; first = false) {
        const { value, done } = await reader.read();
        if (done) throw new Error("it ended the connection");
        if (first) {
          backoff.reset();
          follower.open("all");
        }
        expect(SILENCE_MS);
        for (const event of cutter.push(words.decode(value, { stream: true }))) hear(event);
      }
    } finally {
      window.clearTimeout(timer);
      abort.abort();
    }
  };

  /** Part of listening: what ends that ends this. */
  const look = async (sight: Sight, why?: string): Promise<void> => {
    const answer = await fetch(nodeUrl("api/v1/streams"), { cache: "no-store", signal: abort.signal });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    follower.streams(parseListing(await answer.json()));
    follower.open(sight, why);
    backoff.reset();
  };

  const run = async (): Promise<never> => {
    for (;;) {
      let waitMs = LISTING_MS;
      try {
        await listen();
      } catch (error) {
        if (!leaving) follower.broken(reasonOf(error));
        waitMs = leaving ? 0 : backoff.next();
      }
      do {
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (!resting) window.setTimeout(resolve, waitMs);
        });
      } while (resting);
    }
  };
  const leave = (): void => {
    leaving = !abort.signal.aborted;
    abort.abort();
    wake();
  };
  void run();
  return {
    again: () => {
      resting = false;
      wake();
    },
    rest: () => {
      resting = true;
      leave();
    },
    restart: leave,
  };
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "no answer";
  if (error.name === "AbortError") return "no answer in time";
  // Browsers name a refused connection "TypeError: Failed to fetch", which helps nobody.
  return error.name === "TypeError" && /fetch|network|load/i.test(error.message) ? "no connection" : error.message;
}
