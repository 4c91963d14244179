import assert from "node:assert/strict";
import { test } from "node:test";
import * as store from "../../src/console/store";

test("figures and PoPs go on after a node that stood still answers again", async (context) => {
  const page = Object.assign(new EventTarget(), { baseURI: "http://node/", hidden: false });
  Object.assign(globalThis, { window: globalThis, document: page, addEventListener: () => undefined });
  context.mock.timers.enable({ apis: ["setTimeout"] });
  // Node's mock knows nothing of this one.
  context.mock.method(AbortSignal, "timeout", (ms: number) => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(), ms);
    return abort.signal;
  });
  const events = new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode(": hello\n\n")) });
  const asked: string[] = [];
  context.mock.method(globalThis, "fetch", (url: URL, { signal }: RequestInit) => {
    if (url.pathname.endsWith("/events")) return Promise.resolve(new Response(events));
    asked.push(url.pathname);
    return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  });
  const pass = async (seconds: number): Promise<void> => {
    for (let half = 0; half < 2 * seconds; half += 1) {
      context.mock.timers.tick(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  store.start();
  await pass(4);
  assert.equal(store.connection.value, "all");
  await pass(16);
  for (const path of ["/api/v1/history", "/api/v1/pops"]) {
    const times = asked.filter((one) => one === path).length;
    assert.ok(times >= 2, `${path} was asked for ${times} times`);
  }
});
