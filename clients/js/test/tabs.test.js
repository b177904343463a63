// Tabs that share a storage: each has positions of its own.
import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryStorage, Server, position, settled } from "./server.js";
import { connect } from "../nexios.js";

/** `navigator.locks`, as far as the client uses it. */
class Locks {
  held = new Set();

  async request(name, { ifAvailable }, callback) {
    assert.ok(ifAvailable, "it does not wait");
    if (this.held.has(name)) return callback(null);
    this.held.add(name);
    await callback({ name });
    this.held.delete(name);
  }
}

/** A browser with a storage that its tabs share. */
function browser(t, locks = new Locks()) {
  const target = new EventTarget();
  const given = {
    localStorage: new MemoryStorage(),
    navigator: { locks },
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
  };
  const before = Object.keys(given).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  for (const [name, value] of Object.entries(given)) Object.defineProperty(globalThis, name, { value, configurable: true });
  t.after(() => {
    for (const [name, old] of before) old ? Object.defineProperty(globalThis, name, old) : delete globalThis[name];
  });
  const page = (type) => target.dispatchEvent(Object.assign(new Event(type), { persisted: true }));
  return { storage: given.localStorage, locks, page };
}

async function tab(t, storage) {
  const server = new Server();
  const client = connect("ws://test/live", { WebSocket: server.WebSocket, storage, storageKey: "places" });
  t.after(() => client.close());
  await settled();
  return { client, server, hello: server.newest.welcome() };
}

const stored = (storage, key) => JSON.parse(storage.getItem(key));

test("two tabs do not overwrite each other's positions", async (t) => {
  const { storage } = browser(t);
  const [one, other] = [await tab(t, storage), await tab(t, storage)];
  one.server.newest.joined("r", 5);
  other.server.newest.joined("r", 9);
  assert.deepEqual(stored(storage, "places"), [["r", position(5)]]);
  assert.deepEqual(stored(storage, "places:2"), [["r", position(9)]]);
});

test("a tab that is loaded again has the key that is free", async (t) => {
  const { storage } = browser(t);
  const [one, other] = [await tab(t, storage), await tab(t, storage)];
  one.server.newest.joined("r", 5);
  other.server.newest.joined("r", 9);
  one.client.close();
  await settled();
  assert.deepEqual((await tab(t, storage)).hello.rooms, { r: position(5) });
  assert.deepEqual((await tab(t, storage)).hello.rooms, {});
});

test("a page that is put aside gives its key back, and keeps what it knows", async (t) => {
  const { storage, locks, page } = browser(t);
  const { server } = await tab(t, storage);
  server.newest.joined("r", 5);
  page("pagehide");
  await settled();
  assert.equal(locks.held.size, 0);
  locks.held.add("places"); // another tab was quicker
  page("pageshow");
  await settled();
  assert.deepEqual(server.newest.welcome().rooms, { r: position(5) });
  server.newest.joined("r", 6);
  assert.deepEqual(stored(storage, "places:2"), [["r", position(6)]]);
});

test("a client that is closed before it has its key does not keep it", async (t) => {
  const { storage, locks } = browser(t);
  const { WebSocket } = new Server();
  connect("ws://test/live", { WebSocket, storage, storageKey: "places" }).close();
  await settled();
  assert.equal(locks.held.size, 0);
});

test("where locks cannot be had the storage is used as it is", async (t) => {
  const refusing = { request: () => Promise.reject(new Error("not here")) };
  const { storage } = browser(t, refusing);
  storage.setItem("places", JSON.stringify([["r", position(5)]]));
  assert.deepEqual((await tab(t, storage)).hello.rooms, { r: position(5) });
});

test("a storage that is not shared needs no lock", async (t) => {
  const { locks } = browser(t);
  const storage = new MemoryStorage();
  await tab(t, storage);
  assert.equal(locks.held.size, 0);
});
