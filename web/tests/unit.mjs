// Runs the unit tests (unit/*.test.ts) with Node's own test runner.

import { spawnSync } from "node:child_process";
import { readdir } from "node:fs/promises";
import { bundle } from "./load.mjs";

const folder = new URL("unit/", import.meta.url).pathname;
const files = (await readdir(folder)).filter((name) => name.endsWith(".test.ts")).map((name) => folder + name);
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...(await bundle(files))], {
  stdio: "inherit",
});
process.exitCode = status ?? 1;
