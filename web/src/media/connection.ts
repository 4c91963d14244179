/**
 * One connection to one PoP: what comes is sorted into init segments, frames with their positions, and words for people.
 * It ends once, and is not opened again; what to do then is the feed's. What carries it is a WebSocket here, or
 * WebTransport (transport.ts).
 */

import { formatPosition, type Position, readPosition } from "./position";

/** What carries a connection. */
export type Carrier = "WebSocket" | "WebTransport";

export interface ConnectionEvents {
  /** Something can come now. */
  opened?(): void;
  /** `resumed`: what follows goes on right after the position that was asked for. */
  init(mime: string, bytes: Uint8Array<ArrayBuffer>, resumed: boolean): void;
  media(at: Position, bytes: Uint8Array<ArrayBuffer>): void;
  /** The node has no path to the stream right now; the connection stays open. */
  waiting(): void;
  /** What the node says, for people; it closes next. */
  error(message: string): void;
  closed(): void;
}

export interface Connection {
  readonly carrier: Carrier;
  /** Ends it; nothing is told any more. */
  close(): void;
}

/** Longest message; refuses what no sensible stream sends. */
export const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const TEXT_CHARS_MAX = 4096;

/** Tells messages apart, in the order in which they come. */
export class Sorter {
  readonly #events: ConnectionEvents;
  /** What the last `init` said, while its binary message is awaited. */
  #next: { mime: string; resumed: boolean } | undefined;

  constructor(events: ConnectionEvents) {
    this.#events = events;
  }

  text(data: string): void {
    const message = data.length <= TEXT_CHARS_MAX ? parseText(data) : undefined;
    switch (message?.type) {
      case "init":
        if (typeof message.mime === "string") this.#next = { mime: message.mime, resumed: message.resumed === true };
        break;
      case "waiting":
        this.#events.waiting();
        break;
      case "error":
        this.#events.error(typeof message.message === "string" ? message.message : "the node gave no reason");
        break;
      default: // a newer node may say more
    }
  }

  /** False: no node sends this, and the connection should end. */
  binary(bytes: Uint8Array<ArrayBuffer>): boolean {
    if (bytes.byteLength > MESSAGE_BYTES_MAX) return false;
    if (this.#next) {
      const { mime, resumed } = this.#next;
      this.#next = undefined;
      this.#events.init(mime, bytes, resumed);
      return true;
    }
    const frame = readPosition(bytes);
    if (frame) this.#events.media(frame.at, frame.bytes);
    return frame !== undefined;
  }
}

/** The part of `WebSocket` that is used, so that tests can bring their own. */
export type Socket = Pick<WebSocket, "binaryType" | "onmessage" | "onclose" | "close">;

export class SocketConnection implements Connection {
  readonly carrier = "WebSocket";
  readonly #socket: Socket;
  readonly #events: ConnectionEvents;
  readonly #sorter: Sorter;

  constructor(socket: Socket, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    this.#sorter = new Sorter(events);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.#message(event.data);
    socket.onclose = () => this.#end();
  }

  close(): void {
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.#socket.close();
  }

  #end(): void {
    this.close();
    this.#events.closed();
  }

  #message(data: unknown): void {
    if (typeof data === "string") this.#sorter.text(data);
    else if (data instanceof ArrayBuffer && !this.#sorter.binary(new Uint8Array(data))) this.#end();
  }
}

/** The address of a stream at a PoP, to go on after a position. */
export function socketUrl(base: string, stream: string, after: Position | undefined): string {
  const url = new URL(`live/${encodeURIComponent(stream)}.ws`, base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (after) url.searchParams.set("after", formatPosition(after));
  return url.href;
}

function parseText(data: string): { type?: unknown; mime?: unknown; resumed?: unknown; message?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(data);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
