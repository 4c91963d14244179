// Bundles both pages into dist/, three files each, which the binary embeds. Nothing is loaded from elsewhere.

import { copyFile, mkdir, stat } from "node:fs/promises";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url).pathname;

await mkdir(here("dist"), { recursive: true });
await build({
  entryPoints: [here("src/app.tsx"), here("src/app.css"), here("src/lab/lab.tsx"), here("src/lab/lab.css")],
  outdir: here("dist"),
  entryNames: "[name]",
  bundle: true,
  minify: true,
  format: "iife",
  // The oldest browsers with everything the player needs; Safari on the iPhone has ManagedMediaSource since 17.1.
  target: ["chrome100", "firefox100", "safari15.4"],
  legalComments: "none",
  logLevel: "warning",
});
await copyFile(here("src/index.html"), here("dist/index.html"));
await copyFile(here("src/lab/lab.html"), here("dist/lab.html"));

for (const name of ["index.html", "app.js", "app.css", "lab.html", "lab.js", "lab.css"]) {
  const { size } = await stat(here(`dist/${name}`));
  console.log(`dist/${name}  ${(size / 1024).toFixed(1)} KiB`);
}
