// Clients in a process of their own.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";

import WebSocket from "ws";
import { NexiosError, connect } from "../nexios.js";
import { opened, recorded, settled, start } from "./server.js";

test("calls that nobody awaits do not end a process", () => {
  const code = `
    import { connect } from "./nexios.js";
    class Idle { close() {} }
    const client = connect("ws://test", { WebSocket: Idle });
    const room = client.room("r");
    room.join(); room.publish("x"); room.publish(new Map()); room.presence(); client.request("m"); client.request(5);
    room.join({ since: "nowhere" }); room.leave();
    client.close();
    room.join(); room.leave(); room.publish("x"); client.request("m");
    setTimeout(() => console.log("alive"), 20);`;
  const options = { cwd: fileURLToPath(new URL("..", import.meta.url)), encoding: "utf8" };
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", code], options);
  assert.deepEqual([stdout, stderr], ["alive\n", ""]);
});

test("the first failure is logged where nobody listens, and only the first", (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const { server, tick } = start(t);
  server.newest.socket.onerror({ message: "connect ECONNREFUSED" });
  server.newest.cut();
  tick(1_500);
  server.newest.cut();
  assert.equal(warned.mock.callCount(), 1);
  assert.match(warned.mock.calls[0].arguments[0], /ws:\/\/test\/live.*ECONNREFUSED/);
});

test("the first failure is logged where it parks the client, too", (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const { server } = start(t, { retryFirst: false });
  server.newest.cut();
  assert.equal(warned.mock.callCount(), 1);
  assert.match(warned.mock.calls[0].arguments[0], /ws:\/\/test\/live.*reconnect\(\) tries again/);
});

test("a failure with a listener for close is not logged", (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const { client, server } = start(t);
  const told = recorded(client, "close");
  server.newest.socket.onerror({ message: "connect ECONNREFUSED" });
  server.newest.cut();
  assert.equal(told[0][1].reason, "connect ECONNREFUSED");
  assert.equal(warned.mock.callCount(), 0);
});

for (const [status, state] of Object.entries({ 403: "parked", 404: "parked", 401: "parked", 503: "reconnecting" })) {
  test(`the package ws: a handshake that is refused with ${status} is ${state}`, { timeout: 20_000 }, async (t) => {
    const server = createServer().listen(0, "127.0.0.1");
    t.after(() => server.close());
    server.on("upgrade", (_, socket) => socket.end(`HTTP/1.1 ${status} No\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`));
    await once(server, "listening");
    const client = connect(`ws://127.0.0.1:${server.address().port}/`, { WebSocket });
    t.after(() => client.close());
    const told = recorded(client, "reconnecting", "unauthorized");
    const { kind, reason } = await new Promise((resolve) => client.on("close", resolve));
    assert.deepEqual([client.state, kind], [state, "refused"]);
    assert.match(reason, new RegExp(status));
    const expected = { 401: "unauthorized", 503: "reconnecting" }[status];
    assert.deepEqual(told.map(([event]) => event), expected ? [expected] : []);
    if (status === "503") assert.ok(told[0][1].delay >= 7_000, "Retry-After is the least");
  });
}

test("values of another realm, as in the sandbox of a test, are what they are here", (t) => {
  const { client, connection } = opened(t);
  const other = (code) => runInContext(code, createContext());
  client.send(other("({ a: [1] })"));
  client.send(other("new Uint8Array([1]).buffer"));
  assert.equal(connection.sent[0], '{"a":[1]}');
  assert.equal(new Uint8Array(connection.sent[1])[0], 1);
  assert.throws(() => client.send(other("new Map()")), TypeError);
});

test("bytes that change after the call are sent as they were", async (t) => {
  const { server, client, connection, tick } = opened(t);
  connection.cut();
  const bytes = new Uint8Array([1]);
  client.room("r").publish(bytes);
  bytes[0] = 2;
  tick(300);
  server.newest.welcome();
  assert.deepEqual(server.newest.take().payload, Buffer.from([1]));
  await settled();
});

test("a call that is given up rejects with the reason of its signal", async (t) => {
  const { client } = opened(t);
  const controller = new AbortController();
  const { signal } = controller;
  const room = client.room("r");
  const calls = [room.join({ signal }), room.publish("x", { signal }), room.presence({ signal }), client.request("m", 1, { signal })];
  controller.abort(new Error("enough"));
  for (const call of calls) await assert.rejects(call, { message: "enough" });
  await assert.rejects(client.request("m", 1, { signal }), { message: "enough" });
  const late = room.join({ timeout: 1 });
  t.mock.timers.tick(1);
  await assert.rejects(late, NexiosError);
});

test("an option that is wrong is an error at the call", () => {
  assert.throws(() => connect("ws://test", { WebSocket, bigint: "number" }), /invalid bigint "number"/);
  for (const url of ["", "/live", "mailto:a", "ws://", "::"]) assert.throws(() => connect(url, { WebSocket }), { name: "SyntaxError" }, url);
});
