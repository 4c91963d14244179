// A stand-in for PoPs, to develop and test the page without the Rust binary: serves the page, the listings and live
// streams that ffmpeg makes, and breaks them on request. Each PoP has a port, the first one --port, and all serve the
// same frames at the same positions. The mesh around them is invented too (fake-mesh.mjs).
//
//     node tests/fake-node.mjs [--port 8080] [--streams cam1,cam2] [--pops 1]     (no streams: --streams "")
//
// Names choose what is sent: a name with "hevc" claims to be HEVC, with "silent" has no audio, with "sound" nothing
// else, with "bframes" has B-frames. Faults, by POST:
//     /fake/NAME/kick      closes the sockets                /fake/NAME/wait      says "waiting", sends nothing for 3 s
//     /fake/NAME/jump      new origin: init, other times     /fake/NAME/lose      leaves out 1.5 s of media
//     /fake/NAME/resize    new origin with another size      /fake/NAME/pause     sends nothing for 1.5 s, then all of it
//     /fake/NAME/garbage   one message that is no MP4        /fake/NAME/refuse    an error for people, then closes
//     /fake/NAME/gone      no node can give it, and the nodes say so, until /fake/NAME/back
// and of PoPs, which are called pop1, pop2, and so on:
//     /fake/POP/down       answers nothing for 4 s          /fake/POP/mute        sends no media for 3 s
//     /fake/POP/far        answers pings 80 ms later, until /fake/POP/near

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { WebSocketServer } from "ws";
import { FakeMesh } from "./fake-mesh.mjs";
import { load } from "./load.mjs";

const { readFragments, readInit } = await load("../src/media/fmp4.ts");

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "8080" },
    streams: { type: "string", default: "cam1,cam2" },
    pops: { type: "string", default: "1" },
  },
});

/** Groups that a page can go on in. */
const GROUPS_KEPT = 3;

const SIZES = ["640x360", "480x270"];

/** Encodes twenty seconds once; after that a stream costs next to nothing. */
function sourceFile(size, { audio, video, bframes, hue }) {
  const folder = `${tmpdir()}/levada-fake-node`;
  const file = `${folder}/${size}-${audio ? "a" : ""}${video ? "v" : ""}${bframes ? "-b" : ""}-${hue}.mp4`;
  if (existsSync(file)) return file;
  mkdirSync(folder, { recursive: true });
  const args = ["-v", "error", "-y"];
  if (video) args.push("-f", "lavfi", "-i", `testsrc2=s=${size}:r=25,hue=h=${hue}`);
  if (audio) args.push("-f", "lavfi", "-i", `sine=f=${300 + hue}:r=48000:b=1`);
  args.push("-t", "20", "-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p");
  args.push("-bf", bframes ? "2" : "0", "-b:v", "700k", "-c:a", "aac", "-b:a", "96k", "-ac", "2", file);
  const { status } = spawnSync("ffmpeg", args, { stdio: "inherit" });
  if (status !== 0) throw new Error(`ffmpeg could not make ${file}`);
  return file;
}

/** Group and timeline (u64), index (u32), big-endian: what stands in front of each frame. */
function headOf({ group, timeline, index }) {
  const head = Buffer.alloc(20);
  head.writeBigUInt64BE(BigInt(group), 0);
  head.writeBigUInt64BE(BigInt(timeline), 8);
  head.writeUInt32BE(index, 16);
  return head;
}

function isAfter(a, b) {
  return (a.group - b.group || a.timeline - b.timeline || a.index - b.index) > 0;
}

function parsePosition(text) {
  const parts = /^(\d+)@(\d+):(\d+)$/.exec(text ?? "")?.slice(1).map(Number);
  return parts && { group: parts[0], timeline: parts[1], index: parts[2] };
}

class Stream {
  constructor(name, index) {
    this.name = name;
    this.audio = !name.includes("silent");
    this.video = !name.includes("sound");
    this.bframes = name.includes("bframes");
    this.hue = (index * 110) % 360;
    this.size = SIZES[0];
    this.sockets = new Set();
    this.groups = []; // the newest ones, each a list of {at, message}
    this.bytes = 0;
    this.heldUntil = 0;
    this.held = undefined;
    this.waitUntil = 0;
    this.gone = false;
    for (const size of SIZES) sourceFile(size, this); // made now: the faults are not to wait for the encoder
    this.origin(90_000 + index * 1234.5);
  }

  /** Starts an origin: a new ffmpeg, whose times begin anywhere. */
  origin(start) {
    this.ffmpeg?.kill("SIGKILL");
    this.init = undefined;
    this.timeline = Date.now() * 1000;
    this.start = start;
    const args = ["-v", "error", "-re", "-stream_loop", "-1", "-i", sourceFile(this.size, this), "-c", "copy"];
    args.push("-f", "mp4");
    // One frame a fragment (of each of the tracks that have one). ffmpeg's own frag_every_frame gives every other frame of two tracks no duration and its
    // successor the same time; Chromium then throws video away up to the next keyframe.
    args.push("-movflags", "+empty_moov+default_base_moof", "-frag_duration", "1", "-flush_packets", "1", "-");
    const ffmpeg = spawn("ffmpeg", args, { stdio: ["ignore", "pipe", "inherit"] });
    this.ffmpeg = ffmpeg;
    let rest = Buffer.alloc(0);
    let head = [];
    let moof;
    ffmpeg.stdout.on("data", (data) => {
      if (this.ffmpeg !== ffmpeg) return;
      rest = Buffer.concat([rest, data]);
      while (rest.length >= 8 && rest.length >= rest.readUInt32BE(0)) {
        const box = rest.subarray(0, rest.readUInt32BE(0));
        const type = box.toString("latin1", 4, 8);
        rest = rest.subarray(box.length);
        if (type === "ftyp") head.push(box);
        else if (type === "moov") this.begin(Buffer.concat([...head, box]));
        else if (type === "moof") moof = box;
        else if (type === "mdat" && moof) this.fragment(Buffer.concat([moof, box]));
      }
    });
  }

  get mime() {
    const video = this.name.includes("hevc") ? "hvc1.1.6.L93.B0" : "avc1.64001e";
    const codecs = [...(this.video ? [video] : []), ...(this.audio ? ["mp4a.40.2"] : [])];
    return `video/mp4; codecs="${codecs.join(", ")}"`;
  }

  begin(init) {
    this.init = init;
    this.tracks = readInit(init);
    for (const socket of this.sockets) this.greet(socket, false);
  }

  greet(socket, resumed) {
    socket.send(JSON.stringify({ type: "init", mime: this.mime, resumed }));
    socket.send(this.init);
  }

  fragment(bytes) {
    this.shift(bytes);
    const [fragment] = readFragments(new Uint8Array(bytes), this.tracks);
    if (fragment.entry) {
      this.groups = [...this.groups, []].slice(-GROUPS_KEPT);
      this.stamp = Date.now();
    }
    const group = this.groups.at(-1);
    if (!group) return;
    const at = { group: this.stamp, timeline: this.timeline, index: group.length };
    const message = Buffer.concat([headOf(at), bytes]);
    group.push({ at, message });
    this.bytes = this.bytes * 0.99 + bytes.length;
    if (this.gone || Date.now() < this.waitUntil) return;
    if (this.held) {
      this.held.push(message);
      if (Date.now() < this.heldUntil) return;
      for (const late of this.held) this.send(late);
      this.held = undefined;
      return;
    }
    this.send(message);
  }

  /** ffmpeg's times begin at 0 whatever it is asked; adds this origin's start to each tfdt (version 1). */
  shift(bytes) {
    const end = bytes.readUInt32BE(0); // of the moof
    for (let traf = bytes.indexOf("traf"); traf > 0 && traf < end; traf = bytes.indexOf("traf", traf + 4)) {
      const track = this.tracks.get(bytes.readUInt32BE(bytes.indexOf("tfhd", traf) + 8));
      const at = bytes.indexOf("tfdt", traf) + 8;
      bytes.writeBigUInt64BE(bytes.readBigUInt64BE(at) + BigInt(Math.round(this.start * track.timescale)), at);
    }
  }

  send(message) {
    for (const socket of this.sockets) {
      if (Date.now() < socket.pop.muteUntil) continue;
      if (socket.behind) this.catchUp(socket);
      else socket.send(message);
    }
  }

  /** Sends what a socket lacks: everything after `after` as far as that is kept, else the newest group. */
  catchUp(socket) {
    const kept = this.groups.flat();
    const after = socket.after;
    const held = after ? kept.filter(({ at }) => !isAfter(at, after)).length : 0;
    const rest = held > 0 ? kept.slice(held) : (this.groups.at(-1) ?? []);
    if (!this.init || rest.length === 0) return;
    socket.behind = false;
    this.greet(socket, held > 0);
    for (const { message } of rest) socket.send(message);
  }

  watch(socket, pop, after) {
    Object.assign(socket, { pop, after, behind: true });
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
    if (this.gone) socket.send(JSON.stringify({ type: "waiting" }));
    else if (Date.now() >= pop.muteUntil) this.catchUp(socket);
  }

  break(fault) {
    switch (fault) {
      case "kick":
        for (const socket of this.sockets) socket.terminate();
        return true;
      case "jump":
        this.origin(Math.random() * 500_000);
        return true;
      case "resize":
        this.size = this.size === SIZES[0] ? SIZES[1] : SIZES[0];
        this.origin(Math.random() * 500_000);
        return true;
      case "garbage":
        for (const socket of this.sockets) socket.send(Buffer.from("this is no MP4, whatever it looks like"));
        return true;
      case "wait":
        this.waitUntil = Date.now() + 3000;
        for (const socket of this.sockets) socket.send(JSON.stringify({ type: "waiting" }));
        return true;
      case "gone":
      case "back":
        this.gone = fault === "gone";
        if (this.gone) for (const socket of this.sockets) socket.send(JSON.stringify({ type: "waiting" }));
        return true;
      case "lose":
        this.waitUntil = Date.now() + 1500;
        return true;
      case "pause":
        this.heldUntil = Date.now() + 1500;
        this.held = [];
        return true;
      case "refuse":
        for (const socket of this.sockets) {
          socket.send(JSON.stringify({ type: "error", message: `stream "${this.name}" was withdrawn` }));
          socket.close();
        }
        return true;
      default:
        return false;
    }
  }

  listing() {
    const [width, height] = this.size.split("x").map(Number);
    const tracks = this.video ? [{ id: 0, kind: "video", codec: this.name.includes("hevc") ? "hevc" : "h264", width, height }] : [];
    if (this.audio) tracks.push({ id: 1, kind: "audio", codec: "aac", sample_rate: 48_000, channels: 2 });
    const viewers = this.sockets.size;
    const carried = { bitrate_bps: 812_000, path: ["origin1", "relay2", "pop1"], tracks, newest_age_ms: 12 };
    return {
      name: this.name,
      state: viewers > 0 ? "watched" : "idle",
      viewers,
      origins: ["origin1"],
      ...(viewers > 0 ? carried : {}),
    };
  }
}

const streams = new Map(
  options.streams
    .split(",")
    .filter((name) => name !== "")
    .map((name, index) => [name, new Stream(name, index)]),
);

const mesh = new FakeMesh(streams);

const FILES = {
  "/": ["src/index.html", "text/html; charset=utf-8"],
  "/app.js": ["dist/app.js", "text/javascript; charset=utf-8"],
  "/player.js": ["dist/player.js", "text/javascript; charset=utf-8"],
  "/plots.js": ["dist/plots.js", "text/javascript; charset=utf-8"],
  "/app.css": ["dist/app.css", "text/css; charset=utf-8"],
};

const answers = { "access-control-allow-origin": "*", "cache-control": "no-store" };

class Pop {
  constructor(name, port) {
    this.name = name;
    this.port = port;
    this.downUntil = 0;
    this.muteUntil = 0;
    this.pingMs = 0;
    this.server = createServer((request, response) => void this.answer(request, response));
    this.server.on("upgrade", (request, socket, head) => this.upgrade(request, socket, head));
  }

  get isDown() {
    return Date.now() < this.downUntil;
  }

  break(fault) {
    if (fault === "down") {
      this.downUntil = Date.now() + 4000;
      for (const follower of mesh.followers) follower.destroy();
      for (const { sockets } of streams.values()) for (const socket of sockets) if (socket.pop === this) socket.terminate();
    } else if (fault === "mute") this.muteUntil = Date.now() + 3000;
    else if (fault === "far") this.pingMs = 80;
    else if (fault === "near") this.pingMs = 0;
    else return false;
    return true;
  }

  async answer(request, response) {
    if (this.isDown) return request.socket.destroy();
    const url = new URL(request.url, "http://node");
    const path = url.pathname;
    const file = FILES[path];
    if (file) {
      response.writeHead(200, { "content-type": file[1], "cache-control": "no-cache" });
      return response.end(await readFile(new URL(`../${file[0]}`, import.meta.url)));
    }
    if (path === "/api/v1/ping") {
      await new Promise((resolve) => setTimeout(resolve, this.pingMs));
      response.writeHead(204, answers);
      return response.end();
    }
    const json = this.json(url);
    if (json) {
      response.writeHead(200, { ...answers, "content-type": "application/json" });
      return response.end(JSON.stringify(json));
    }
    // The mesh around the PoPs is told of by the first one.
    if (this === pops[0] && (await mesh.answer(request, response, url))) return undefined;
    const [, place, name, fault, node] = path.split("/");
    if (request.method === "POST" && place === "fake" && name === "mesh" && mesh.fault(fault, node)) {
      return response.end(`${fault} ${node}\n`);
    }
    const broken = streams.get(name) ?? pops.find((pop) => pop.name === name);
    if (request.method === "POST" && place === "fake" && broken?.break(fault)) return response.end(`${name}: ${fault}\n`);
    response.writeHead(404);
    return response.end("not found\n");
  }

  json({ pathname: path, searchParams }) {
    if (path === "/api/v1/streams" && this !== pops[0]) return { node: this.name, streams: [...streams.values()].map((s) => s.listing()) };
    if (path === "/api/v1/pops" && searchParams.has("stream")) return { node: this.name, pops: this.known() };
    if (path === "/api/v1/pops" && this !== pops[0]) return { node: this.name, pops: this.known() };
    if (path.startsWith("/api/v1/trace/")) return { hops: [{ node: "origin1" }, { node: "relay2" }, { node: this.name }] };
    return undefined;
  }

  /** All that live, with its own viewers. */
  known() {
    const entry = (pop) => ({
      name: pop.name,
      http: `http://127.0.0.1:${pop.port}`,
      stream_metric_us: 12_000,
      viewers: pop === this ? [...streams.values()].flatMap(({ sockets }) => [...sockets]).filter((socket) => socket.pop === pop).length : null,
      viewers_max: pop === this ? 10_000 : null,
      load: 0,
      reachable: true,
    });
    return pops.filter((pop) => !pop.isDown).map(entry);
  }

  upgrade(request, socket, head) {
    const url = new URL(request.url, "http://node");
    const name = /^\/live\/([^/]+)\.ws$/.exec(url.pathname)?.[1];
    if (!name || this.isDown) return socket.destroy();
    return sockets.handleUpgrade(request, socket, head, (connection) => {
      const wanted = decodeURIComponent(name);
      // Whatever is published here shows what the first stream shows.
      const stream = streams.get(wanted) ?? (mesh.published.has(wanted) ? [...streams.values()][0] : undefined);
      if (stream) return stream.watch(connection, this, parsePosition(url.searchParams.get("after")));
      connection.send(JSON.stringify({ type: "error", message: `no stream named "${name}"` }));
      return connection.close();
    });
  }
}

const sockets = new WebSocketServer({ noServer: true });
const port = Number(options.port);
const pops = Array.from({ length: Number(options.pops) }, (_, at) => new Pop(`pop${at + 1}`, port + at));
await Promise.all(pops.map((pop) => new Promise((resolve) => pop.server.listen(pop.port, "127.0.0.1", resolve))));
mesh.base = `http://127.0.0.1:${port}`;
console.log(`${pops.length} PoPs from http://127.0.0.1:${port}/ on with ${[...streams.keys()].join(", ") || "no streams"}`);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    for (const stream of streams.values()) stream.ffmpeg.kill("SIGKILL");
    process.exit(0);
  });
}
