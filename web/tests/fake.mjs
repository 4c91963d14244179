// Starts the fake node (fake-node.mjs) for a test, on ports that nobody has.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

/** `base` is the page's address; `fault("NAME/kick")` does what /fake/NAME/kick stands for. */
export async function startFake(streams, pops = 1) {
  const port = await freePorts(pops);
  const script = new URL("fake-node.mjs", import.meta.url).pathname;
  const args = [script, "--port", String(port), "--streams", streams.join(","), "--pops", String(pops)];
  const node = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(node, "exit").then(() => Promise.reject(new Error("the fake node did not start")));
  await Promise.race([once(node.stdout, "data"), ended]);
  ended.catch(() => undefined);
  const base = `http://127.0.0.1:${port}/`;
  return { base, stop: () => node.kill("SIGTERM"), fault: (path) => fetch(`${base}fake/${path}`, { method: "POST" }) };
}

/** The first of as many free ports in a row. */
async function freePorts(count) {
  for (;;) {
    const first = await freeFrom(0);
    const rest = await Promise.all(Array.from({ length: count - 1 }, (_, at) => freeFrom(first + at + 1).catch(() => undefined)));
    if (!rest.includes(undefined)) return first;
  }
}

async function freeFrom(port) {
  const server = createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  const taken = server.address().port;
  server.close();
  await once(server, "close");
  return taken;
}
