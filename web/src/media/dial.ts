/**
 * What carries a connection: WebTransport where the browser has it and the PoP offers it, else, or where it does not come
 * through, a WebSocket. Whoever brings the first message is the one.
 *
 *     WebTransport -> open -> the first message: that is it
 *          |- not open in time: a WebSocket beside it, and the first message decides
 *          |- fails before any message: a WebSocket instead
 *
 * A PoP where a WebSocket came through and WebTransport did not is asked over a WebSocket for a while.
 */

import type { Offer } from "../api";
import { type Carrier, type Connection, type ConnectionEvents, SocketConnection, socketUrl } from "./connection";
import type { Dial } from "./feed";
import type { Position } from "./position";
import { type Session, TransportConnection, transportUrl } from "./transport";

/** WebTransport has so long to open before a WebSocket is tried too ... */
const OPEN_MS = 1000;
/** ... and this long while a picture is shown, whose buffer must outlast it. */
const OPEN_MS_PLAYING = 300;
/** Where it did not come through it is not tried again for this long. */
const FAILED_MS = 300_000;

/** What opens connections; tests bring their own. */
export interface Openers {
  /** Undefined where the browser has no WebTransport. */
  readonly session: ((url: string, offer: Offer) => Session) | undefined;
  readonly socket: (url: string) => WebSocket;
}

export class Dialer {
  readonly #openers: Openers;
  /** When WebTransport failed, by base URL of the PoP. */
  readonly #failedAt = new Map<string, number>();

  constructor(openers: Openers) {
    this.#openers = openers;
  }

  /** How a feed of this stream reaches PoPs. */
  to(stream: string): Dial {
    return ({ base, offer }, after, events) => {
      const bySocket: Open = (to) => new SocketConnection(this.#openers.socket(socketUrl(base, stream, after)), to);
      const session = offer && !this.#failedLately(base) ? this.#session(base, offer, stream, after) : undefined;
      if (!session) return bySocket(events);
      const byTransport: Open = (to) => new TransportConnection(session, to);
      const failed = (): void => void this.#failedAt.set(base, Date.now());
      return new Race(byTransport, bySocket, events, after ? OPEN_MS_PLAYING : OPEN_MS, failed);
    };
  }

  #session(base: string, offer: Offer, stream: string, after: Position | undefined): Session | undefined {
    try {
      return this.#openers.session?.(transportUrl(base, offer, stream, after), offer);
    } catch {
      // This browser knows no certificates by their hash.
      return undefined;
    }
  }

  #failedLately(base: string): boolean {
    return Date.now() - (this.#failedAt.get(base) ?? Number.NEGATIVE_INFINITY) < FAILED_MS;
  }
}

type Open = (events: ConnectionEvents) => Connection;

/** One connection to whoever uses it, two at most underneath. */
class Race implements Connection {
  readonly #events: ConnectionEvents;
  /** WebTransport did not come through, a WebSocket did. */
  readonly #failed: () => void;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #running = new Map<Carrier, Connection>();
  /** Until it is used. */
  #bySocket: Open | undefined;
  #won: Connection | undefined;

  constructor(byTransport: Open, bySocket: Open, events: ConnectionEvents, patience: number, failed: () => void) {
    this.#events = events;
    this.#failed = failed;
    this.#bySocket = bySocket;
    this.#timer = setTimeout(() => this.#trySocket(), patience);
    this.#enter("WebTransport", byTransport);
  }

  get carrier(): Carrier {
    return this.#won?.carrier ?? "WebTransport";
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const connection of this.#running.values()) connection.close();
  }

  #enter(carrier: Carrier, open: Open): void {
    const events = this.#events;
    const first = <T extends unknown[]>(tell: (...what: T) => void) => (...what: T): void => {
      this.#wins(carrier);
      tell(...what);
    };
    const connection = open({
      opened: () => clearTimeout(this.#timer),
      init: first(events.init),
      media: first(events.media),
      waiting: first(events.waiting),
      error: first(events.error),
      closed: () => this.#lost(carrier),
    });
    this.#running.set(carrier, connection);
  }

  #trySocket(): void {
    clearTimeout(this.#timer);
    const open = this.#bySocket;
    this.#bySocket = undefined;
    if (open) this.#enter("WebSocket", open);
  }

  #wins(carrier: Carrier): void {
    if (this.#won) return;
    this.#won = this.#running.get(carrier);
    clearTimeout(this.#timer);
    if (carrier === "WebSocket") this.#failed();
    for (const connection of this.#running.values()) if (connection !== this.#won) connection.close();
  }

  #lost(carrier: Carrier): void {
    this.#running.delete(carrier);
    if (!this.#won && carrier === "WebTransport") this.#trySocket();
    if (this.#won || this.#running.size === 0) this.#events.closed();
  }
}

function openSession(url: string, { certificates }: Offer): Session {
  const serverCertificateHashes = certificates.map((value) => ({ algorithm: "sha-256", value }));
  return new WebTransport(url, { serverCertificateHashes });
}

/** What failed is known to all players of the page. */
export const dialer = new Dialer({
  session: "WebTransport" in globalThis ? openSession : undefined,
  socket: (url) => new WebSocket(url),
});
