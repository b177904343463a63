import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../nexios.js";
import { opened, position, recorded, settled, start } from "./server.js";

const RETRIED = {
  0: "lost", 1001: "going-away", 1002: "protocol", 1003: "invalid-data", 1005: "lost", 1006: "lost",
  1007: "invalid-data", 1008: "policy", 1009: "too-big", 1011: "server-error", 1012: "restart", 1014: "bad-gateway",
  1015: "unknown",
};
const FINAL = { 1000: "normal", 1010: "unknown", 3000: "application", 4999: "application" };

for (const [code, kind] of Object.entries(RETRIED)) {
  test(`${code} is worth another attempt, within the server's window`, (t) => {
    const { server, client, connection, tick } = opened(t);
    const told = recorded(client, "close", "reconnecting", "open");
    connection.close(Number(code), "why");
    assert.equal(client.state, "reconnecting");
    tick(199);
    assert.equal(server.connections.length, 1);
    tick(1);
    server.newest.welcome({ id: "c2" });
    assert.deepEqual(told, [
      ["close", { code: Number(code), reason: "why", retry: true, kind }],
      ["reconnecting", { attempt: 1, delay: 200 }],
      ["open", { id: "c2" }],
    ]);
  });
}

for (const [code, kind] of Object.entries(FINAL)) {
  test(`${code} parks the client`, (t) => {
    const { server, client, connection, tick } = opened(t);
    const told = recorded(client, "close", "reconnecting", "parked");
    connection.close(Number(code));
    tick(100_000);
    assert.equal(client.state, "parked");
    assert.equal(server.connections.length, 1);
    assert.deepEqual(told, [
      ["close", { code: Number(code), reason: "", retry: false, kind }],
      ["parked", { code: Number(code), reason: "", kind }],
    ]);
    client.reconnect();
    assert.equal(server.connections.length, 2);
  });
}

test("1013 is worth another attempt after ten seconds at the earliest", (t) => {
  const { client, connection } = opened(t);
  const told = recorded(client, "close", "reconnecting");
  connection.close(1013);
  assert.equal(told[0][1].kind, "try-again-later");
  assert.deepEqual(told[1], ["reconnecting", { attempt: 1, delay: 10_200 }]);
});

test("each further attempt has twice the limit, up to thirty seconds", (t) => {
  const { server, client, tick } = opened(t);
  const delays = [];
  client.on("reconnecting", ({ delay }) => {
    delays.push(delay);
  });
  for (let attempt = 0; attempt < 9; attempt++) {
    server.newest.cut();
    tick(delays.at(-1));
  }
  assert.deepEqual(delays, [200, 750, 1500, 3000, 6000, 12_000, 22_500, 22_500, 22_500]);
  server.newest.welcome({ retry_ms: [0, 0] });
  tick(10_000);
  server.newest.cut();
  assert.equal(delays.at(-1), 0);
});

test("the first attempts have a window of their own", (t) => {
  const { client, server, tick } = start(t);
  const told = recorded(client, "reconnecting");
  server.newest.cut();
  tick(1000);
  server.newest.cut();
  assert.deepEqual(told.map(([, { delay }]) => delay), [1000, 2250]);
});

test("the whole window is used", (t) => {
  const { client, connection } = opened(t);
  const told = recorded(client, "reconnecting");
  t.mock.method(Math, "random", () => 0);
  connection.cut();
  assert.equal(told[0][1].delay, 100);
});

test("closing says when to come back, and why", (t) => {
  const { server, client, connection, tick } = opened(t);
  const told = recorded(client, "close", "reconnecting");
  connection.say({ type: "closing", code: 1012, reason: "rolling", retry_ms: [4_000, 8_000] });
  connection.cut();
  assert.deepEqual(told, [
    ["close", { code: 1012, reason: "rolling", retry: true, kind: "restart" }],
    ["reconnecting", { attempt: 1, delay: 6_000 }],
  ]);
  tick(6_000);
  assert.equal(server.connections.length, 2);
});

test("closing decides against the code: 4001 with a window comes back, 1012 without does not", (t) => {
  const { server, client, connection, tick } = opened(t);
  const told = recorded(client, "close");
  connection.say({ type: "closing", code: 4001, reason: "moved", retry_ms: [0, 0] });
  connection.close(4001, "moved");
  tick(0);
  server.newest.welcome();
  server.newest.say({ type: "closing", code: 1012, reason: "for good" });
  server.newest.close(1012, "for good");
  assert.deepEqual(told.map(([, { retry, kind }]) => [retry, kind]), [[true, "application"], [false, "restart"]]);
  assert.equal(client.state, "parked");
});

test("where no close follows a closing, the client ends it", (t) => {
  const { client, connection, tick } = opened(t);
  connection.say({ type: "closing", code: 1001, reason: "" });
  tick(10_000);
  assert.equal(client.state, "parked");
});

test("a window that is none is taken as the one before", (t) => {
  for (const retry_ms of [null, 5, [], [3, 1], [-1, 5], ["1", "x"], [0, 1e12]]) {
    const { client, connection } = opened(t, {}, { retry_ms });
    const told = recorded(client, "reconnecting");
    connection.cut();
    assert.equal(told[0][1].delay, 1000);
    t.mock.reset();
    t.mock.timers.reset();
  }
});

test("an error without a close is an end as well", (t) => {
  const { client, connection, tick } = opened(t);
  const told = recorded(client, "close");
  connection.socket.onerror({});
  tick(1000);
  connection.socket.onerror({});
  assert.deepEqual(told, [["close", { code: 1006, reason: "", retry: true, kind: "lost" }]]);
});

test("a dropped connection comes back, the cable pulled only when it is plugged in", (t) => {
  const { server, client, connection, tick } = opened(t);
  const told = recorded(client, "close");
  client.drop();
  assert.equal(connection.isOpen, false);
  assert.deepEqual(told, [["close", { code: 1006, reason: "dropped", retry: true, kind: "lost" }]]);
  connection.sayRaw("from a connection that is gone");
  tick(200);
  server.newest.welcome();
  client.drop({ away: true });
  tick(1_000_000);
  assert.equal(server.connections.length, 2);
  client.reconnect();
  server.newest.welcome();
  assert.equal(server.connections.length, 3);
  assert.equal(client.state, "open");
});

test("while it waits there is nothing to drop, but it can be told to stay away", (t) => {
  const { server, client, connection, tick } = opened(t);
  connection.cut();
  const told = recorded(client, "close", "reconnecting");
  client.drop();
  tick(199);
  client.drop({ away: true });
  tick(1_000_000);
  assert.deepEqual(told, []);
  client.reconnect();
  assert.equal(server.connections.length, 2);
});

test("reconnect does not wait, and changes nothing where the client is connected", (t) => {
  const { server, client, connection, tick } = opened(t);
  client.reconnect();
  connection.cut();
  client.reconnect();
  client.reconnect();
  assert.equal(server.connections.length, 2);
  server.newest.welcome();
  tick(100_000);
  assert.equal(server.connections.length, 2);
});

test("a browser that is online again is not waited for", (t) => {
  const target = new EventTarget();
  const of = (method) => target[method].bind(target);
  globalThis.addEventListener = of("addEventListener");
  globalThis.removeEventListener = of("removeEventListener");
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  const { server, client, connection } = opened(t);
  connection.cut();
  target.dispatchEvent(new Event("online"));
  assert.equal(server.connections.length, 2);
  client.close();
  target.dispatchEvent(new Event("online"));
  assert.equal(server.connections.length, 2);
});

test("close ends the client with the code given", (t) => {
  const { server, client, connection, tick } = opened(t);
  const told = recorded(client, "close");
  assert.throws(() => client.close(1002), RangeError);
  assert.equal(client.state, "open");
  client.close(4000, "enough");
  client.close();
  client.drop();
  client.reconnect();
  tick(100_000);
  assert.deepEqual(connection.closedWith, { code: 4000, reason: "enough" });
  assert.deepEqual(told, [["close", { code: 4000, reason: "enough", retry: false, kind: "application" }]]);
  assert.equal(server.connections.length, 1);
});

test("a client can be closed while it waits, and by a listener", (t) => {
  const { server, client, connection, tick } = opened(t);
  client.on("close", ({ retry }) => {
    if (retry) client.close();
  });
  connection.cut();
  tick(100_000);
  assert.equal(client.state, "closed");
  assert.equal(server.connections.length, 1);
});

test("silence is asked about where the server wants it, and more of it is the end", (t) => {
  const { client, connection, tick } = opened(t, {}, { ping_ms: 25_000 });
  const told = recorded(client, "close");
  tick(25_000); // the welcome was heard in it
  tick(25_000);
  assert.equal(connection.take().type, "ping");
  connection.say({ type: "ack", id: 1 });
  tick(25_000);
  tick(25_000);
  assert.equal(connection.take().type, "ping");
  tick(25_000);
  assert.deepEqual(told, [["close", { code: 1006, reason: "nothing was heard", retry: true, kind: "lost" }]]);
});

test("a connection that is gone is not asked", (t) => {
  const { server, client, connection, tick } = opened(t, {}, { ping_ms: 25_000 });
  client.drop({ away: true });
  for (let beats = 0; beats < 4; beats++) tick(25_000);
  client.reconnect();
  server.newest.welcome();
  for (let beats = 0; beats < 4; beats++) tick(25_000);
  assert.deepEqual([connection.sent, server.newest.sent], [[], []]);
});

test("without ping_ms nothing is asked", (t) => {
  const { connection, tick } = opened(t);
  tick(1_000_000);
  assert.deepEqual(connection.sent, []);
});

test("a room whose handler is far behind is fetched again, in order, with nothing lost or twice", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const told = [];
  let open;
  const promise = new Promise((resolve) => (open = resolve));
  client.room("r").on("message", async (text) => {
    await promise;
    told.push(text);
  });
  connection.joined("r", 0);
  for (let offset = 1; offset <= 1500; offset++) connection.message("r", offset);
  assert.equal(connection.isOpen, false);
  tick(300);
  assert.equal(server.connections.length, 1, "there is no room for more yet");
  open();
  await settled();
  assert.equal(told.length, 1001); // one was being handled
  assert.equal(server.connections.length, 2);
  assert.deepEqual(server.newest.welcome().rooms, { r: position(1001) });
  server.newest.joined("r", 1001, true);
  for (let offset = 1002; offset <= 1500; offset++) server.newest.message("r", offset);
  await settled();
  assert.deepEqual(told, Array.from({ length: 1500 }, (_, index) => `m${index + 1}`));
});

test("in a room that does not remember what does not fit is told as a gap", async (t) => {
  const { client, connection } = opened(t);
  let open;
  const promise = new Promise((resolve) => (open = resolve));
  const told = recorded(client.room("r"), "gap");
  client.room("r").on("message", () => promise);
  connection.say({ type: "joined", room: "r" });
  for (let number = 0; number < 1501; number++) connection.say({ type: "message", room: "r" }, "x");
  connection.say({ type: "gap", room: "r", missed: 7 });
  assert.equal(client.state, "open");
  open();
  await settled();
  assert.deepEqual(told, [["gap", { missed: 507 }]]);
});

test("hello names the rooms that moved last, within its length", (t) => {
  const { server, client, connection, tick } = opened(t);
  for (let number = 0; number < 1000; number++) connection.joined(`room ${number} ${"x".repeat(120)}`, 1);
  connection.cut();
  tick(300);
  server.newest.accept();
  const [hello] = server.newest.sent;
  assert.ok(hello.indexOf("\n") <= 131073, "it keeps to its limit");
  assert.ok(hello.includes('"room 999 ') && !hello.includes('"room 0 '));
  assert.throws(() => client.room("one more"), RangeError);
});

test("there are at most a thousand rooms; those that nobody needs make place", (t) => {
  const { client, connection, errors } = opened(t);
  for (let number = 0; number < 1000; number++) client.room(`idle ${number}`);
  client.room("another");
  for (let number = 0; number < 1000; number++) client.room(`used ${number}`).on("message", () => {});
  connection.joined("too much", 1);
  assert.equal(errors.length, 1);
  assert.equal(client.state, "open");
});

test("of several addresses the next is tried after a loss, and after an attempt that failed", (t) => {
  const { server, client, connection, tick } = opened(t, { url: ["ws://a/live", "ws://b/live", "ws://c/live"] });
  connection.joined("r", 4);
  connection.cut();
  tick(300);
  server.newest.cut();
  tick(30_000);
  assert.deepEqual(server.newest.welcome().rooms, { r: position(4) });
  server.newest.cut();
  tick(30_000);
  assert.deepEqual(server.connections.map(({ url }) => url[5]), ["a", "b", "c", "a"]);
  assert.throws(() => connect([]), TypeError);
});

test("an address that is none is an error at the call; one of a function is told, and the next is tried", async (t) => {
  assert.throws(() => connect(["ws://a/live", "nonsense"]), { name: "SyntaxError", message: /"nonsense"/ });
  const { server, errors, connection, tick } = opened(t, { url: ["ws://a/live", () => "nonsense", "ws://c/live"] });
  connection.cut();
  tick(300);
  await settled();
  assert.match(`${errors}`, /nonsense/);
  tick(30_000);
  assert.deepEqual(server.connections.map(({ url }) => url), ["ws://a/live", "ws://c/live"]);
});

test("a gap in a room with history is made good by the next connection", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const told = recorded(client.room("r"), "joined", "message", "gap", "reset");
  connection.joined("r", 0);
  connection.message("r", 1);
  connection.say({ type: "gap", room: "r", missed: 2, offset: 2 });
  connection.message("r", 4);
  assert.equal(connection.isOpen, false);
  await settled();
  tick(300);
  assert.deepEqual(server.newest.welcome().rooms, { r: position(1) });
  server.newest.joined("r", 1, true);
  for (const offset of [2, 3, 4]) server.newest.message("r", offset);
  await settled();
  assert.deepEqual(told.filter(([event]) => event !== "joined").map(([, text]) => text), ["m1", "m2", "m3", "m4"]);
});

test("a gap before what has come already is a reset", async (t) => {
  const { client, connection } = opened(t);
  const told = recorded(client.room("r"), "message", "gap", "reset");
  connection.joined("r", 0);
  connection.message("r", 3);
  connection.say({ type: "gap", room: "r", missed: 2, offset: 1 });
  connection.message("r", 4);
  await settled();
  assert.deepEqual(told, [["message", "m3", { offset: 3 }], ["reset", undefined], ["message", "m4", { offset: 4 }]]);
});
