// Writes an MPEG transport stream to standard output, in real time, whose pictures are stamped with the time at which
// they were made: milliseconds, modulo 2^BITS, as the bars of barcode.mjs.
//
//     node tests/stamps.mjs [--fps 25] | levada publish - --as cam

import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { BAR, BITS } from "./barcode.mjs";

const { values: options } = parseArgs({ options: { fps: { type: "string", default: "25" } } });
const fps = Number(options.fps);
const [width, height] = [BITS * BAR, 160];

const picture = ["-f", "rawvideo", "-pix_fmt", "gray", "-video_size", `${width}x${height}`, "-framerate", `${fps}`];
const encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", `${fps}`, "-pix_fmt", "yuv420p"];
// With the length of each picture's packet, its end is known when it is here, and not only when the next one begins.
const stream = ["-f", "mpegts", "-omit_video_pes_length", "0", "-muxdelay", "0", "-muxpreload", "0", "-flush_packets", "1", "pipe:1"];
const args = ["-v", "error", "-probesize", "32", "-fflags", "nobuffer", ...picture, "-i", "pipe:0", ...encoder, ...stream];
const ffmpeg = spawn("ffmpeg", args, { stdio: ["pipe", "inherit", "inherit"] });
ffmpeg.on("exit", () => process.exit());
ffmpeg.stdin.on("error", () => process.exit());

const frame = Buffer.alloc(width * height, 90);
const began = Date.now();
let made = 0;
make();

function make() {
  const stamp = Date.now() % 2 ** BITS;
  for (let row = 0; row < 2 * BAR; row++) {
    for (let bit = 0; bit < BITS; bit++) {
      const light = ((stamp >> bit) & 1) !== Math.floor(row / BAR);
      frame.fill(light ? 235 : 16, row * width + bit * BAR, row * width + (bit + 1) * BAR);
    }
  }
  ffmpeg.stdin.write(frame);
  made += 1;
  setTimeout(make, Math.max(0, began + (made * 1000) / fps - Date.now()));
}
