// Imports TypeScript in plain Node: bundles the files into node_modules/.cache and returns where they are.

import { mkdir } from "node:fs/promises";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

const cache = new URL("../node_modules/.cache/levada/", import.meta.url).pathname;

/** Bundles each file for itself; returns the paths of the results, in the same order. */
export async function bundle(files) {
  await mkdir(cache, { recursive: true });
  await build({
    entryPoints: files,
    outdir: cache,
    bundle: true,
    platform: "node",
    format: "esm",
    outExtension: { ".js": ".mjs" },
    outbase: new URL("..", import.meta.url).pathname,
    entryNames: "[name]",
    sourcemap: "inline",
    logLevel: "warning",
  });
  return files.map((file) => `${cache}${basename(file, ".ts")}.mjs`);
}

export async function load(file) {
  const [path] = await bundle([new URL(file, import.meta.url).pathname]);
  return import(pathToFileURL(path).href);
}
