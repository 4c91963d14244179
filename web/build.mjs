// Bundles the page into dist/ (committed, embedded in the binary), or the unit tests into build/.
import { build } from "esbuild";
import { copyFile, mkdir } from "node:fs/promises";

if (process.argv.includes("--tests")) {
  await build({
    entryPoints: ["src/latency.test.ts"],
    outdir: "build",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
  });
} else {
  await mkdir("dist", { recursive: true });
  await build({
    entryPoints: { app: "src/main.ts" },
    outdir: "dist",
    bundle: true,
    minify: true,
    target: "es2022",
    format: "esm",
  });
  await build({ entryPoints: { app: "src/app.css" }, outdir: "dist", minify: true });
  await copyFile("src/index.html", "dist/index.html");
}
