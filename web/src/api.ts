// What the node tells (GET /api/v1/streams).

export interface Track {
  id: number;
  codec: "h264" | "hevc" | "aac" | "opus";
  kind: "video" | "audio";
  width?: number;
  height?: number;
}

export interface Stream {
  name: string;
  state: "published" | "watched" | "passed" | "idle";
  waiting: boolean;
  origins: string[];
  parent: string | null;
  bitrate_bps: number | null;
  newest_age_ms: number | null;
  tracks: Track[];
}

export interface Streams {
  node: string;
  streams: Stream[];
}

export async function fetchStreams(): Promise<Streams> {
  const response = await fetch("api/v1/streams", { cache: "no-store" });
  if (!response.ok) throw new Error(`the node answered ${response.status}`);
  return (await response.json()) as Streams;
}
