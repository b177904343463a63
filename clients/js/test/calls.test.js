import assert from "node:assert/strict";
import { test } from "node:test";

import { NexiosError } from "../nexios.js";
import { opened, position, recorded, settled, start } from "./server.js";

test("a publish is acknowledged with its position", async (t) => {
  const { client, connection } = opened(t);
  const publishing = client.room("r").publish({ text: "hi" }, { key: "k1" });
  const publish = connection.take();
  assert.deepEqual(publish, { type: "publish", id: publish.id, room: "r", key: "k1", payload: '{"text":"hi"}' });
  connection.say({ type: "ack", id: publish.id, position: position(7) });
  assert.deepEqual(await publishing, { key: "k1", position: position(7), duplicate: false });
});

test("bytes are published as bytes", (t) => {
  const { client, connection } = opened(t);
  client.room("r").publish(new Uint8Array([9, 0x1e, 0x0a]).subarray(1)).catch(() => {});
  assert.deepEqual(connection.take().payload, Buffer.from([0x1e, 0x0a]));
});

test("a publish without a key gets one of its own", (t) => {
  const { client, connection } = opened(t);
  for (const data of ["a", "b"]) client.room("r").publish(data).catch(() => {});
  const [{ key: one }, { key: other }] = connection.takeAll();
  assert.notEqual(one, other);
  assert.ok(one.length >= 16 && one.length <= 128);
});

test("what has no ack is published again after a reconnect, with the same key and in order", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const room = client.room("r");
  const results = ["a", "b", "c"].map((data) => room.publish(data));
  const first = connection.takeAll();
  connection.say({ type: "ack", id: first[0].id });
  connection.cut();
  results.push(room.publish("d"));
  tick(300);
  server.newest.welcome();
  const again = server.newest.takeAll();
  assert.deepEqual(again.map(({ payload }) => payload), ["b", "c", "d"]);
  assert.deepEqual(again.map(({ key }) => key).slice(0, 2), [first[1].key, first[2].key]);
  again.forEach(({ id }) => server.newest.say({ type: "ack", id }));
  await Promise.all(results);
});

test("rooms are joined again before what was not published", (t) => {
  const { server, client, connection, tick } = opened(t);
  client.room("r").publish("a").catch(() => {});
  client.room("r").join().catch(() => {});
  connection.cut();
  tick(300);
  server.newest.welcome();
  assert.deepEqual(server.newest.takeAll().map(({ type }) => type), ["join", "publish"]);
});

test("a publish is not repeated where its key may be forgotten", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const publishing = client.room("r").publish("a");
  client.drop({ away: true });
  tick(300_001);
  client.reconnect();
  server.newest.welcome();
  await assert.rejects(publishing, { code: "expired" });
  assert.deepEqual(server.newest.sent, []);
  assert.equal(connection.take().type, "publish");
});

test("a refused publish rejects with the server's code", async (t) => {
  const { client, connection } = opened(t);
  const publishing = client.room("r").publish("a");
  connection.say({ type: "error", id: connection.take().id, code: "unavailable", message: "the broker is away" });
  const error = await publishing.catch((error) => error);
  assert.ok(error instanceof NexiosError && error instanceof Error);
  assert.equal(error.code, "unavailable");
});

test("a request is replied, in any order", async (t) => {
  const { client, connection } = opened(t);
  const results = [client.request("one", [1]), client.request("two"), client.request("three", new Uint8Array([3]))];
  const asked = connection.takeAll();
  assert.deepEqual(asked.map(({ method }) => method), ["one", "two", "three"]);
  assert.deepEqual(asked.map(({ payload }) => payload), ["[1]", undefined, Buffer.from([3])]);
  for (const [index, { id }] of [...asked.entries()].reverse()) connection.say({ type: "reply", id }, `r${index}`);
  assert.deepEqual(await Promise.all(results), ["r0", "r1", "r2"]);
});

test("with json an argument and a reply are values", async (t) => {
  const { client, connection } = opened(t, { json: true });
  const asking = client.request("sum", [1, 2]);
  connection.say({ type: "reply", id: connection.take().id }, "3");
  assert.equal(await asking, 3);
  const empty = client.request("nothing");
  connection.say({ type: "reply", id: connection.take().id });
  assert.equal(await empty, "");
});

test("a request has a time limit", async (t) => {
  const { client, connection, tick } = opened(t);
  const short = client.request("slow", undefined, { timeout: 50 });
  const long = client.request("slow");
  tick(50);
  await assert.rejects(short, { code: "timeout" });
  const [{ id: late }, { id }] = connection.takeAll();
  connection.say({ type: "reply", id: late }, "too late");
  connection.say({ type: "reply", id }, "in time");
  assert.equal(await long, "in time");
});

test("a request whose connection ends is not repeated, one that was not sent waits", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const sent = client.request("pay");
  connection.cut();
  const waiting = client.request("balance");
  await assert.rejects(sent, { code: "disconnected" });
  tick(300);
  server.newest.welcome();
  const { id, method } = server.newest.take();
  assert.equal(method, "balance");
  server.newest.say({ type: "reply", id }, "0");
  assert.equal(await waiting, "0");
});

test("answers to nothing are ignored", (t) => {
  const { client, connection } = opened(t);
  for (const id of [99, 2 ** 40]) {
    for (const type of ["ack", "reply", "error"]) connection.say({ type, id, code: "failed", message: "" });
  }
  assert.equal(client.state, "open");
});

test("at most 256 are unanswered, the others wait", async (t) => {
  const { client, connection } = opened(t);
  const results = Array.from({ length: 300 }, (_, number) => client.room("r").publish(`${number}`));
  assert.equal(connection.sent.length, 256);
  for (let answered = 0; answered < 300; answered++) {
    connection.say({ type: "ack", id: connection.take().id });
    await settled();
  }
  assert.equal((await Promise.all(results)).length, 300);
});

test("what waits is bounded in number and in bytes", async (t) => {
  const { client } = start(t);
  const room = client.room("r");
  const waiting = Array.from({ length: 1000 }, () => room.publish("x").catch((error) => error.code));
  await assert.rejects(room.publish("one more"), { code: "busy" });
  client.close();
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["closed"]));
});

test("what waits has its limit in bytes", async (t) => {
  const { client } = start(t);
  const room = client.room("r");
  for (const _ of [1, 2]) room.publish("x".repeat(9 << 20)).catch(() => {});
  await assert.rejects(client.request("m"), { code: "busy" });
});

test("a header that is too long fails at once", async (t) => {
  const { client, connection } = opened(t);
  await assert.rejects(client.request("ü".repeat(2048)), RangeError);
  await assert.rejects(client.room("r").publish("x", { key: "k".repeat(4096) }), RangeError);
  assert.deepEqual(connection.sent, []);
});

test("after close everything is refused", async (t) => {
  const { client } = opened(t);
  const waiting = client.request("m");
  client.close();
  await assert.rejects(waiting, { code: "closed" });
  await assert.rejects(client.request("m"), { code: "closed" });
  await assert.rejects(client.room("r").publish("x"), { code: "closed" });
  await assert.rejects(client.room("r").join(), { code: "closed" });
});

test("presence is asked for, then told", async (t) => {
  const { client, connection } = opened(t);
  const room = client.room("r");
  const told = recorded(room, "presence");
  connection.say({ type: "joined", room: "r" });
  const asking = room.presence();
  const ask = connection.take();
  assert.deepEqual(ask, { type: "presence", id: ask.id, room: "r" });
  connection.say({ type: "reply", id: ask.id }, '[{"user":"ann","data":{"x":1}}]');
  assert.deepEqual(await asking, [{ user: "ann", data: { x: 1 } }]);
  connection.say({ type: "presence", room: "r", event: "join", user: "bob", data: 2 });
  connection.say({ type: "presence", room: "r", event: "leave", user: "bob", data: 2 });
  assert.deepEqual(told, [
    ["presence", { event: "join", user: "bob", data: 2 }],
    ["presence", { event: "leave", user: "bob", data: 2 }],
  ]);
});

test("presence that was asked for is asked for again after a reconnect", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const room = client.room("r");
  const told = recorded(room, "presence");
  connection.say({ type: "joined", room: "r" });
  const asking = room.presence();
  connection.say({ type: "reply", id: connection.take().id }, "[]");
  await asking;
  connection.cut();
  tick(300);
  server.newest.welcome();
  server.newest.say({ type: "joined", room: "r" });
  server.newest.say({ type: "reply", id: server.newest.take().id }, '[{"user":"ann"}]');
  await settled();
  assert.deepEqual(told, [["presence", { event: "state", users: [{ user: "ann" }] }]]);
});
