// Bundles scripts and styles of both pages into dist/; the binary embeds them, and the pages as they stand in src/. Nothing is
// loaded from elsewhere.

import { mkdir, stat } from "node:fs/promises";
import { build } from "esbuild";

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
// What the console loads later (plots) is a file of its own.
await build({
  ...common,
  entryPoints: [here("src/app.tsx"), here("src/app.css")],
  format: "esm",
  splitting: true,
  chunkNames: "plots",
});
await build({ ...common, entryPoints: [here("src/lab/lab.tsx"), here("src/lab/lab.css")], format: "iife" });

for (const name of ["app.js", "plots.js", "app.css", "lab.js", "lab.css"]) {
  const { size } = await stat(here(`dist/${name}`));
  console.log(`dist/${name}  ${(size / 1024).toFixed(1)} KiB`);
}
