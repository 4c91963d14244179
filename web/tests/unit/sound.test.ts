import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock } from "../../src/media/direct/clock";
import { Sound } from "../../src/media/direct/sound";

/** As much of an AudioContext as sound needs; it runs a while after it was asked to, as in a browser. */
class FakeContext extends EventTarget {
  state = "suspended";
  readonly destination = {};

  createGain(): object {
    return { gain: { value: 1 }, connect: () => undefined };
  }

  resume(): Promise<void> {
    return this.#become("running");
  }

  close(): Promise<void> {
    return this.#become("closed");
  }

  async #become(state: string): Promise<void> {
    await undefined;
    this.state = state;
    this.dispatchEvent(new Event("statechange"));
  }
}

class FakeDecoder {
  state = "unconfigured";
  configure(): void {}
  close(): void {}
}

test("that sound may be heard is told when it may, which is later than the tap, and not once it is closed", async () => {
  Object.assign(globalThis, { AudioContext: FakeContext, AudioDecoder: FakeDecoder });
  const blocked: boolean[] = [];
  const facts = { track: 1, codec: "mp4a.40.2", sampleRate: 48_000, channels: 2, description: new Uint8Array() };
  const failed = (why: string): void => assert.fail(why);
  const sound: Sound = new Sound(facts, new Clock(), failed, () => blocked.push(sound.blocked));
  assert.equal(sound.blocked, true);
  sound.resume();
  assert.deepEqual(blocked, []);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(blocked, [false]);
  sound.close();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(blocked, [false], "whoever plays now is another one");
});
