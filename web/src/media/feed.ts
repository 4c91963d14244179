/**
 * The stream's bytes from the node: a WebSocket that is opened again, with growing pauses, whenever it closes or falls
 * silent. Messages are sorted into init segments, media and words for people; nothing is decoded here.
 */

import { Backoff } from "../backoff";

export interface FeedEvents {
  /** `resumed`: the first of this connection. A later one means that the origin changed. */
  init(mime: string, bytes: ArrayBuffer, resumed: boolean): void;
  media(bytes: ArrayBuffer): void;
  /** The node has no path to the stream right now; the socket stays open. */
  waiting(): void;
  /** What the node says, for people; it closes the socket next. */
  error(message: string): void;
  /** The socket is gone and will be opened again in so many milliseconds. */
  lost(retryMs: number): void;
}

/** The part of `WebSocket` that is used, so that tests can bring their own. */
export type Socket = Pick<WebSocket, "binaryType" | "onopen" | "onmessage" | "onclose" | "close">;

/** Refuses what no sensible stream sends; the browser has the message in memory by then, but nothing copies it. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const TEXT_CHARS_MAX = 4096;

/** Media are overdue after this long, and a node that said it waits should have said something else after that long. */
const SILENCE_MS = 8000;
const WAITING_SILENCE_MS = 60_000;
/** A connection that brought media for this long was a good one: the next failure starts with short pauses again. */
const GOOD_MS = 5000;

/** Short enough that the buffer outlasts the first reconnection. */
const RETRY_MS_FIRST = 150;
const RETRY_MS_MAX = 8000;

export class Feed {
  readonly #url: string;
  readonly #events: FeedEvents;
  readonly #open: (url: string) => Socket;
  readonly #backoff = new Backoff(RETRY_MS_FIRST, RETRY_MS_MAX);
  #socket: Socket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  /** The type from the last `init`, while its binary message is awaited. */
  #mime: string | undefined;
  #started = false;
  #goodSince: number | undefined;
  #closed = false;

  constructor(url: string, events: FeedEvents, open: (url: string) => Socket = (to) => new WebSocket(to)) {
    this.#url = url;
    this.#events = events;
    this.#open = open;
    this.#connect();
  }

  /** Drops the connection and opens another after a pause: the player needs a fresh start of the stream. */
  restart(): void {
    this.#lost();
  }

  /** Skips the present pause, because the node has just been seen alive. */
  retryNow(): void {
    if (this.#closed || this.#socket) return;
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  #connect(): void {
    clearTimeout(this.#timer);
    const socket = this.#open(this.#url);
    this.#socket = socket;
    this.#mime = undefined;
    this.#started = false;
    this.#goodSince = undefined;
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.#message(event.data);
    socket.onclose = () => this.#lost();
    this.#watch(SILENCE_MS);
  }

  #message(data: unknown): void {
    this.#watch(SILENCE_MS);
    if (typeof data === "string") this.#text(data);
    else if (data instanceof ArrayBuffer) this.#binary(data);
  }

  #text(data: string): void {
    const message = data.length <= TEXT_CHARS_MAX ? parseText(data) : undefined;
    switch (message?.type) {
      case "init":
        if (typeof message.mime === "string") this.#mime = message.mime;
        break;
      case "waiting":
        this.#watch(WAITING_SILENCE_MS);
        this.#events.waiting();
        break;
      case "error":
        this.#events.error(typeof message.message === "string" ? message.message : "the node gave no reason");
        break;
      default: // a newer node may say more
    }
  }

  #binary(bytes: ArrayBuffer): void {
    if (bytes.byteLength > MESSAGE_BYTES_MAX) {
      this.#lost();
      return;
    }
    if (this.#mime !== undefined) {
      const mime = this.#mime;
      this.#mime = undefined;
      const resumed = !this.#started;
      this.#started = true;
      this.#events.init(mime, bytes, resumed);
      return;
    }
    if (!this.#started) return; // media before any init cannot be decoded
    const now = Date.now();
    this.#goodSince ??= now;
    if (now - this.#goodSince > GOOD_MS) this.#backoff.reset();
    this.#events.media(bytes);
  }

  #lost(): void {
    this.#drop();
    if (this.#closed) return;
    clearTimeout(this.#timer);
    const wait = this.#backoff.next();
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#events.lost(wait);
  }

  #drop(): void {
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }

  #watch(limit: number): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(), limit);
  }
}

function parseText(data: string): { type?: unknown; mime?: unknown; message?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(data);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
