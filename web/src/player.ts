// One stream in one <video>: fragmented MP4 over a WebSocket into Media Source Extensions.
//
// Server to client: {"type":"init","mime":…} and the initialisation segment, then fragments, one frame each; a new init
// may follow at any time and means that timestamps jump.

import { advise, type Range } from "./latency";

/** Seconds of played media that stay in the buffer. */
const KEEP_BEHIND_S = 10;
/** Messages that may wait for the buffer; the socket is opened anew when there are more. */
const QUEUE_MAX = 600;
const RETRY_MIN_MS = 300;
const RETRY_MAX_MS = 5000;

export interface Stats {
  stream: string;
  playing: boolean;
  currentTime: number;
  latencyS: number;
  bufferS: number;
  stalls: number;
  frames: number;
  dropped: number;
  width: number;
  height: number;
}

type Piece = { init: string } | { bytes: ArrayBuffer };

const MediaSourceClass: typeof MediaSource | undefined =
  (globalThis as { ManagedMediaSource?: typeof MediaSource }).ManagedMediaSource ?? globalThis.MediaSource;

export class Player {
  private socket?: WebSocket;
  private source?: MediaSource;
  private buffer?: SourceBuffer;
  private queue: Piece[] = [];
  private retryMs = RETRY_MIN_MS;
  private retryTimer = 0;
  private readonly ticker: number;
  private closed = false;
  private started = false;
  private stalls = 0;

  constructor(
    readonly stream: string,
    readonly video: HTMLVideoElement,
    private readonly notice: (text: string) => void,
  ) {
    video.addEventListener("waiting", () => {
      if (this.started) this.stalls += 1;
    });
    video.addEventListener("error", () => this.restart());
    this.ticker = window.setInterval(() => this.tick(), 100);
    if (MediaSourceClass) this.connect();
    else notice("This browser has no Media Source Extensions; use the .ts link with VLC or ffplay.");
  }

  close(): void {
    this.closed = true;
    window.clearInterval(this.ticker);
    window.clearTimeout(this.retryTimer);
    this.disconnect();
  }

  stats(): Stats {
    const quality = this.video.getVideoPlaybackQuality();
    const ranges = this.ranges();
    const now = this.video.currentTime;
    const here = ranges.find((range) => now >= range.start && now <= range.end);
    return {
      stream: this.stream,
      playing: !this.video.paused && this.video.readyState >= 3,
      currentTime: now,
      latencyS: Math.max(0, (ranges.at(-1)?.end ?? now) - now),
      bufferS: here ? here.end - now : 0,
      stalls: this.stalls,
      frames: quality.totalVideoFrames,
      dropped: quality.droppedVideoFrames,
      width: this.video.videoWidth,
      height: this.video.videoHeight,
    };
  }

  private connect(): void {
    const url = new URL(`live/${this.stream}.ws?wait=1`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      if (socket === this.socket) this.receive(event.data);
    };
    socket.onclose = () => {
      if (socket === this.socket) this.reconnectLater();
    };
    this.socket = socket;
  }

  private disconnect(): void {
    const socket = this.socket;
    this.socket = undefined;
    socket?.close();
    this.queue = [];
    this.buffer = undefined;
    this.source = undefined;
    if (this.video.src) {
      URL.revokeObjectURL(this.video.src);
      this.video.removeAttribute("src");
      this.video.load();
    }
  }

  private restart(): void {
    if (!this.closed) this.reconnectLater();
  }

  private reconnectLater(): void {
    this.disconnect();
    if (this.closed) return;
    this.started = false;
    this.notice("Connection lost; trying again …");
    window.clearTimeout(this.retryTimer);
    this.retryTimer = window.setTimeout(() => this.connect(), this.retryMs);
    this.retryMs = Math.min(this.retryMs * 2, RETRY_MAX_MS);
  }

  private receive(data: string | ArrayBuffer): void {
    if (typeof data !== "string") {
      this.queue.push({ bytes: data });
      if (this.queue.length > QUEUE_MAX) return this.restart();
      return this.pump();
    }
    const message = JSON.parse(data) as { type: string; mime?: string };
    if (message.type === "waiting") this.notice("Waiting for the stream; it starts by itself.");
    if (message.type !== "init" || message.mime === undefined) return;
    this.retryMs = RETRY_MIN_MS;
    if (!MediaSourceClass?.isTypeSupported(message.mime)) {
      this.closed = true;
      this.disconnect();
      this.notice(`This browser cannot decode ${message.mime}; use the .ts link with VLC or ffplay.`);
      return;
    }
    if (this.source) this.queue.push({ init: message.mime });
    else this.open(message.mime);
  }

  private open(mime: string): void {
    if (!MediaSourceClass) return;
    const source = new MediaSourceClass();
    this.source = source;
    this.video.disableRemotePlayback = true;
    this.video.src = URL.createObjectURL(source);
    source.addEventListener("sourceopen", () => {
      if (source !== this.source) return;
      this.buffer = source.addSourceBuffer(mime);
      this.buffer.addEventListener("updateend", () => this.pump());
      this.pump();
    });
  }

  private pump(): void {
    const buffer = this.buffer;
    if (!buffer || buffer.updating || this.source?.readyState !== "open") return;
    const first = this.queue[0];
    if (!first) return;
    try {
      if ("init" in first) {
        // Times jump: what is buffered belongs to another clock.
        this.queue.shift();
        buffer.abort();
        buffer.changeType(first.init);
        if (buffer.buffered.length > 0) buffer.remove(0, Infinity);
        else this.pump();
        return;
      }
      const parts: ArrayBuffer[] = [];
      while (this.queue[0] && "bytes" in this.queue[0]) {
        parts.push(this.queue[0].bytes);
        this.queue.shift();
      }
      buffer.appendBuffer(parts.length === 1 ? (parts[0] as ArrayBuffer) : joined(parts));
    } catch {
      this.restart();
    }
  }

  private ranges(): Range[] {
    const buffered = this.video.buffered;
    return Array.from({ length: buffered.length }, (_, at) => ({ start: buffered.start(at), end: buffered.end(at) }));
  }

  private tick(): void {
    const ranges = this.ranges();
    const { rate, seek } = advise(this.video.currentTime, ranges);
    if (seek !== undefined) this.video.currentTime = seek;
    if (this.video.playbackRate !== rate) this.video.playbackRate = rate;
    if (ranges.length > 0 && this.video.paused && !this.started) void this.start();
    const buffer = this.buffer;
    const old = this.video.currentTime - 2 * KEEP_BEHIND_S;
    if (buffer && !buffer.updating && (ranges[0]?.start ?? Infinity) < old) buffer.remove(0, old + KEEP_BEHIND_S);
  }

  private async start(): Promise<void> {
    try {
      await this.video.play();
    } catch {
      // Browsers let sound begin only after a touch.
      this.video.muted = true;
      try {
        await this.video.play();
        this.notice("Muted by the browser; press Sound.");
        this.started = true;
      } catch {
        this.notice("Press play to start.");
      }
      return;
    }
    this.started = true;
    this.notice("");
  }
}

function joined(parts: ArrayBuffer[]): ArrayBuffer {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    out.set(new Uint8Array(part), at);
    at += part.byteLength;
  }
  return out.buffer;
}
