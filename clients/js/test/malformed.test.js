import assert from "node:assert/strict";
import { test } from "node:test";

import { NONCE, framed, opened, recorded } from "./server.js";

const MALFORMED = {
  "a mark alone": "\x1e",
  "a header without an end": '\x1e{"type":"welcome"}',
  "a header that is too long": framed({ type: "x", x: "x".repeat(131072) }),
  "no JSON": framed("welcome"),
  "an array": framed("[]"),
  "a text": framed('"welcome"'),
  "null": framed("null"),
  "half an object": framed('{"type":'),
  "two objects": framed("{}{}"),
  "bytes that are no UTF-8": Buffer.concat([Buffer.from('\x1e{"type":"'), Buffer.from([0xff]), Buffer.from('"}\n')]),
  "bytes without an end": Buffer.from([0x1e, 1, 2]),
  "a position that is none": framed({ type: "joined", room: "r", position: "5" }),
  "an offset that is too high": framed({ type: "joined", room: "r", position: `1-9007199254740993-${NONCE}` }),
  "a position that is no text": framed({ type: "joined", room: "r", position: null }),
  "a reset without a position": framed({ type: "reset", room: "r" }),
  "an offset that is no number": framed({ type: "message", room: "r", offset: "6", nonce: NONCE }),
  "an offset below zero": framed({ type: "message", room: "r", offset: -1, nonce: NONCE }),
  "a message without a nonce": framed({ type: "message", room: "r", offset: 6 }),
};

for (const [what, message] of Object.entries(MALFORMED)) {
  test(`${what} ends the connection, and the client comes back`, (t) => {
    const { client, connection } = opened(t);
    const told = recorded(client, "close", "message");
    connection.joined("r", 5);
    connection.sayRaw(message);
    assert.equal(client.state, "reconnecting");
    assert.equal(connection.closedWith.code, 4002);
    const [[event, { code, retry, kind }], ...more] = told;
    assert.deepEqual([event, code, retry, kind, more], ["close", 1002, true, "protocol", []]);
  });
}

test("what is unknown is ignored", (t) => {
  const { client, connection, errors } = opened(t);
  const told = recorded(client, "message", "close");
  for (const type of ["news", "toString", "__proto__"]) connection.say({ type }, "payload");
  connection.say({ type: "joined", room: "r", more: "x".repeat(100_000) });
  connection.say({ type: "welcome", id: "again" });
  connection.say({ type: "message", room: "s" }, "not in it");
  connection.say({ type: "presence", room: "r", event: "wave", user: "ann" });
  connection.say({ type: "left", room: "s" });
  assert.deepEqual(told, []);
  assert.deepEqual(errors, []);
  assert.equal(client.id, "c1");
});

test("no garbage makes the client throw", (t) => {
  const types = "welcome joined left message reset gap ack reply error presence closing".split(" ");
  const values = [null, -1, 1e99, "", "x", [], {}, true, [1], "1-2-3"];
  const members = "id room position recovered offset nonce missed code retry_ms ping_ms user".split(" ");
  let seed = 7;
  const chance = (below) => (seed = (seed * 48271) % 2147483647) % below;
  for (let round = 0; round < 2000; round++) {
    const { client, connection } = opened(t);
    for (let message = 0; message < 5 && client.state === "open"; message++) {
      const header = { type: types[chance(types.length)] };
      for (let count = chance(4); count > 0; count--) {
        header[members[chance(members.length)]] = values[chance(values.length)];
      }
      connection.say(header, "payload");
    }
    client.close();
    t.mock.reset();
    t.mock.timers.reset();
  }
});
