/** What players have in common, whatever they show pictures with. */

import type { PopView } from "./guide";

/** What the player shows people. */
export interface PlayerView {
  readonly phase: "connecting" | "starting" | "playing" | "stalled" | "unsupported";
  /** Why nothing moves, in words. */
  readonly notice: string;
  /** The browser allows sound only after a tap. */
  readonly soundBlocked: boolean;
  /** The browser or the system has paused playback, or allows it only after a tap. */
  readonly paused: boolean;
}

/** Times in seconds. `latency` and `buffer` are null before playback. */
export interface PlayerStats {
  readonly phase: PlayerView["phase"];
  readonly mime: string;
  readonly position: number;
  readonly latency: number | null;
  readonly buffer: number | null;
  /** How far from live it wants to be; null where that is not its own choice. */
  readonly target: number | null;
  readonly rate: number;
  readonly stalls: number;
  readonly stalledSeconds: number;
  readonly jumps: number;
  readonly reconnects: number;
  /** Name and base URL of the PoP that the media come from, and how often it was another one. */
  readonly pop: string;
  readonly popBase: string;
  /** What carries them: WebTransport, WebSocket or HLS; empty while nothing does. */
  readonly carrier: string;
  readonly moves: number;
  readonly rebuilds: number;
  readonly width: number;
  readonly height: number;
  readonly framesDecoded: number;
  readonly framesDropped: number;
}

/** Where a player gets the stream. */
export interface Source {
  /** The PoPs that give this stream, nearest first. */
  pops(): PopView[];
  /** The PoP that was chosen by hand. */
  readonly chosen: string | undefined;
  /** Watches from this PoP as long as it gives the stream; undefined: from the best. */
  choose(name: string | undefined): void;
  /** The node has been seen alive: connect now instead of after the present pause. */
  retryNow(): void;
}

export interface Playing {
  readonly source: Source;
  stats(): PlayerStats;
  /** Plays on, at the live edge, after a pause or with a tap that the browser asked for. */
  resume(): void;
  /** Sets sound on or off. Called from a tap or key press, which is what browsers ask for. */
  setMuted(muted: boolean): void;
  close(): void;
}
