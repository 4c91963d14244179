// Bundles scripts and styles of both pages into dist/; the binary embeds them, and the pages as they stand in src/. Nothing is
// loaded from elsewhere.

import { mkdir, readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const kib = (bytes) => (bytes.length / 1024).toFixed(1);
const here = (path) => new URL(path, import.meta.url).pathname;

await mkdir(here("dist"), { recursive: true });
const common = {
  outdir: here("dist"),
  entryNames: "[name]",
  bundle: true,
  minify: true,
  // The oldest browsers with everything the player needs; Safari on the iPhone has ManagedMediaSource since 17.1.
  target: ["chrome100", "firefox100", "safari15.4"],
  legalComments: "none",
  logLevel: "warning",
};
// What the console loads when it is wanted, the player and the plots, are files of their own. They share nothing with it: a page may be older than
// the node that it asks for them.
const entryPoints = {
  app: here("src/app.tsx"),
  player: here("src/ui/card.ts"),
  plots: "uplot",
};
await build({ ...common, entryPoints, format: "esm" });
await build({ ...common, entryPoints: [here("src/app.css"), here("src/lab/lab.tsx"), here("src/lab/lab.css")], format: "iife" });

for (const name of ["app.js", "player.js", "plots.js", "app.css", "lab.js", "lab.css"]) {
  const bytes = await readFile(here(`dist/${name}`));
  console.log(`dist/${name}  ${kib(bytes)} KiB, ${kib(gzipSync(bytes))} gzipped`);
}
