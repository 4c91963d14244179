/**
 * One connection to one PoP: what comes is sorted into init segments, frames with their positions, and words for people.
 * It ends once, and is not opened again; what to do then is the feed's.
 */

import { formatPosition, type Position, readPosition } from "./position";

export interface ConnectionEvents {
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
  /** Ends it; nothing is told any more. */
  close(): void;
}

/** The part of `WebSocket` that is used, so that tests can bring their own. */
export type Socket = Pick<WebSocket, "binaryType" | "onmessage" | "onclose" | "close">;

/** Refuses what no sensible stream sends; the browser has the message in memory by then, but nothing copies it. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const TEXT_CHARS_MAX = 4096;

export class SocketConnection implements Connection {
  readonly #socket: Socket;
  readonly #events: ConnectionEvents;
  /** What the last `init` said, while its binary message is awaited. */
  #next: { mime: string; resumed: boolean } | undefined;

  constructor(socket: Socket, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
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
    if (typeof data === "string") this.#text(data);
    else if (data instanceof ArrayBuffer) this.#binary(new Uint8Array(data));
  }

  #text(data: string): void {
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

  #binary(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.byteLength > MESSAGE_BYTES_MAX) return this.#end();
    if (this.#next) {
      const { mime, resumed } = this.#next;
      this.#next = undefined;
      return this.#events.init(mime, bytes, resumed);
    }
    const frame = readPosition(bytes);
    if (!frame) return this.#end();
    return this.#events.media(frame.at, frame.bytes);
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
