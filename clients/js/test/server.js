// A server without a network: a script says what it does, and sees what the client sent.
import assert from "node:assert/strict";

import { connect } from "../nexios.js";

export const NONCE = "0123456789abcdef0123456789abcdef";
export const position = (offset, epoch = "a1") => `${epoch}-${offset}-${NONCE}`;

/** All that is due without a timer has been done. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A header and its payload as they travel; a text where the payload is text. */
export function framed(header, payload = "") {
  const head = `\x1e${typeof header === "string" ? header : JSON.stringify(header)}\n`;
  return typeof payload === "string" ? head + payload : Buffer.concat([Buffer.from(head), payload]);
}

/** Parses a message of a client: a header with its payload, or an application's message. */
export function unframed(message) {
  const bytes = Buffer.from(message);
  const payload = (start) => (typeof message === "string" ? bytes.subarray(start).toString() : bytes.subarray(start));
  if (bytes[0] !== 0x1e) return { message: payload(0) };
  const end = bytes.indexOf(0x0a);
  assert.ok(end > 0, "a header ends");
  if (end === 1) return { message: payload(2), escaped: true };
  return { ...JSON.parse(bytes.subarray(1, end)), ...(end + 1 < bytes.length && { payload: payload(end + 1) }) };
}

/** One connection as the server sees it. */
class Connection {
  sent = [];
  isOpen = true;

  constructor(socket, url, protocols) {
    Object.assign(this, { socket, url, protocols });
  }

  accept(protocol = "nexios.v1") {
    this.socket.protocol = protocol;
    this.socket.onopen?.({});
  }

  /** Accepts, and answers the `hello`, which it returns. */
  welcome(members = {}) {
    this.accept();
    const hello = this.take();
    assert.equal(hello.type, "hello");
    this.say({ type: "welcome", id: "c1", retry_ms: [100, 300], ...members });
    return hello;
  }

  say(header, payload) {
    this.sayRaw(framed(header, payload));
  }

  sayRaw(message) {
    const data = typeof message === "string" ? message : new Uint8Array(message).buffer;
    this.socket.onmessage?.({ data });
  }

  message(room, offset, text = `m${offset}`, nonce = NONCE) {
    this.say({ type: "message", room, offset, nonce }, text);
  }

  joined(room, offset, recovered = false) {
    this.say({ type: "joined", room, position: position(offset), recovered });
  }

  /** The oldest that has not been taken yet. */
  take() {
    assert.ok(this.sent.length, "the client sent nothing more");
    return unframed(this.sent.shift());
  }

  takeAll() {
    return this.sent.splice(0).map(unframed);
  }

  close(code, reason = "") {
    this.isOpen = false;
    this.socket.onclose?.({ code, reason });
  }

  cut() {
    this.close(1006);
  }
}

/** A simulated server. Clients connect to it by `new server.WebSocket(…)`. */
export class Server {
  connections = [];

  constructor() {
    const { connections } = this;
    this.WebSocket = class {
      bufferedAmount = 0;

      constructor(url, protocols) {
        if (!URL.canParse(url)) throw new SyntaxError(`no address: ${url}`);
        this.connection = new Connection(this, url, protocols);
        connections.push(this.connection);
      }

      send(message) {
        assert.ok(this.connection.isOpen, "the connection is open");
        this.connection.sent.push(message);
      }

      close(code = 1005, reason = "") {
        const isSendable = code === 1005 || code === 1000 || (code >= 3000 && code <= 4999);
        if (!isSendable) throw new RangeError("a browser sends no such code");
        this.connection.isOpen = false;
        this.connection.closedWith ??= { code, reason };
      }
    };
  }

  /** The newest attempt of the client. */
  get newest() {
    return this.connections.at(-1);
  }
}

/** A client with a server, timers that the test turns, and chance in the middle. */
export function start(t, { url = "ws://test/live", ...options } = {}) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  t.mock.method(Math, "random", () => 0.5);
  const server = new Server();
  const client = connect(url, { WebSocket: server.WebSocket, ...options });
  t.after(() => client.close());
  const errors = [];
  client.on("error", (error) => errors.push(error));
  return { server, client, errors, connection: server.newest, tick: (ms) => t.mock.timers.tick(ms) };
}

/** The same, welcomed. */
export function opened(t, options, members) {
  const started = start(t, options);
  return { ...started, hello: started.connection.welcome(members) };
}

/** All that an emitter tells, as `[event, …values]`. */
export function recorded(emitter, ...events) {
  const told = [];
  for (const event of events) emitter.on(event, (...values) => void told.push([event, ...values]));
  return told;
}

/** `sessionStorage`, as far as the client uses it. */
export class MemoryStorage {
  items = new Map();
  getItem = (key) => this.items.get(key) ?? null;
  setItem = (key, value) => void this.items.set(key, value);
}
