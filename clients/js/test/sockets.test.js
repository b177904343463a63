// Over real sockets: the package `ws`, and the WebSocket that Node.js brings along.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";

import ws, { WebSocketServer } from "ws";
import { connect } from "../nexios.js";
import { NONCE, framed, position, unframed } from "./server.js";

/** A server with one room with history, into which it joins each connection. */
class RoomServer {
  log = [];
  keys = new Map();
  clients = new Set();

  static async start(t) {
    const server = new RoomServer();
    t.after(() => server.stop());
    server.listening = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "nexios.v1" });
    server.listening.on("connection", (socket) => server.#greet(socket));
    await once(server.listening, "listening");
    server.url = `ws://127.0.0.1:${server.listening.address().port}/live?token=x`;
    return server;
  }

  #greet(socket) {
    socket.on("message", (data, isBinary) => this.#receive(socket, unframed(isBinary ? data : data.toString())));
    socket.on("close", () => this.clients.delete(socket));
  }

  #receive(socket, { type, id, rooms, key, payload, message }) {
    if (type === "hello") return this.#enter(socket, rooms.log);
    if (type === "request") return socket.send(framed({ type: "reply", id }, payload));
    if (type !== "publish") return socket.send(framed("", message));
    if (!this.keys.has(key)) {
      this.log.push(payload);
      this.keys.set(key, this.log.length);
      this.clients.forEach((client) => this.#message(client, this.log.length));
    }
    return socket.send(framed({ type: "ack", id, position: position(this.keys.get(key)) }));
  }

  #enter(socket, at) {
    const offset = at === undefined ? this.log.length : Number(at.split("-")[1]);
    this.clients.add(socket);
    socket.send(framed({ type: "welcome", id: "x", retry_ms: [0, 2] }));
    socket.send(framed({ type: "joined", room: "log", position: position(offset), recovered: at !== undefined }));
    for (let next = offset + 1; next <= this.log.length; next++) this.#message(socket, next);
  }

  #message(socket, offset) {
    socket.send(framed({ type: "message", room: "log", offset, nonce: NONCE }, this.log[offset - 1]));
  }

  cut() {
    this.clients.forEach((client) => client.terminate());
  }

  async stop() {
    this.listening.clients.forEach((client) => client.terminate());
    await new Promise((resolve) => this.listening.close(resolve)); // closed already is as good
  }
}

for (const [name, WebSocket] of Object.entries({ ws, "the WebSocket of Node.js": globalThis.WebSocket })) {
  const skip = !WebSocket && "this Node.js has none: run it with --experimental-websocket";

  test(`${name}: nothing is lost and nothing comes twice over many cuts`, { skip, timeout: 20_000 }, async (t) => {
    const server = await RoomServer.start(t);
    const [writer, reader] = [1, 2].map(() => connect(server.url, { WebSocket }));
    t.after(() => [writer, reader].forEach((client) => client.close()));
    const told = [];
    const room = reader.room("log");
    const everything = new Promise((resolve) => {
      room.on("message", async (text) => {
        await null;
        told.push(text);
        if (told.length === 500) resolve();
      });
    });
    await new Promise((resolve) => room.on("joined", resolve));
    const published = [];
    for (let number = 0; number < 500; number++) {
      published.push(writer.room("log").publish(`${number}`));
      if (number % 50 === 0) server.cut();
      if (number % 90 === 0 && reader.state === "open") reader.drop();
      if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(published);
    await everything;
    assert.deepEqual(told, Array.from({ length: 500 }, (_, number) => `${number}`));
  });

  test(`${name}: texts and bytes pass, requests are replied, close says 1000`, { skip, timeout: 20_000 }, async (t) => {
    const server = await RoomServer.start(t);
    const client = connect(server.url, { WebSocket });
    t.after(() => client.close());
    assert.equal(await client.request("echo", "grüße"), "grüße");
    const reply = await client.request("echo", new Uint8Array([0, 255]));
    assert.deepEqual(new Uint8Array(reply), new Uint8Array([0, 255]));
    const message = new Promise((resolve) => client.on("message", resolve));
    assert.equal(client.send("\x1ex"), true);
    assert.equal(await message, "\x1ex");
    const [socket] = server.clients;
    client.close(1000, "done");
    assert.deepEqual((await once(socket, "close")).map(String), ["1000", "done"]);
  });
}

test("a server that is not there yet is found once it is", { timeout: 20_000 }, async (t) => {
  const server = await RoomServer.start(t);
  await server.stop();
  const client = connect(server.url, { WebSocket: ws, openTimeout: 1_000 });
  t.after(() => client.close());
  await new Promise((resolve) => client.on("close", resolve));
  const { port } = new URL(server.url);
  const late = new WebSocketServer({ port: Number(port), host: "127.0.0.1", handleProtocols: () => "nexios.v1" });
  late.on("connection", (socket) => socket.send(framed({ type: "welcome", id: "late", retry_ms: [0, 0] })));
  await once(late, "listening");
  client.reconnect();
  await new Promise((resolve) => client.on("open", resolve));
  assert.equal(client.id, "late");
  client.close();
  await once([...late.clients][0], "close");
  late.close();
});
