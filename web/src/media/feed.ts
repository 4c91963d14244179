/**
 * The stream's bytes, from whichever PoP gives them best. One connection brings the media. A second one is opened, to go
 * on at the very frame, when the first is lost, when it falls silent, or when another PoP has been better for long; it
 * takes over with its first frame. Whatever comes twice is left out, so that what goes on from here has neither holes
 * nor repetitions.
 *
 *     first -> flowing -> late: a second connection is asked too -> whoever brings the next frame is the one
 *                 \-> lost: the next PoP at once; after all of them failed, with growing pauses
 */

import { Backoff } from "../backoff";
import type { Offer } from "../api";
import type { Carrier, Connection, ConnectionEvents } from "./connection";
import { isAfter, type Position } from "./position";

/** A PoP as the feed uses it. */
export interface Pop {
  /** Empty until it is known. */
  readonly name: string;
  /** Base URL of its HTTP server. */
  readonly base: string;
  /** How to reach it over WebTransport, if it told. */
  readonly offer?: Offer | undefined;
}

/** Who knows the PoPs and their worth. */
export interface Guide {
  /** The best one that is none of these. */
  best(without: readonly string[]): Pop | undefined;
  /** One that it is worth moving to from this one. */
  better(current: string): Pop | undefined;
  failed(name: string): void;
  moved(pop: Pop): void;
}

export interface FeedEvents {
  /** `known`: the times are those of the timeline that was played before. */
  init(mime: string, bytes: Uint8Array<ArrayBuffer>, known: boolean): void;
  media(bytes: Uint8Array<ArrayBuffer>): void;
  /** The PoP has no path to the stream right now. */
  waiting(): void;
  /** What the node says, for people. */
  error(message: string): void;
  /** No PoP gives the stream; asking goes on in so many milliseconds. */
  lost(retryMs: number): void;
  /** The media come from another PoP now. */
  moved(pop: Pop): void;
}

/** Opens a connection to a PoP, to go on after a position. */
export type Dial = (pop: Pop, after: Position | undefined, events: ConnectionEvents) => Connection;

/** How often silence is looked for. A look that is late itself judges nobody: frames may wait behind it. */
const TICK_MS = 50;
const TICK_LATE_MS = 200;
/** Media are late after three times their usual pause, within these bounds: the buffer must outlast the changeover. */
const LATE_FACTOR = 3;
const LATE_MS_MIN = 300;
const LATE_MS_MAX = 2000;
/** A usual pause is forgotten by this share a frame. */
const PAUSE_DECAY = 0.01;
/** A PoP that cannot go on at the frame is taken all the same once the other has been silent for this long. */
const GONE_MS = 1500;
/** A connection that brought nothing for this long is given up; one that said it waits, after that. */
const SILENCE_MS = 8000;
const WAITING_SILENCE_MS = 60_000;
/** A second connection that brought nothing by then is closed. */
const CANDIDATE_MS = 3000;
/** A connection that brought media for this long was a good one: the next failure starts with short pauses again. */
const GOOD_MS = 5000;
/** Pauses between second connections, and between attempts when every PoP has failed. */
const RETRY_MS_FIRST = 150;
const RETRY_MS_MAX = 8000;

type Why = "lost" | "late" | "better";

interface Init {
  readonly mime: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A connection, and what it brought so far. */
class Line {
  connection: Connection | undefined;
  heardAt: number;
  waits = false;
  /** It goes on where the player is: it said so, or it brought a frame that was here already. */
  joins = false;
  init: Init | undefined;

  constructor(
    readonly pop: Pop,
    readonly why: Why,
    readonly openedAt: number,
  ) {
    this.heardAt = openedAt;
  }

  close(): void {
    this.connection?.close();
  }
}

export class Feed {
  readonly #guide: Guide;
  readonly #events: FeedEvents;
  readonly #dial: Dial;
  readonly #retries = new Backoff(RETRY_MS_FIRST, RETRY_MS_MAX);
  readonly #seconds = new Backoff(RETRY_MS_FIRST, RETRY_MS_MAX);
  readonly #ticker: ReturnType<typeof setInterval>;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #current: Line | undefined;
  #candidate: Line | undefined;
  #candidateAt = 0;
  /** PoPs that were lost since a connection was good. */
  readonly #tried = new Set<Pop>();
  /** Position and parameters of the last frame that was passed on. */
  #held: Position | undefined;
  #init: Init | undefined;
  /** Who brought the last frame. */
  #source: Pop | undefined;
  #usualPause = 0;
  #tickedAt = Date.now();
  #closed = false;

  constructor(guide: Guide, events: FeedEvents, dial: Dial) {
    this.#guide = guide;
    this.#events = events;
    this.#dial = dial;
    this.#ticker = setInterval(() => this.#tick(Date.now()), TICK_MS);
    this.#connect();
  }

  /** The PoP that the media come from. */
  get pop(): Pop | undefined {
    return this.#current?.pop;
  }

  /** What carries them. */
  get carrier(): Carrier | undefined {
    return this.#current?.connection?.carrier;
  }

  /** Forgets what was played: the player needs a fresh start of the stream. */
  restart(): void {
    this.#drop();
    this.#held = undefined;
    this.#init = undefined;
    this.#connect();
  }

  /** Skips the present pause, because a node has just been seen alive. */
  retryNow(): void {
    if (!this.#closed && !this.#current) this.#connect();
  }

  /** Goes over to this PoP, because somebody wants it so. */
  moveTo(pop: Pop): void {
    if (pop.name === this.#current?.pop.name) return;
    this.#dropCandidate();
    if (this.#current) this.#candidate = this.#open(pop, "better");
    else this.#connect(pop);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#ticker);
    this.#drop();
  }

  #connect(pop = this.#guide.best([...this.#tried].map(({ name }) => name))): void {
    clearTimeout(this.#timer);
    if (pop) {
      this.#current = this.#open(pop, "lost");
      return;
    }
    this.#tried.clear();
    const wait = this.#retries.next();
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#events.lost(wait);
  }

  #open(pop: Pop, why: Why): Line {
    const line = new Line(pop, why, Date.now());
    line.connection = this.#dial(pop, this.#held, {
      init: (mime, bytes, resumed) => {
        line.joins = resumed;
        line.init = { mime, bytes };
      },
      media: (at, bytes) => this.#media(line, at, bytes),
      waiting: () => this.#waits(line),
      error: (message) => this.#events.error(message),
      closed: () => this.#lost(line),
    });
    return line;
  }

  #media(line: Line, at: Position, bytes: Uint8Array<ArrayBuffer>): void {
    const now = Date.now();
    if (line === this.#candidate && !this.#commit(line, now)) return;
    this.#heard(line, now);
    if (this.#held && !isAfter(at, this.#held)) {
      line.joins = true;
      return;
    }
    if (line.init && !this.#goesOn(line, line.init, at)) {
      this.#init = line.init;
      this.#events.init(line.init.mime, line.init.bytes, at.timeline === this.#held?.timeline);
    }
    line.init = undefined;
    // What follows a later init of this connection is another timeline.
    line.joins = false;
    if (!this.#init) return; // media before any init cannot be decoded
    this.#held = at;
    this.#events.media(bytes);
  }

  #heard(line: Line, now: number): void {
    this.#usualPause = Math.max(now - line.heardAt, this.#usualPause * (1 - PAUSE_DECAY));
    line.heardAt = now;
    line.waits = false;
    if (now - line.openedAt > GOOD_MS) {
      this.#tried.clear();
      this.#retries.reset();
    }
    if (this.#source?.name === line.pop.name) return;
    this.#source = line.pop;
    this.#guide.moved(line.pop);
    this.#events.moved(line.pop);
  }

  /** Whether the decoder needs no new start: what comes follows what it has, with the same parameters. */
  #goesOn(line: Line, init: Init, at: Position): boolean {
    const same = this.#init && this.#init.mime === init.mime && sameBytes(this.#init.bytes, init.bytes);
    return line.joins && same === true && at.timeline === this.#held?.timeline;
  }

  /** A second connection brought its first frame: it takes over, unless that would show a jump for no need. */
  #commit(line: Line, now: number): boolean {
    const before = this.#current;
    if (before && !line.joins && now - before.heardAt < GONE_MS) {
      this.#giveUp(line);
      return false;
    }
    this.#candidate = undefined;
    this.#current = line;
    this.#seconds.reset();
    this.#usualPause = 0;
    if (before && line.why === "late") this.#guide.failed(before.pop.name);
    before?.close();
    return true;
  }

  #waits(line: Line): void {
    line.waits = true;
    line.heardAt = Date.now();
    if (line === this.#candidate) this.#giveUp(line);
    else this.#events.waiting();
  }

  #lost(line: Line): void {
    if (line === this.#candidate) {
      this.#giveUp(line);
      return;
    }
    this.#guide.failed(line.pop.name);
    this.#tried.add(line.pop);
    line.close();
    // Whoever was asked already is furthest on.
    this.#current = this.#candidate;
    this.#candidate = undefined;
    if (!this.#current) this.#connect();
  }

  #tick(now: number): void {
    const late = now - this.#tickedAt > TICK_LATE_MS;
    this.#tickedAt = now;
    const line = this.#current;
    if (late || !line) return;
    const silent = now - line.heardAt;
    if (silent > (line.waits ? WAITING_SILENCE_MS : SILENCE_MS)) {
      this.#lost(line);
      return;
    }
    const candidate = this.#candidate;
    if (candidate) {
      if (now - candidate.openedAt > CANDIDATE_MS) this.#giveUp(candidate);
      return;
    }
    if (now < this.#candidateAt) return;
    const patience = Math.min(LATE_MS_MAX, Math.max(LATE_MS_MIN, LATE_FACTOR * this.#usualPause));
    if (line.waits || silent > patience) this.#ask(this.#guide.best([line.pop.name]), "late");
    else if (this.#held) this.#ask(this.#guide.better(line.pop.name), "better");
  }

  #ask(pop: Pop | undefined, why: Why): void {
    if (pop) this.#candidate = this.#open(pop, why);
  }

  #giveUp(candidate: Line): void {
    this.#guide.failed(candidate.pop.name);
    this.#dropCandidate();
    this.#candidateAt = Date.now() + this.#seconds.next();
  }

  #dropCandidate(): void {
    this.#candidate?.close();
    this.#candidate = undefined;
  }

  #drop(): void {
    clearTimeout(this.#timer);
    this.#dropCandidate();
    this.#current?.close();
    this.#current = undefined;
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, at) => byte === b[at]);
}
