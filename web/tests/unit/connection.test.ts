import assert from "node:assert/strict";
import { test } from "node:test";
import { type Socket, SocketConnection, socketUrl } from "../../src/media/connection";

class FakeSocket {
  binaryType: BinaryType = "blob";
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  closed = false;

  close(): void {
    this.closed = true;
  }

  say(data: unknown): void {
    this.onmessage?.call(this as unknown as WebSocket, { data } as MessageEvent);
  }

  die(): void {
    this.onclose?.call(this as unknown as WebSocket, {} as CloseEvent);
  }
}

function setup(): { socket: FakeSocket; said: string[]; connection: SocketConnection } {
  const socket = new FakeSocket();
  const said: string[] = [];
  const connection = new SocketConnection(socket as unknown as Socket, {
    init: (mime, bytes, resumed) => said.push(`init ${mime} ${bytes.byteLength} ${resumed}`),
    media: (at, bytes) => said.push(`media ${at.group}@${at.timeline}:${at.index} ${bytes.byteLength}`),
    waiting: () => said.push("waiting"),
    error: (message) => said.push(`error ${message}`),
    closed: () => said.push("closed"),
  });
  return { socket, said, connection };
}

function frame(group: bigint, timeline: bigint, index: number, length: number): ArrayBuffer {
  const message = new DataView(new ArrayBuffer(20 + length));
  message.setBigUint64(0, group);
  message.setBigUint64(8, timeline);
  message.setUint32(16, index);
  return message.buffer;
}

test("messages are told apart by what came before, and frames have positions", () => {
  const { socket, said } = setup();
  socket.say(JSON.stringify({ type: "init", mime: "video/mp4", resumed: true }));
  socket.say(new ArrayBuffer(10));
  socket.say(frame(1_700_000_000_000n, 1_700_000_000_000_000n, 7, 5));
  socket.say(JSON.stringify({ type: "init", mime: "video/webm" }));
  socket.say(new ArrayBuffer(12));
  socket.say(JSON.stringify({ type: "waiting" }));
  socket.say(JSON.stringify({ type: "something newer" }));
  socket.say("no JSON");
  socket.say(JSON.stringify({ type: "error", message: "withdrawn" }));
  socket.die();
  assert.deepEqual(said, [
    "init video/mp4 10 true",
    "media 1700000000000@1700000000000000:7 5",
    "init video/webm 12 false",
    "waiting",
    "error withdrawn",
    "closed",
  ]);
});

test("what is too short for a position ends the connection", () => {
  const { socket, said } = setup();
  socket.say(new ArrayBuffer(19));
  assert.deepEqual(said, ["closed"]);
  assert.ok(socket.closed);
});

test("a connection that was closed says nothing more", () => {
  const { socket, said, connection } = setup();
  connection.close();
  socket.say(JSON.stringify({ type: "waiting" }));
  socket.die();
  assert.deepEqual(said, []);
});

test("a stream's address at a PoP", () => {
  assert.equal(socketUrl("http://p1:80/", "cam 1", undefined), "ws://p1/live/cam%201.ws");
  const after = { group: 5n, timeline: 7n, index: 9 };
  assert.equal(socketUrl("https://p1/tv/", "cam1", after), "wss://p1/tv/live/cam1.ws?after=5%407%3A9");
});
