import assert from "node:assert/strict";

import { NexiosError, connect } from "../../nexios.js";
import { MemoryStorage } from "../server.js";
import { Clock } from "./clock.js";
import { Network } from "./network.js";
import { Page } from "./page.js";
import { asBytes, expanded, fail, made, matches } from "./values.js";

const DEFAULTS = {
  urls: ["ws://a.test/live"], json: false, token: undefined, protocols: [], storage: undefined, stable_ms: 10_000,
  retry_first: true, open_timeout_ms: 10_000, request_timeout_ms: 10_000, bigint: "error", chance: 0.5,
};
/** The members of each event, from what listeners get. */
const CLIENT_EVENTS = {
  open: (opened) => opened,
  close: (reason) => reason,
  reconnecting: ({ attempt, delay }) => ({ attempt, delay_ms: delay }),
  parked: (why) => why,
  unauthorized: (why) => why,
  message: (data) => ({ data: asBytes(data) }),
  joined: (room) => ({ name: room.name }),
  gap: (gap) => gap,
  error: ({ message }) => ({ message }),
};
const ROOM_EVENTS = {
  joined: ({ recovered, hasHistory: has_history }) => ({ recovered, has_history }),
  message: (data, { offset }) => ({ data: asBytes(data), offset }),
  reset: () => ({}),
  gap: (gap) => gap,
  left: (why) => why,
  presence: ({ event: change, ...members }) => ({ change, ...members }),
};
const isOfArgument = (error) => !(error instanceof NexiosError) && /^(Type|Range|Syntax)Error$/.test(error?.name);

/** Plays one scenario against the client; throws where the client does something else. `wrapped` may change the class. */
export async function play({ options = {}, steps }, wrapped = (WebSocket) => WebSocket) {
  const player = new Player({ ...DEFAULTS, ...expanded(options) }, steps, wrapped);
  try {
    await player.play();
  } finally {
    player.end();
  }
}

class Player {
  #clock = new Clock();
  #network = new Network(this.#clock);
  #page = new Page();
  #random = Math.random;
  #options;
  #steps;
  #events = new Map(); // of the client (""), of rooms ("room r") and of subscriptions ("subscription s")
  #results = new Map();
  #stops = new Map();
  #ids = {};
  #ignored = new Set();
  #handlers = "go";
  #held = [];

  #wrapped;

  constructor(options, steps, wrapped) {
    for (const name of Object.keys(options)) assert.ok(name in DEFAULTS, `unknown option ${name}`);
    this.#options = options;
    this.#steps = steps;
    this.#wrapped = wrapped;
  }

  async play() {
    this.#clock.install();
    Math.random = () => this.#options.chance;
    if (this.#steps.some((step) => step.page)) this.#page.install();
    this.#start();
    await this.#clock.moveTo(0);
    for (const [number, step] of this.#steps.entries()) await this.#step(number, step);
    this.#checkLeftOver();
  }

  end() {
    this.client?.close();
    this.#clock.remove();
    this.#page.remove();
    Math.random = this.#random;
  }

  #start() {
    const { urls, json, token, protocols, storage, stable_ms, retry_first, open_timeout_ms, request_timeout_ms, bigint } = this.#options;
    this.storage = storage && new MemoryStorage();
    this.storage?.setItem("positions", JSON.stringify(storage));
    this.client = connect(urls.map(asked), {
      WebSocket: this.#wrapped(this.#network.WebSocket), json, token: asked(token), protocols: asked(protocols), storage: this.storage, storageKey: "positions",
      stableAfter: stable_ms, retryFirst: retry_first, openTimeout: open_timeout_ms, requestTimeout: request_timeout_ms, bigint,
    });
    this.#record(this.client, CLIENT_EVENTS, "");
    const rooms = this.#steps.map((step) => expanded(step.room ?? step.room_is));
    const names = new Set(rooms.filter((name) => typeof name === "string"));
    for (const name of names) this.#record(this.client.room(name), ROOM_EVENTS, `room ${name}`, () => this.#handled());
  }

  #record(emitter, events, queue, handled = () => {}) {
    this.#events.set(queue, []);
    for (const [event, handler] of Object.entries(this.#recorders(events, queue, handled))) emitter.on(event, handler);
  }

  #recorders(events, queue, handled = () => {}) {
    const recorder = ([event, members]) => [event, (...values) => {
      this.#events.get(queue).push({ event, ...members(...values) });
      return event === "message" ? handled() : undefined;
    }];
    return Object.fromEntries(Object.entries(events).map(recorder));
  }

  #handled() {
    if (this.#handlers === "fail") throw new Error("the handler fails");
    return this.#handlers === "hold" ? new Promise((resolve) => this.#held.push(resolve)) : undefined;
  }

  async #step(number, step) {
    const [verb] = Object.keys(step).filter((name) => name in VERBS);
    try {
      assert.ok(verb, "there is no such verb");
      const { [verb]: value, ...members } = expanded(step, this.#ids);
      for (const name of Object.keys(members)) assert.ok(VERBS[verb] === "any" || VERBS[verb].includes(name), `unknown member ${name}`);
      await this[verb](value, members);
      await this.#clock.moveTo(this.#clock.now);
    } catch (error) {
      error.message = `step ${number + 1}, ${JSON.stringify(step).slice(0, 200)}: ${error.message}`;
      throw error;
    }
  }

  #checkLeftOver() {
    const { dials, frames, closes } = this.#network;
    const left = { dials: dials.map(({ url }) => url), closes };
    if (!this.#ignored.has("frames")) left.frames = frames;
    const named = new Set(this.#steps.map((step) => step.event && `subscription ${step.subscription}`));
    for (const [queue, events] of this.#ignored.has("events") ? [] : this.#events) {
      if (!queue.startsWith("subscription") || named.has(queue)) left[`events ${queue}`] = events;
    }
    for (const [what, those] of Object.entries(left)) assert.deepEqual(those, [], `left over: ${what}`);
  }

  // --- the application

  call(name, { as, ...members }) {
    const controller = new AbortController();
    const result = { state: "waiting", controller };
    if (as) this.#results.set(as, result);
    const settle = (state) => (value) => Object.assign(result, { state, value });
    try {
      const value = CALLS[name] ? CALLS[name](this, members, controller.signal, as) : fail(`no call ${name}`);
      if (typeof value?.then !== "function") return settle("resolved")(value);
      if (as) value.then(settle("resolved"), settle("rejected"));
    } catch (error) {
      settle("rejected")(error);
    }
  }

  subscribed(room, label, options) {
    const queue = `subscription ${label}`;
    this.#events.set(queue, []);
    this.#stops.set(label, this.client.subscribe(room, this.#recorders(ROOM_EVENTS, queue), options));
  }

  unsubscribed(label) {
    (this.#stops.get(label) ?? fail(`no subscription ${label}`))();
  }

  resolved(label, { value }) {
    const result = this.#result(label, "resolved");
    if (value !== undefined) assert.ok(matches(value, asBytes(result.value)), `it resolved with ${JSON.stringify(result.value)}`);
  }

  rejected(label, { code, ...members }) {
    const { value: error } = this.#result(label, "rejected");
    const { message, key, maybeStored: maybe_stored } = error;
    const seen = { code: error.code, message, key, maybe_stored };
    assert.ok(error instanceof NexiosError, `it is no NexiosError: ${error}`);
    assert.ok(matches({ code, ...members }, seen), `it rejected with ${JSON.stringify(seen)}`);
  }

  async refused({ call, ...members }, { message }) {
    this.call(call, { ...members, as: "the refused call" });
    await this.#clock.moveTo(this.#clock.now);
    const { value: error } = this.#result("the refused call", "rejected");
    assert.ok(isOfArgument(error), `it is no error of an argument: ${error}`);
    if (message) assert.ok(matches(message, error.message), `it says ${error.message}`);
  }

  waiting(label) {
    this.#result(label, "waiting");
  }

  cancel(label) {
    this.#result(label, "waiting").controller.abort();
  }

  #result(label, state) {
    const result = this.#results.get(label) ?? fail(`no call was named ${label}`);
    assert.equal(result.state, state, `${result.state} with ${result.value}`);
    return result;
  }

  handlers(mode) {
    this.#handlers = mode;
    if (mode === "go") this.#held.splice(0).forEach((end) => end());
  }

  // --- the network and the server

  async dials(url, { within_ms: [min, max] = [0, 0], offers }) {
    const { now } = this.#clock;
    await this.#clock.moveTo(now + max, () => this.#network.dials.length);
    const dial = this.#network.dials.shift() ?? fail("it did not dial");
    assert.equal(dial.url, url);
    assert.ok(dial.at >= now + min, `it dialled after ${dial.at - now} ms`);
    if (offers) assert.deepEqual(dial.offers, offers);
  }

  accepts(protocol) {
    this.#network.newest.accept(protocol);
  }

  refuses(status, { headers }) {
    this.#network.newest.refuse(status, headers);
  }

  unreachable() {
    this.#network.newest.fail("the address is unreachable");
  }

  welcomes(members) {
    this.#network.newest.accept("nexios.v1");
    const hello = this.#network.frames.shift();
    assert.equal(hello?.type, "hello");
    this.#network.newest.say({ type: "welcome", id: "c1", retry_ms: [100, 300], ...members });
  }

  says(header, { payload }) {
    this.#network.newest.say(header, made(payload));
  }

  says_raw(message) {
    this.#network.newest.sayRaw(made(message));
  }

  expect(pattern, { payload: wanted, as }) {
    const { payload = "", ...header } = this.#network.frames.shift() ?? fail("it sent nothing more");
    assert.ok(matches(pattern, header), `it sent ${JSON.stringify(header)}`);
    if (wanted !== undefined) assert.ok(matches(wanted, asBytes(payload)), `its payload was ${JSON.stringify(payload)}`);
    if (as) this.#ids[as] = header.id;
  }

  expect_raw(wanted) {
    const { message, escaped, ...frame } = this.#network.frames.shift() ?? fail("it sent nothing more");
    const seen = !escaped ? message : typeof message === "string" ? `\x1e\n${message}` : Buffer.concat([Buffer.from("\x1e\n"), message]);
    assert.ok(message !== undefined && matches(wanted, asBytes(seen)), `it sent ${JSON.stringify(seen ?? frame)}`);
  }

  silent() {
    assert.deepEqual(this.#network.frames, []);
  }

  closes(code, { reason }) {
    this.#network.newest.close(code, reason);
  }

  cuts() {
    this.#network.newest.close(1006);
  }

  closed(code, { reason }) {
    const seen = this.#network.closes.shift() ?? fail("it has closed nothing");
    assert.equal(seen.code, code === 1002 ? 4002 : code);
    if (reason) assert.ok(matches(reason, seen.reason), `its reason was ${seen.reason}`);
  }

  async advance(ms) {
    await this.#clock.moveTo(this.#clock.now + ms);
    assert.deepEqual(this.#network.dials, [], "it dialled");
  }

  async idle(ms) {
    const { dials, frames } = this.#network;
    const count = () => [dials.length, frames.length, ...[...this.#events.values()].map((events) => events.length)];
    const before = count();
    await this.#clock.moveTo(this.#clock.now + ms);
    assert.deepEqual(count(), before, "it was not idle");
  }

  page(name) {
    this.#page.happens(name);
  }

  // --- reports

  event(name, { room, subscription, ...members }) {
    const queue = room !== undefined ? `room ${room}` : subscription !== undefined ? `subscription ${subscription}` : "";
    const seen = this.#events.get(queue)?.shift() ?? fail("there is no event more");
    assert.ok(matches({ event: name, ...members }, { ...seen, event: seen.event }), `the event is ${JSON.stringify(seen)}`);
  }

  no_event() {
    for (const [queue, events] of this.#events) if (!queue.startsWith("subscription")) assert.deepEqual(events, [], queue);
  }

  is(pattern) {
    const { state, id, url } = this.client;
    assert.ok(matches(pattern, { state, id, url }), JSON.stringify({ state, id, url }));
  }

  room_is(name, pattern) {
    const { joined, position } = this.client.room(name);
    assert.ok(matches(pattern, { joined, position }), JSON.stringify({ joined, position }));
  }

  stored(positions) {
    const stored = JSON.parse(this.storage.getItem("positions"));
    assert.deepEqual(stored.sort(), positions.sort());
  }

  ignore(what) {
    what.forEach((each) => this.#ignored.add(each));
  }
}

/** The members that each verb takes. */
const VERBS = {
  call: "any", resolved: ["value"], rejected: ["code", "message", "key", "maybe_stored"], refused: ["message"],
  waiting: [], cancel: [], handlers: [], dials: ["within_ms", "offers"], accepts: [], refuses: ["headers"],
  unreachable: [], welcomes: [], says: ["payload"], says_raw: [], expect: ["payload", "as"], expect_raw: [],
  silent: [], closes: ["reason"], cuts: [], closed: ["reason"], advance: [], idle: [], page: [], event: "any",
  no_event: [], is: [], room_is: "any", stored: [], ignore: [],
};

const CALLS = {
  join: ({ client }, { room, since, timeout_ms: timeout }, signal) => client.room(made(room)).join({ since, timeout, signal }),
  leave: ({ client }, { room }, signal) => client.room(made(room)).leave({ signal }),
  subscribe: (player, { room, join }, _, label) => void player.subscribed(made(room), label, { join }),
  unsubscribe: (player, { subscription }) => player.unsubscribed(subscription),
  room: ({ client }, { room }) => void client.room(made(room)),
  publish: ({ client }, { room, data, key }, signal) => client.room(made(room)).publish(made(data), { key: made(key), signal }),
  presence: ({ client }, { room }, signal) => client.room(made(room)).presence({ signal }),
  request: ({ client }, { method, data, timeout_ms: timeout }, signal) => client.request(made(method), made(data), { timeout, signal }),
  send: ({ client }, { data }) => client.send(made(data)),
  drop: ({ client }, { away }) => client.drop({ away }),
  reconnect: ({ client }) => client.reconnect(),
  close: ({ client }) => client.close(),
};

/** A function that gives one after another of a sequence, the last again and again. */
function asked(value) {
  if (!value?.sequence) return value;
  let turn = 0;
  return async () => {
    const next = value.sequence[Math.min(turn++, value.sequence.length - 1)];
    return next?.error === undefined ? next : fail(next.error);
  };
}
