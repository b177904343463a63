import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryStorage, NONCE, opened, position, recorded, settled, start } from "./server.js";

/** A promise, and what settles it. */
function gate() {
  const made = {};
  made.promise = new Promise((resolve) => (made.open = resolve));
  return made;
}

/** A client in the room "r", at 5. */
function inRoom(t, options) {
  const started = opened(t, options);
  const room = started.client.room("r");
  const told = recorded(room, "joined", "left", "message", "reset", "gap");
  started.connection.joined("r", 5);
  told.length = 0;
  return { ...started, room, told };
}

test("a room that the server joins is announced before its messages", async (t) => {
  const { client, connection } = opened(t);
  const told = [];
  client.on("joined", (room, how) => {
    told.push([room.name, how]);
    room.on("message", (text, meta) => void told.push([text, meta]));
  });
  connection.joined("r", 5);
  connection.message("r", 6);
  assert.deepEqual(told, [["r", { recovered: false, hasHistory: true }], ["m6", { offset: 6 }]]);
  assert.equal(client.room("r").joined, true);
});

test("rooms that do not remember have no offsets", (t) => {
  const { client, connection } = opened(t);
  const told = recorded(client.room("r"), "joined", "message");
  connection.say({ type: "joined", room: "r" });
  connection.say({ type: "message", room: "r" }, "hello");
  connection.say({ type: "message", room: "r" }, Buffer.from([1]));
  assert.deepEqual(told, [
    ["joined", { recovered: false, hasHistory: false }],
    ["message", "hello", { offset: undefined }],
    ["message", new Uint8Array([1]).buffer, { offset: undefined }],
  ]);
});

test("a message whose offset is not above the room's own is dropped", (t) => {
  const { connection, told } = inRoom(t);
  for (const offset of [5, 4, 6, 6, 9, 8, 10]) connection.message("r", offset);
  assert.deepEqual(told.map(([, text]) => text), ["m6", "m9", "m10"]);
});

test("messages of a room are handled one after another", async (t) => {
  const { client, connection } = opened(t);
  const gates = [gate(), gate()];
  const told = [];
  client.room("r").on("message", async (text) => {
    told.push(`${text} begins`);
    await gates[told.length >> 1].promise;
    told.push(`${text} ends`);
  });
  connection.joined("r", 5);
  connection.message("r", 6);
  connection.message("r", 7);
  await settled();
  assert.deepEqual(told, ["m6 begins"]);
  gates.forEach(({ open }) => open());
  await settled();
  assert.deepEqual(told, ["m6 begins", "m6 ends", "m7 begins", "m7 ends"]);
});

test("one room does not wait for another", async (t) => {
  const { client, connection } = opened(t);
  client.room("slow").on("message", () => new Promise(() => {}));
  const told = recorded(client.room("quick"), "message");
  for (const room of ["slow", "quick"]) {
    connection.joined(room, 1);
    connection.message(room, 2);
  }
  await settled();
  assert.equal(told.length, 1);
});

test("the position is kept only after the handler has returned", async (t) => {
  const storage = new MemoryStorage();
  const { client, connection } = opened(t, { storage });
  const stored = () => Object.fromEntries(JSON.parse(storage.getItem("nexios:ws://test/live")));
  const { promise, open } = gate();
  client.room("r").on("message", () => promise);
  connection.joined("r", 5);
  connection.message("r", 6);
  await settled();
  assert.deepEqual(stored(), { r: position(5) });
  open();
  await settled();
  assert.deepEqual(stored(), { r: position(6) });
});

test("a page that is loaded anew goes on behind what was handled", async (t) => {
  const storage = new MemoryStorage();
  const before = opened(t, { storage });
  before.client.room("r").on("message", (text) => (text === "m7" ? new Promise(() => {}) : undefined));
  before.connection.joined("r", 5);
  for (const offset of [6, 7, 8]) before.connection.message("r", offset);
  await settled();
  t.mock.reset();
  t.mock.timers.reset();
  const { hello } = opened(t, { storage });
  assert.deepEqual(hello.rooms, { r: position(6) });
});

test("a handler that fails has not handled: the error is told, and the room goes on", async (t) => {
  const storage = new MemoryStorage();
  const { client, connection, errors } = opened(t, { storage });
  const stored = () => JSON.parse(storage.getItem("nexios:ws://test/live"));
  client.room("r").on("message", (text) => {
    if (text === "m6") throw new Error("no m6");
  });
  connection.joined("r", 5);
  connection.message("r", 6);
  assert.deepEqual(stored(), [["r", position(5)]]);
  connection.message("r", 7);
  assert.deepEqual(stored(), [["r", position(7)]]);
  assert.deepEqual(errors.map((error) => error.message), ["no m6"]);
});

test("after a cut hello says where it was, and what is waiting is handled once", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const { promise, open } = gate();
  const told = [];
  client.room("r").on("message", async (text) => {
    await promise;
    told.push(text);
  });
  connection.joined("r", 5);
  connection.message("r", 6);
  connection.message("r", 7);
  connection.cut();
  assert.equal(client.room("r").joined, false);
  tick(300);
  assert.deepEqual(server.newest.welcome().rooms, { r: position(7) });
  server.newest.joined("r", 7, true);
  server.newest.message("r", 7);
  server.newest.message("r", 8);
  open();
  await settled();
  assert.deepEqual(told, ["m6", "m7", "m8"]);
});

test("recovered or not is told, and the newest position counts", (t) => {
  const { server, connection, told, tick } = inRoom(t);
  connection.cut();
  tick(30_000);
  server.newest.welcome();
  server.newest.joined("r", 5, true);
  server.newest.cut();
  tick(30_000);
  server.newest.welcome();
  server.newest.say({ type: "joined", room: "r", position: position(2, "b2"), recovered: false });
  server.newest.message("r", 3);
  server.newest.cut();
  tick(30_000);
  assert.deepEqual(server.newest.welcome().rooms, { r: position(3, "b2") });
  assert.deepEqual(told, [
    ["joined", { recovered: true, hasHistory: true }],
    ["joined", { recovered: false, hasHistory: true }],
    ["message", "m3", { offset: 3 }],
  ]);
});

test("reset gives a new position, in its place among the messages", async (t) => {
  const storage = new MemoryStorage();
  const { connection, told } = inRoom(t, { storage });
  connection.message("r", 6);
  connection.say({ type: "reset", room: "r", position: position(1, "b2") });
  assert.deepEqual(JSON.parse(storage.getItem("nexios:ws://test/live")), [["r", position(1, "b2")]]);
  connection.message("r", 2);
  assert.deepEqual(told.map(([event]) => event), ["message", "reset", "message"]);
});

test("a gap is told to its room, or to all that do not remember and to the client", (t) => {
  const { client, connection, told } = inRoom(t);
  const plain = recorded(client.room("plain"), "gap");
  const whole = recorded(client, "gap");
  connection.say({ type: "joined", room: "plain" });
  connection.say({ type: "gap", room: "plain", missed: 3 });
  connection.say({ type: "gap" });
  assert.deepEqual(plain, [["gap", { missed: 3 }], ["gap", { missed: undefined }]]);
  assert.deepEqual(whole, [["gap", { missed: undefined }]]);
  assert.deepEqual(told, []);
});

test("what is said of unknown or left rooms is ignored", (t) => {
  const { connection, told, client } = inRoom(t);
  connection.message("other", 1);
  connection.say({ type: "left", room: "other" });
  connection.say({ type: "reset", room: "other", position: position(1) });
  connection.say({ type: "left", room: "r" });
  connection.message("r", 6);
  assert.deepEqual(told, [["left", {}]]);
  assert.equal(client.state, "open");
});

test("a room that was left is not resumed", (t) => {
  const { server, connection, tick } = inRoom(t);
  connection.say({ type: "left", room: "r" });
  connection.cut();
  tick(300);
  assert.deepEqual(server.newest.welcome().rooms, {});
});

test("join is acknowledged, and asked for again after each reconnect", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const joining = client.room("r").join();
  const { id, ...join } = connection.take();
  assert.deepEqual(join, { type: "join", room: "r" });
  connection.joined("r", 5);
  connection.say({ type: "ack", id });
  await joining;
  connection.cut();
  tick(300);
  server.newest.welcome();
  const again = server.newest.take();
  assert.deepEqual(again, { type: "join", id: again.id, room: "r", position: position(5) });
  server.newest.say({ type: "ack", id: again.id });
  await client.room("r").join();
});

test("join before the connection is there waits for it, over a cut", async (t) => {
  const { server, client, connection, tick } = start(t);
  const joining = client.room("r").join();
  connection.welcome();
  const first = connection.take();
  connection.cut();
  tick(300);
  server.newest.welcome();
  const second = server.newest.take();
  assert.equal(second.type, "join");
  server.newest.say({ type: "ack", id: second.id });
  await joining;
  assert.equal(first.type, "join");
  assert.deepEqual(server.newest.sent, []);
});

test("a join that is refused rejects, and is not tried again", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const joining = client.room("r").join();
  connection.say({ type: "error", id: connection.take().id, code: "forbidden", message: "not you" });
  await assert.rejects(joining, { name: "NexiosError", code: "forbidden", message: "not you" });
  connection.cut();
  tick(300);
  server.newest.welcome();
  assert.deepEqual(server.newest.sent, []);
});

test("a refusal after a reconnect is told as left, and what passes is tried again", async (t) => {
  const { server, client, connection, tick } = opened(t);
  const told = recorded(client.room("r"), "left");
  const joining = client.room("r").join();
  connection.joined("r", 5);
  connection.say({ type: "ack", id: connection.take().id });
  await joining;
  connection.cut();
  tick(300);
  server.newest.welcome();
  server.newest.say({ type: "error", id: server.newest.take().id, code: "unavailable", message: "no broker" });
  await settled();
  tick(3_000);
  const again = server.newest.take();
  assert.equal(again.position, position(5));
  server.newest.say({ type: "error", id: again.id, code: "forbidden", message: "no more" });
  await settled();
  assert.deepEqual(told, [["left", { code: "forbidden", message: "no more" }]]);
});

test("leave is acknowledged, told once, and forgets the position", async (t) => {
  const storage = new MemoryStorage();
  const { connection, room, told } = inRoom(t, { storage });
  const leaving = room.leave();
  const leave = connection.take();
  assert.deepEqual(leave, { type: "leave", id: leave.id, room: "r" });
  connection.message("r", 6);
  connection.say({ type: "left", room: "r" });
  connection.say({ type: "ack", id: leave.id });
  await leaving;
  assert.deepEqual(told, [["left", {}]]);
  assert.equal(storage.getItem("nexios:ws://test/live"), "[]");
});

test("a joined that crosses a leave changes nothing", async (t) => {
  const { client, connection } = opened(t);
  const room = client.room("r");
  const told = recorded(room, "joined", "message");
  const joining = room.join();
  const leaving = room.leave();
  const join = connection.take();
  assert.deepEqual(connection.sent, [], "one frame at a time");
  connection.joined("r", 5);
  connection.message("r", 6);
  connection.say({ type: "ack", id: join.id });
  const leave = connection.take();
  connection.say({ type: "left", room: "r" });
  connection.say({ type: "ack", id: leave.id });
  await assert.rejects(joining, { code: "closed" });
  await leaving;
  assert.deepEqual(told, []);
  assert.equal(room.joined, false);
});

test("leaving while away takes the join back", async (t) => {
  const { server, client, connection, tick } = start(t);
  const room = client.room("r");
  const joining = room.join();
  await room.leave();
  await assert.rejects(joining, { code: "closed" });
  connection.welcome();
  assert.deepEqual(connection.sent, []);
  connection.cut();
  tick(300);
  server.newest.welcome();
  assert.deepEqual(server.newest.sent, []);
});

test("what is stored and cannot be read is as good as nothing", (t) => {
  for (const text of ["no json", "{}", '[["r","no position"]]', "[1]"]) {
    const storage = new MemoryStorage();
    storage.setItem("mine", text);
    assert.deepEqual(opened(t, { storage, storageKey: "mine" }).hello.rooms, {});
    t.mock.reset();
    t.mock.timers.reset();
  }
});

test("a storage that refuses is told, and the room goes on", (t) => {
  const storage = { getItem: () => null, setItem: () => { throw new Error("full"); } };
  const { connection, told, errors } = inRoom(t, { storage });
  connection.message("r", 6);
  assert.equal(told.length, 1);
  assert.equal(errors[0].message, "full");
});

test("names are only names", (t) => {
  const { server, client, connection, tick } = opened(t);
  const told = recorded(client.room("__proto__"), "message");
  connection.joined("__proto__", 1);
  connection.message("__proto__", 2);
  connection.joined('a"\n', 1);
  connection.cut();
  tick(300);
  server.newest.accept();
  const hello = server.newest.sent[0];
  assert.ok(hello.includes(`"__proto__":"${position(2)}"`) && hello.includes(`"a\\"\\n":"${position(1)}"`));
  assert.equal(told.length, 1);
});

test("a message that is no JSON where JSON is wanted is told, and the room goes on", (t) => {
  const { connection, told, errors } = inRoom(t, { json: true });
  connection.message("r", 6, "no json");
  connection.message("r", 7, "[7]");
  assert.deepEqual(told, [["message", [7], { offset: 7 }]]);
  assert.equal(errors.length, 1);
  assert.equal(NONCE.length, 32);
});

for (const since of [position(3), "start"]) {
  test(`a join begins where the application says: ${since}`, async (t) => {
    const { client, connection } = opened(t);
    const room = client.room("r");
    await assert.rejects(room.join({ since: "nowhere" }), /EPOCH-OFFSET-NONCE/);
    const joining = room.join({ since });
    await settled();
    const [join] = connection.takeAll().filter(({ type }) => type === "join");
    assert.equal(join.position, since);
    connection.joined("r", 3);
    connection.say({ type: "ack", id: join.id });
    await joining;
    await room.join({ since: position(9) });
    await settled();
    assert.deepEqual(connection.takeAll(), [], "it is in the room already");
  });
}

test("the form of a storage is the documented one", async (t) => {
  const storage = new MemoryStorage();
  storage.setItem("places", JSON.stringify([["r", position(5)]]));
  const { client, connection } = opened(t, { storage, storageKey: "places" });
  const joining = client.room("r").join();
  await settled();
  const join = connection.takeAll().find(({ type }) => type === "join");
  assert.equal(join.position, position(5));
  connection.joined("r", 6);
  connection.say({ type: "ack", id: join.id });
  await joining;
  await settled();
  assert.deepEqual(JSON.parse(storage.getItem("places")), [["r", position(6)]]);
});
