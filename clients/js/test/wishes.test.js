// A room's wishes in random orders of calls, answers and losses, against a server that keeps its side of them.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../nexios.js";
import { Clock } from "./contract/clock.js";
import { Network } from "./contract/network.js";

/** Numbers that are the same in each run. */
function chanceOf(seed) {
  return (below) => (seed = (seed * 48271) % 2147483647) % below;
}

/** The server: it answers frames in their order, some later than others, and refuses none. */
class RoomServer {
  isIn = false;
  #network;

  constructor(network) {
    this.#network = network;
  }

  answer() {
    const frame = this.#network.frames.shift();
    const { newest } = this.#network;
    if (!frame) return;
    if (frame.type === "hello") return newest.say({ type: "welcome", id: "c", retry_ms: [0, 0] });
    assert.notEqual(frame.type === "join", this.isIn, "it asks for what is so already");
    this.isIn = frame.type === "join";
    newest.say({ type: this.isIn ? "joined" : "left", room: "r" });
    newest.say({ type: "ack", id: frame.id });
  }

  cut() {
    this.isIn = false;
    this.#network.frames.length = 0;
    this.#network.newest.close(1006);
  }

  accept() {
    const { newest } = this.#network;
    if (newest.isOpen && !newest.isAccepted) newest.accept("nexios.v1");
  }
}

async function play(chance, clock) {
  const network = new Network(clock);
  const client = connect("ws://test", { WebSocket: network.WebSocket });
  client.on("close", () => {});
  const server = new RoomServer(network);
  const room = client.room("r");
  const pending = new Set();
  const stops = [];
  let isWished = false;
  const call = (promise) => {
    pending.add(promise);
    promise.catch(() => {}).finally(() => pending.delete(promise));
  };
  const actions = [
    () => ((isWished = true), call(room.join())),
    () => ((isWished = false), call(room.leave())),
    () => void stops.push(client.subscribe("r")),
    () => stops.splice(chance(stops.length + 1), 1).forEach((stop) => stop()),
    () => server.answer(),
    () => server.answer(),
    () => server.accept(),
    () => chance(4) || (network.newest.isOpen && server.cut()),
    () => clock.moveTo(clock.now + chance(2_000)),
  ];
  for (let step = 0; step < 40; step++) await actions[chance(actions.length)]();
  for (let round = 0; round < 20; round++) {
    await clock.moveTo(clock.now + 40_000, () => network.newest.isOpen);
    server.accept();
    server.answer();
    await clock.moveTo(clock.now);
  }
  assert.equal(pending.size, 0, "each call has ended");
  assert.equal(room.joined, server.isIn, "both sides agree");
  assert.equal(room.joined, isWished || stops.length > 0, "the last wish counts");
  client.close();
}

test("the last wish counts in any order of calls, answers and losses", { timeout: 120_000 }, async () => {
  const clock = new Clock();
  clock.install();
  try {
    for (let seed = 1; seed <= 150; seed++) {
      await play(chanceOf(seed * 7919), clock).catch((error) => {
        error.message = `seed ${seed}: ${error.message}`;
        throw error;
      });
    }
  } finally {
    clock.remove();
  }
});
