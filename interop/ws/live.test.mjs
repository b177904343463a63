// The client of this repository against the example `live`: `LIVE_URL` says where it is.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import WebSocket from "ws";

import { connect } from "../../clients/js/nexios.js";

const URL = process.env.LIVE_URL;
const clients = [];

function start(name, options = {}) {
  const client = connect(`${URL}?name=${name}`, { json: true, WebSocket, ...options });
  clients.push(client);
  return client;
}

/** What an emitter tells, one after another: `await told()`. */
function told(emitter, ...events) {
  const queue = [];
  let wake = () => {};
  for (const event of events) emitter.on(event, (...values) => (queue.push([event, ...values]), wake()));
  return async () => {
    while (!queue.length) await new Promise((resolve) => (wake = resolve));
    return queue.shift();
  };
}

afterEach(() => clients.splice(0).forEach((client) => client.close()));

test("a room with history goes on where the client was", async () => {
  const [ann, bob] = [start("ann"), start("bob")];
  const [next, bobNext] = [told(ann.room("news"), "joined", "message"), told(bob.room("news"), "joined")];
  assert.deepEqual(await next(), ["joined", { recovered: false, hasHistory: true }]);
  await bobNext();
  const { position } = await bob.room("news").publish("first");
  assert.match(position, /^[0-9a-f]+-\d+-[0-9a-f]{32}$/);
  assert.equal((await next())[1], "first");
  ann.drop({ away: true });
  for (const text of ["one", "two", "three"]) await bob.room("news").publish(text);
  ann.reconnect();
  assert.deepEqual(await next(), ["joined", { recovered: true, hasHistory: true }]);
  await bob.room("news").publish("last");
  const messages = [await next(), await next(), await next(), await next()];
  assert.deepEqual(messages.map(([, text]) => text), ["one", "two", "three", "last"]);
  const offsets = messages.map(([, , { offset }]) => offset);
  assert.deepEqual(offsets, [0, 1, 2, 3].map((number) => offsets[0] + number));
});

test("one key is stored once", async () => {
  const ann = start("ann");
  await told(ann.room("news"), "joined")();
  const next = told(ann.room("news"), "message");
  const published = [];
  for (let time = 0; time < 2; time++) published.push(await ann.room("news").publish("once", { key: "k1" }));
  assert.deepEqual(published[0].position, published[1].position);
  assert.deepEqual(published.map(({ duplicate = false }) => duplicate), [false, true]);
  await ann.room("news").publish("after");
  assert.deepEqual([(await next())[1], (await next())[1]], ["once", "after"]);
});

test("rooms are asked for, published to, left and refused", async () => {
  const ann = start("ann");
  const room = ann.room("chat-1");
  const next = told(room, "joined", "message", "left");
  await room.join();
  assert.deepEqual(await next(), ["joined", { recovered: false, hasHistory: false }]);
  await room.publish({ text: "hello" });
  assert.deepEqual(await next(), ["message", { text: "hello" }, { offset: undefined }]);
  await room.leave();
  assert.deepEqual(await next(), ["left", {}]);
  await assert.rejects(room.publish("x"), { code: "forbidden" });
  await assert.rejects(ann.room("secret").join(), { code: "forbidden" });
});

test("a room that was asked for is asked for again", async () => {
  const ann = start("ann");
  const room = ann.room("chat-2");
  await room.join();
  const next = told(room, "joined");
  ann.drop({ away: true });
  ann.reconnect();
  assert.deepEqual(await next(), ["joined", { recovered: false, hasHistory: false }]);
});

test("requests are answered, or refused with the application's code", async () => {
  const ann = start("ann");
  assert.equal(await ann.request("divide", [1, 2]), 0.5);
  await assert.rejects(ann.request("divide", [1, 0]), { code: "by_zero", message: "cannot divide by 0" });
  await assert.rejects(ann.request("multiply", [1, 2]), { code: "not_found" });
  await assert.rejects(ann.request("divide", new TextEncoder().encode("no JSON")), { code: "invalid" });
});

test("who comes and goes is told", async () => {
  const ann = start("ann");
  const room = ann.room("news");
  await told(room, "joined")();
  const next = told(room, "presence");
  while (!(await room.presence()).some(({ user }) => user === "ann"));
  const bob = start("bob");
  while ((await next())[1].user !== "bob");
  assert.deepEqual((await room.presence()).find(({ user }) => user === "bob"), { user: "bob", data: { since: "today" } });
  bob.close();
  let change;
  do [, change] = await next();
  while (change.user !== "bob");
  assert.equal(change.event, "leave");
});

test("an application's close parks the client, and says why", async () => {
  const ann = start("ann");
  await told(ann, "open")();
  const next = told(ann, "close", "message");
  ann.send({ any: "value" });
  assert.deepEqual(await next(), ["message", { any: "value" }]);
  ann.send("close");
  assert.deepEqual(await next(), ["close", { code: 4000, reason: "enough", retry: false, kind: "application" }]);
  assert.equal(ann.state, "parked");
});
