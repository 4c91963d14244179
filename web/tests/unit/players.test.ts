import assert from "node:assert/strict";
import { test } from "node:test";
import { close, full, play, playing } from "../../src/console/players";
import { PLAYERS_MAX } from "../../src/hash";

test("as many play as the page takes; one more is said to be too many until one is closed", () => {
  for (let n = 1; n < PLAYERS_MAX; n += 1) play(`cam${n}`);
  assert.equal(full.value, false);
  play("last");
  assert.equal(full.value, true);
  play("one more");
  assert.ok(!playing.value.includes("one more") && playing.value.length === PLAYERS_MAX);
  close("cam3");
  assert.equal(full.value, false);
  play("one more");
  assert.equal(playing.value.at(-1), "one more");
});
