/**
 * A connection over WebTransport. The node opens one stream, on which each message stands behind its kind and length
 * (docs/protocol.md, "Players"); if it refuses, it ends the session with words.
 */

import type { Offer } from "../api";
import { type Connection, type ConnectionEvents, MESSAGE_BYTES_MAX, Sorter } from "./connection";
import { formatPosition, type Position } from "./position";

/** Kind (u8) and length (u32, big-endian) in front of each message. */
const HEAD_BYTES = 5;
const TEXT = 1;
const BINARY = 2;
/**
 * After so much silence a datagram is sent, and again; the node does not read them. UDP tells of the death of a process
 * only those who send to it: without, a page knew nothing for 8 s. Tuned: the shortest buffer, 0.15 s, outlasts it.
 */
const KNOCK_MS = 30;

/** The part of `WebTransport` that is used, so that tests can bring their own. */
export type Session = Pick<WebTransport, "ready" | "closed" | "incomingUnidirectionalStreams" | "close"> & {
  readonly datagrams: { readonly writable: WritableStream<Uint8Array> };
};

export interface Message {
  readonly kind: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Cuts messages out of the bytes of a stream, however they come. */
export class Cutter {
  readonly #head = new Uint8Array(HEAD_BYTES);
  #body: Uint8Array<ArrayBuffer> | undefined;
  #filled = 0;

  /** Throws on a message that is too long. */
  *push(chunk: Uint8Array): Generator<Message> {
    for (let at = 0; at < chunk.length; ) {
      const into = this.#body ?? this.#head;
      const part = chunk.subarray(at, at + into.length - this.#filled);
      into.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled < into.length) return;
      this.#filled = 0;
      if (this.#body) yield { kind: this.#head[0] ?? 0, bytes: this.#body };
      this.#body = this.#body ? undefined : this.#room();
    }
  }

  #room(): Uint8Array<ArrayBuffer> {
    const length = new DataView(this.#head.buffer).getUint32(1);
    if (length > MESSAGE_BYTES_MAX) throw new RangeError(`a message of ${length} bytes`);
    return new Uint8Array(length);
  }
}

export class TransportConnection implements Connection {
  readonly carrier = "WebTransport";
  readonly #session: Session;
  readonly #events: ConnectionEvents;
  readonly #sorter: Sorter;
  #heardAt = 0;
  #knocker: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  constructor(session: Session, events: ConnectionEvents) {
    this.#session = session;
    this.#events = events;
    this.#sorter = new Sorter(events);
    void this.#run();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#knocker);
    this.#session.close();
  }

  async #run(): Promise<void> {
    const words = this.#session.closed.then(
      ({ reason }) => reason,
      () => undefined,
    );
    // However it ends: what the node says of it comes with the end of the session.
    await this.#read().catch(() => undefined);
    clearInterval(this.#knocker);
    this.#session.close();
    const reason = await words;
    if (this.#closed) return;
    if (reason) this.#events.error(reason);
    this.#events.closed();
  }

  async #read(): Promise<void> {
    await this.#session.ready;
    if (this.#closed) return;
    this.#events.opened?.();
    this.#heardAt = Date.now();
    this.#knocker = setInterval(() => this.#knock(), KNOCK_MS);
    const { value: stream } = await this.#session.incomingUnidirectionalStreams.getReader().read();
    if (!stream) return;
    const reader: ReadableStreamDefaultReader<Uint8Array> = stream.getReader();
    const cutter = new Cutter();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.#heardAt = Date.now();
      for (const message of cutter.push(value)) {
        if (this.#closed || !this.#take(message)) return;
      }
    }
  }

  #take({ kind, bytes }: Message): boolean {
    if (kind === BINARY) return this.#sorter.binary(bytes);
    if (kind === TEXT) this.#sorter.text(new TextDecoder().decode(bytes));
    return true;
  }

  #knock(): void {
    const { writable } = this.#session.datagrams;
    if (Date.now() - this.#heardAt < KNOCK_MS || writable.locked) return;
    const writer = writable.getWriter();
    const sent = writer.write(new Uint8Array(1));
    writer.releaseLock();
    // Nobody there: the session ends by itself.
    sent.catch(() => undefined);
  }
}

/** The address of a stream at a PoP that is reached over HTTP at `base`, to go on after a position. */
export function transportUrl(base: string, offer: Offer, stream: string, after: Position | undefined): string {
  const { hostname } = new URL(base);
  // Browsers try one address only, for this name that of IPv6, where few nodes listen.
  const host = hostname === "localhost" ? "127.0.0.1" : hostname;
  const url = new URL(`https://${host}:${offer.port}/live/${encodeURIComponent(stream)}`);
  if (after) url.searchParams.set("after", formatPosition(after));
  return url.href;
}
