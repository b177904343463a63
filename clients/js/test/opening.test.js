import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../nexios.js";
import { opened, recorded, settled, start } from "./server.js";

test("the first thing said is hello, and welcome opens", (t) => {
  const { client, connection } = start(t, { userAgent: "test/1" });
  const told = recorded(client, "open");
  assert.equal(client.state, "connecting");
  assert.deepEqual(connection.protocols, ["nexios.v1"]);
  connection.accept();
  assert.deepEqual(connection.takeAll(), [{ type: "hello", user_agent: "test/1", rooms: {} }]);
  assert.equal(client.state, "connecting");
  connection.say({ type: "welcome", id: "c7", retry_ms: [1, 2] });
  assert.equal(client.state, "open");
  assert.equal(client.id, "c7");
  assert.deepEqual(told, [["open", { id: "c7" }]]);
});

test("further protocols carry a token, and may be made anew for each attempt", async (t) => {
  let tokens = 0;
  const { server, tick } = start(t, { protocols: async () => ["bearer", `token${++tokens}`] });
  await settled();
  assert.deepEqual(server.newest.protocols, ["nexios.v1", "bearer", "token1"]);
  server.newest.cut();
  tick(1500);
  await settled();
  assert.deepEqual(server.newest.protocols, ["nexios.v1", "bearer", "token2"]);
});

test("where the protocols cannot be had it is said, and tried again", async (t) => {
  let attempts = 0;
  const protocols = () => (attempts++ ? ["x"] : Promise.reject(new Error("no token")));
  const { server, errors, client, tick } = start(t, { protocols });
  await settled();
  assert.deepEqual(errors.map(String), ["Error: no token"]);
  assert.equal(client.state, "reconnecting");
  tick(1500);
  await settled();
  assert.deepEqual(server.newest.protocols, ["nexios.v1", "x"]);
});

test("a server that does not speak nexios.v1 parks the client", (t) => {
  const { client, connection } = start(t, { protocols: ["bearer", "x"] });
  const told = recorded(client, "close", "parked");
  connection.accept("bearer");
  const reason = "the server does not speak nexios.v1";
  assert.deepEqual(told, [
    ["close", { code: 1002, reason, retry: false, kind: "protocol" }],
    ["parked", { code: 1002, reason, kind: "protocol" }],
  ]);
  assert.deepEqual(connection.closedWith, { code: 4002, reason });
  assert.equal(client.state, "parked");
});

test("a server that says nothing is given up after ten seconds", (t) => {
  const { server, client, tick } = start(t);
  server.newest.accept();
  tick(9_999);
  assert.equal(client.state, "connecting");
  tick(1);
  assert.equal(client.state, "reconnecting");
  tick(1_500);
  assert.equal(server.connections.length, 2);
});

test("without a WebSocket it says how to pass one", (t) => {
  t.mock.property?.(globalThis, "WebSocket", undefined);
  assert.throws(() => connect("ws://test", { WebSocket: undefined }), /pass one as \{ WebSocket \}/);
});

test("what is wrong with the address is said at once", () => {
  class Refusing {
    constructor() {
      throw new SyntaxError("no URL");
    }
  }
  assert.throws(() => connect("::", { WebSocket: Refusing }), SyntaxError);
});

test("an application's messages pass both ways as they are", (t) => {
  const { client, connection } = opened(t);
  const told = recorded(client, "message");
  connection.sayRaw("plain");
  connection.sayRaw("");
  connection.sayRaw(Buffer.from([1, 2]));
  assert.deepEqual(told, [["message", "plain"], ["message", ""], ["message", new Uint8Array([1, 2]).buffer]]);
  assert.equal(client.send("text"), true);
  client.send({ a: 1 });
  client.send(new Uint8Array([0, 7, 8]).subarray(1));
  client.send(new ArrayBuffer(1));
  assert.deepEqual(connection.sent, ["text", '{"a":1}', new Uint8Array([7, 8]), new ArrayBuffer(1)]);
});

test("a message that looks like a frame is sent and received behind an empty header", (t) => {
  const { client, connection } = opened(t);
  const told = recorded(client, "message");
  client.send("\x1e{}\n");
  client.send(new Uint8Array([0x1e, 0xff]));
  assert.deepEqual(connection.sent[0], "\x1e\n\x1e{}\n");
  assert.deepEqual(connection.sent[1], new Uint8Array([0x1e, 0x0a, 0x1e, 0xff]));
  connection.sayRaw("\x1e\n\x1ex\n");
  connection.sayRaw(Buffer.from([0x1e, 0x0a, 0x1e, 0xff]));
  assert.deepEqual(told, [["message", "\x1ex\n"], ["message", new Uint8Array([0x1e, 0xff]).buffer]]);
});

test("with json every text is a value, both ways", (t) => {
  const { client, connection, errors } = opened(t, { json: true });
  const told = recorded(client, "message");
  client.send("text");
  client.send([1]);
  assert.deepEqual(connection.sent, ['"text"', "[1]"]);
  connection.sayRaw('"text"');
  connection.sayRaw('{"a":1}');
  connection.sayRaw("no json");
  connection.sayRaw(Buffer.from([1]));
  assert.deepEqual(told.map(([, value]) => value), ["text", { a: 1 }, new Uint8Array([1]).buffer]);
  assert.deepEqual(errors.map((error) => error.name), ["SyntaxError"]);
  assert.equal(client.state, "open");
});

test("what cannot go out now is not sent later", (t) => {
  const { client, connection, server } = start(t);
  assert.equal(client.send("early"), false);
  connection.welcome();
  assert.deepEqual(connection.sent, []);
  connection.socket.bufferedAmount = (16 << 20) + 1;
  assert.equal(client.send("much"), false);
  connection.cut();
  assert.equal(client.send("late"), false);
  assert.deepEqual(server.newest.sent, []);
});

test("a listener's error is told, and the others are called", async (t) => {
  const { client, connection, errors } = opened(t);
  const told = [];
  client.on("message", () => {
    throw new Error("thrown");
  });
  client.on("message", async () => {
    throw new Error("rejected");
  });
  const off = client.on("message", (text) => void told.push(text));
  connection.sayRaw("one");
  await settled();
  assert.deepEqual(told, ["one"]);
  assert.deepEqual(errors.map((error) => error.message), ["thrown", "rejected"]);
  off();
  connection.sayRaw("two");
  assert.deepEqual(told, ["one"]);
});
