import assert from "node:assert/strict";
import { test } from "node:test";
import { formatHash, PLAYERS_MAX, parseHash } from "../../src/hash";

test("names survive the way through the address", () => {
  const names = ["cam1", "studio a", "50%", "x,y", "ü&#="];
  assert.deepEqual(parseHash(formatHash(names)), names);
});

test("no names make no hash", () => {
  assert.equal(formatHash([]), "");
  assert.deepEqual(parseHash(""), []);
  assert.deepEqual(parseHash("#play="), []);
});

test("a hand-written hash is read with mercy", () => {
  assert.deepEqual(parseHash("#play=cam1,,cam1,%ZZ,cam2&theme=x"), ["cam1", "cam2"]);
  assert.deepEqual(parseHash("#streams"), []);
});

test("a link cannot open any number of players", () => {
  const many = Array.from({ length: 100 }, (_, index) => `cam${index}`);
  assert.equal(parseHash(formatHash(many)).length, PLAYERS_MAX);
});
