/** A WebTransport session in the hands of a test: it opens, speaks and ends when the test says so. */

import type { Session } from "../../src/media/transport";

export class FakeSession {
  readonly ready: Promise<void>;
  readonly closed: Promise<WebTransportCloseInfo>;
  readonly incomingUnidirectionalStreams: ReadableStream;
  readonly datagrams: { readonly writable: WritableStream<Uint8Array> };
  closes = 0;
  /** Datagrams that were sent. */
  knocks = 0;
  open!: () => void;
  fail!: () => void;
  end!: (info: WebTransportCloseInfo) => void;
  #bytes!: ReadableStreamDefaultController<Uint8Array>;

  constructor() {
    this.ready = new Promise((resolve, reject) => {
      this.open = resolve;
      this.fail = () => reject(new Error("no way through"));
    });
    this.closed = new Promise((resolve) => {
      this.end = resolve;
    });
    const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#bytes = controller) });
    this.incomingUnidirectionalStreams = new ReadableStream({ start: (controller) => controller.enqueue(stream) });
    this.datagrams = { writable: new WritableStream({ write: () => void this.knocks++ }) };
  }

  get asSession(): Session {
    return this as unknown as Session;
  }

  say(kind: number, bytes: Uint8Array): void {
    this.#bytes.enqueue(framed(kind, bytes));
  }

  die(): void {
    this.#bytes.error(new Error("gone"));
  }

  close(): void {
    this.closes += 1;
    this.end({ closeCode: 0, reason: "" });
  }
}

/** A message as it stands on a stream. */
export function framed(kind: number, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(5 + bytes.length);
  out[0] = kind;
  new DataView(out.buffer).setUint32(1, bytes.length);
  out.set(bytes, 5);
  return out;
}
