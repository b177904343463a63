// Tabs that share one connection, in a browser that is simulated.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../nexios.js";
import { shared } from "../shared.js";
import { Clock } from "./contract/clock.js";
import { Origin } from "./origin.js";
import { LiveServer } from "./shared_server.js";

class Tab {
  events = [];
  texts = [];

  constructor(browser, options) {
    const { given, state, crash } = browser.origin.tab(browser.server.WebSocket);
    this.state = state;
    this.crash = crash;
    const WebSocket = shared({ name: "ann", ...given });
    this.client = connect("ws://test/live", { WebSocket, ...options });
    this.client.on("message", (text) => this.texts.push(text));
    for (const event of ["open", "close", "parked", "gap"]) this.client.on(event, (what) => this.events.push([event, what]));
  }

  room(name) {
    const seen = [];
    const room = this.client.room(name);
    for (const event of ["joined", "left", "reset", "gap", "presence"])
      room.on(event, (what) => void (this.state.isGone || seen.push([event, what])));
    room.on("message", (text) => void (this.state.isGone || seen.push(text)));
    return Object.assign(room, { seen, texts: () => seen.filter((each) => typeof each === "string") });
  }
}

/** A browser with a server; `tab()` opens a tab, `time(ms)` lets the time pass. */
function browser(t) {
  const clock = new Clock();
  const [server, origin, tabs] = [new LiveServer(), new Origin(), []];
  clock.install();
  t.after(async () => {
    tabs.forEach((tab) => tab.client.close());
    await clock.moveTo(clock.now + 10_000);
    clock.remove();
  });
  const browser = { server, origin, time: (ms) => clock.moveTo(clock.now + ms) };
  browser.tab = async (options) => {
    tabs.push(new Tab(browser, options));
    await browser.time(1);
    return tabs.at(-1);
  };
  return browser;
}

const joined = (recovered) => ["joined", { recovered, [HISTORY]: true }];
const HISTORY = "hasHistory";

test("tabs of one name have one connection, each with its own rooms and answers", async (t) => {
  const { server, tab, time } = browser(t);
  const [one, other] = [await tab(), await tab()];
  assert.deepEqual([one.client.state, other.client.state, server.dials], ["open", "open", 1]);
  const [a, b] = [one.room("a"), other.room("b")];
  await Promise.all([a.join(), b.join(), time(1)]);
  server.publish("a", "to a");
  server.publish("b", "to b");
  const answers = [one.client.request("echo", "1"), other.client.request("echo", "2")];
  await time(1);
  assert.deepEqual([a.texts(), b.texts(), await Promise.all(answers)], [["to a"], ["to b"], ["1", "2"]]);
});

test("what the server sends to the connection comes to each tab", async (t) => {
  const { server, tab, time } = browser(t);
  const tabs = [await tab(), await tab(), await tab()];
  server.tell("hello");
  await time(1);
  assert.deepEqual(tabs.map(({ texts }) => texts), [["hello"], ["hello"], ["hello"]]);
});

test("a tab that comes later is in the rooms into which the server has let the connection", async (t) => {
  const { server, tab, time } = browser(t);
  server.letsIn = "news";
  const one = (await tab()).room("news");
  server.publish("news", "n1");
  await time(1);
  const other = (await tab()).room("news");
  server.publish("news", "n2");
  await time(1);
  assert.deepEqual([one.texts(), other.texts()], [["n1", "n2"], ["n2"]]);
});

test("the connection stays in a room until the last tab has left it", async (t) => {
  const { server, tab, time } = browser(t);
  const rooms = [(await tab()).room("a"), (await tab()).room("a")];
  await Promise.all([...rooms.map((room) => room.join()), time(1)]);
  const [socket] = server.sockets;
  await Promise.all([rooms[0].leave(), time(1)]);
  server.publish("a", "for one");
  await time(1);
  assert.deepEqual([socket.rooms.has("a"), rooms[0].texts(), rooms[1].texts()], [true, [], ["for one"]]);
  await Promise.all([rooms[1].leave(), time(1)]);
  assert.equal(socket.rooms.has("a"), false);
});

test("closing the client of one tab ends no other, whichever has the connection", async (t) => {
  const { server, tab, time } = browser(t);
  const [leader, one, other] = [await tab(), await tab(), await tab()];
  const [a, b] = [one.room("news"), other.room("news")];
  await Promise.all([a.join(), b.join(), time(1)]);
  other.client.close();
  await time(1);
  server.publish("news", "n1");
  await time(1);
  leader.client.close();
  server.publish("news", "n2");
  await time(2000);
  server.publish("news", "n3");
  await time(1);
  assert.deepEqual([a.texts(), b.texts(), one.client.state], [["n1", "n2", "n3"], [], "open"]);
  assert.deepEqual([server.dials, server.sockets.size], [2, 1]);
  assert.equal(a.seen.filter(([event]) => event === "joined").at(-1)[1].recovered, true);
});

test("a tab that crashes hands over without loss", async (t) => {
  const { server, tab, time } = browser(t);
  const [leader, one, other] = [await tab(), await tab(), await tab()];
  const rooms = [one.room("news"), other.room("news")];
  await Promise.all([...rooms.map((room) => room.join()), time(1)]);
  server.publish("news", "n1");
  await time(1);
  leader.crash();
  server.publish("news", "n2");
  await time(3000);
  server.publish("news", "n3");
  await time(1);
  for (const room of rooms) assert.deepEqual(room.texts(), ["n1", "n2", "n3"]);
  assert.deepEqual([server.dials, server.sockets.size], [2, 1]);
});

test("a tab that is gone is in no room any more", async (t) => {
  const { server, tab, time } = browser(t);
  const [, other] = [await tab(), await tab()];
  await Promise.all([other.room("a").join(), time(1)]);
  const [socket] = server.sockets;
  assert.equal(socket.rooms.has("a"), true);
  other.crash();
  await time(1);
  assert.equal(socket.rooms.has("a"), false);
});

test("a publish without an answer when the tab of the connection ends is stored once", async (t) => {
  const { server, tab, time } = browser(t);
  const [leader, other] = [await tab(), await tab()];
  const room = other.room("news");
  await Promise.all([room.join(), time(1)]);
  server.deaf = true;
  const published = room.publish("once", { key: "k" });
  await time(1);
  server.keys.set("k", { position: server.publish("news", "once") }); // stored, and the answer is lost
  server.deaf = false;
  leader.crash();
  await time(3000);
  assert.equal((await published).duplicate, true);
  assert.deepEqual(room.texts(), ["once"]);
});

test("a tab with an old position gets what it has missed, and the others nothing twice", async (t) => {
  const { server, tab, time } = browser(t);
  for (const text of ["n1", "n2", "n3"]) server.publish("news", text);
  const one = (await tab()).room("news");
  await Promise.all([one.join(), time(1)]);
  server.publish("news", "n4");
  await time(1);
  const other = (await tab()).room("news");
  await Promise.all([other.join({ since: "start" }), time(1)]);
  server.publish("news", "n5");
  await time(1);
  assert.deepEqual(other.texts(), ["n1", "n2", "n3", "n4", "n5"]);
  assert.deepEqual(one.texts(), ["n4", "n5"]);
  assert.ok(!one.seen.some(([event]) => event === "left"));
});

test("a tab that continues from a position that is kept does not move the connection", async (t) => {
  const { server, tab, time } = browser(t);
  const one = (await tab()).room("news");
  await Promise.all([one.join(), time(1)]);
  server.publish("news", "n1");
  await time(1);
  const since = one.position;
  server.publish("news", "n2");
  await time(1);
  const other = (await tab()).room("news");
  await Promise.all([other.join({ since }), time(1)]);
  assert.deepEqual([other.texts(), other.seen[0]], [["n2"], joined(true)]);
  assert.equal(one.seen.filter(([event]) => event === "joined").length, 1);
});

test("a refusal is for the tab that has asked", async (t) => {
  const { tab, time } = browser(t);
  const [one, other] = [await tab(), await tab()];
  const refused = assert.rejects(one.room("closed").join(), { code: "forbidden" });
  await time(1);
  await refused;
  assert.deepEqual([one.client.state, other.client.state, other.events.map(([event]) => event)], ["open", "open", ["open"]]);
});

test("presence comes to the tabs that have asked for it", async (t) => {
  const { server, tab, time } = browser(t);
  const [one, other] = [(await tab()).room("a"), (await tab()).room("a")];
  await Promise.all([one.join(), other.join(), time(1)]);
  const members = one.presence();
  await time(1);
  assert.deepEqual(await members, [{ user: "ann" }]);
  const [socket] = server.sockets;
  server.say(socket, { type: "presence", room: "a", event: "join", user: "bob" });
  await time(1);
  assert.equal(one.seen.at(-1)[0], "presence");
  assert.ok(!other.seen.some(([event]) => event === "presence"));
});

test("the end of the connection is for all tabs: a loss is retried, an end that is meant parks", async (t) => {
  const { server, tab, time } = browser(t);
  const tabs = [await tab(), await tab()];
  server.cut(1006);
  await time(2000);
  assert.deepEqual(tabs.map(({ client }) => client.state), ["open", "open"]);
  assert.equal(server.dials, 2);
  server.cut(4000, "enough");
  await time(2000);
  assert.deepEqual(tabs.map(({ client }) => client.state), ["parked", "parked"]);
  assert.equal(server.dials, 2);
  tabs[1].client.reconnect();
  await time(1);
  assert.deepEqual(tabs.map(({ client }) => client.state), ["parked", "open"]);
});

test("no more calls are unanswered than the server allows, of all tabs together", async (t) => {
  const { server, tab, time } = browser(t);
  const tabs = [await tab(), await tab()];
  let most = 0;
  const { say } = server;
  const [socket] = server.sockets;
  const sent = socket.send;
  let open = 0;
  socket.send = (data) => ((most = Math.max(most, ++open)), sent.call(socket, data));
  server.say = (to, header, payload) => setTimeout(() => ((open -= header.type === "reply"), say.call(server, to, header, payload)), 1);
  const answers = tabs.flatMap(({ client }) => Array.from({ length: 20 }, (_, n) => client.request("echo", `${n}`)));
  await time(100);
  await Promise.all(answers);
  assert.ok(most <= 8, `${most} at a time`);
});

test("a leader whose page hangs is replaced", async (t) => {
  const { server, tab, time } = browser(t);
  const leader = await tab();
  leader.state.channels.forEach((channel) => (channel.onmessage = null));
  const other = await tab();
  assert.equal(other.client.state, "connecting");
  await time(3000);
  assert.equal(other.client.state, "open");
  await time(5000);
  assert.equal(server.sockets.size <= 2, true);
});

test("without locks or channels a tab connects by itself", () => {
  class WebSocket {}
  assert.equal(shared({ name: "ann", WebSocket, locks: null, BroadcastChannel: null }), WebSocket);
  assert.throws(() => shared({}), { name: "TypeError", message: /invalid name undefined/ });
});

const SEEDS = Number(process.env.NEXIOS_SEEDS ?? 40);

for (let seed = 1; seed <= SEEDS; seed++) {
  test(`whatever tabs come and go, nothing is lost and nothing comes twice: seed ${seed}`, async (t) => {
    const { server, tab, time } = browser(t);
    let state = seed * 2654435761;
    const chance = (below) => ((state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) >>> 0) >>> 8) % below;
    const tabs = [];
    let count = 0;
    const open = async () => {
      const each = await tab();
      tabs.push(Object.assign(each, { news: each.room("news") }));
      each.news.join();
    };
    await open();
    for (let step = 0; step < 60; step++) {
      const action = chance(10);
      const any = tabs[chance(tabs.length)];
      if (action === 0 && tabs.length < 5) await open();
      else if (action === 1 && tabs.length > 1) (tabs.splice(tabs.indexOf(any), 1), any.crash());
      else if (action === 2 && tabs.length > 1) (tabs.splice(tabs.indexOf(any), 1), any.client.close());
      else if (action === 3) server.cut();
      else if (action === 4) any.client.drop();
      else if (action === 5) any.news.publish(`m${++count}`);
      else server.publish("news", `m${++count}`);
      await time([0, 1, 20, 400, 4000][chance(5)]);
    }
    await time(60_000);
    server.publish("news", "last");
    await time(1);
    for (const { news, client } of tabs) {
      assert.equal(client.state, "open");
      const begun = news.seen.find(([event]) => event === "joined");
      assert.ok(begun, "it is in");
      assert.deepEqual(news.seen.filter(([event]) => event === "joined").slice(1).filter(([, { recovered }]) => !recovered), []);
      const texts = news.texts();
      assert.deepEqual(texts, server.entries.slice(server.entries.length - texts.length));
      assert.ok(news.seen.every((each) => typeof each === "string" || ["joined"].includes(each[0])), JSON.stringify(news.seen));
    }
    assert.equal(server.sockets.size, 1);
    assert.equal(new Set(server.entries).size, server.entries.length, "each is stored once");
  });
}
