/**
 * A client of servers that speak `nexios.v1` (docs/protocol.md): it comes back by itself, its rooms
 * go on where they were, what it publishes is confirmed. What everything takes: nexios.d.ts.
 *
 *     const client = connect("wss://example.org/live");
 *     client.room("general").on("message", (text) => console.log(text));
 */

const PROTOCOL = "nexios.v1";
const MARK = "\x1e";
const HEADER_MAX = 4096;
const LONG_HEADER_MAX = 131072; // of a hello, and of what a server says
const ROOMS_MAX = 1000;
const UNANSWERED_MAX = 256; // the server answers `busy` beyond
const QUEUE_MAX = 1000; // what waits for an answer, and, in each room, for the handlers
const BYTES_MAX = 16 << 20;
const KEY_MS = 300_000; // so long does the server know the key of a message
const LIMIT_MS = 30_000;
const RETRY_MS = [500, 1500]; // until a server has said otherwise
const PASSING = ["busy", "failed", "unavailable"]; // errors that may be gone in a while
const RETRIED = [1001, 1005, 1006, 1011, 1012, 1013, 1014];
const KINDS = {
  1000: "normal", 1001: "going-away", 1002: "protocol", 1003: "invalid-data", 1005: "lost", 1006: "lost",
  1007: "invalid-data", 1008: "policy", 1009: "too-big", 1011: "server-error", 1012: "restart",
  1013: "try-again-later", 1014: "bad-gateway",
};

/** Starts a client: it connects now, and comes back until it is closed. */
export const connect = (url, options) => new Client(url, options);

/** Why an answer did not come, or was none: `code` is the server's, or one of the client's own. */
export class NexiosError extends Error {
  name = "NexiosError";

  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The server sent what is not `nexios.v1`. */
class Malformed extends Error {}

class Emitter {
  _listeners = {};

  on(event, listener) {
    (this._listeners[event] ??= new Set()).add(listener);
    return () => this.off(event, listener);
  }

  off(event, listener) {
    this._listeners[event]?.delete(listener);
  }

  /** Whether all listeners went through, or a promise of that where one of them is not done yet. */
  _emit(event, ...values) {
    const failed = (error) => (this._failed(error), false);
    const results = [...(this._listeners[event] ?? [])].map((listener) => {
      try {
        const result = listener(...values);
        return typeof result?.then === "function" ? Promise.resolve(result).then(() => true, failed) : true;
      } catch (error) {
        return failed(error);
      }
    });
    return results.some((result) => result.then)
      ? Promise.all(results).then((all) => all.every(Boolean))
      : results.every(Boolean);
  }
}

class Client extends Emitter {
  state = "connecting";
  id;
  #urls;
  #turn = 0; // whose of them it is
  #options;
  #socket;
  #dialling;
  #timer; // of the next attempt, or of what has to come now
  #beat;
  #heard;
  #attempt = 0;
  #window = RETRY_MS;
  #closing;
  #held = false;
  #rooms = new Map();
  #positions;
  #calls = new Map();
  #bytes = 0;
  #unanswered = 0;
  #lastId = 0;
  #online = () => this.reconnect();

  constructor(url, options = {}) {
    super();
    this.#urls = [url].flat().map(String);
    if (!this.#urls.length) throw new TypeError("there is no address");
    this.#options = { WebSocket: globalThis.WebSocket, protocols: [], openTimeout: 10_000, ...options };
    this.#options.storageKey ??= `nexios:${this.#urls[0].split(/[?#]/)[0]}`;
    if (!this.#options.WebSocket) throw new TypeError("there is no WebSocket here: pass one as { WebSocket }");
    this.#positions = this.#stored();
    this.#open();
    globalThis.addEventListener?.("online", this.#online);
  }

  get url() {
    return this.#urls[this.#turn % this.#urls.length];
  }

  room(name) {
    const room = this.#rooms.get(name) ?? this.#addRoom(name);
    if (!room) throw new RangeError(`a client has at most ${ROOMS_MAX} rooms`);
    return room;
  }

  /** `false` where it cannot go out now; it is not kept for later. */
  send(data) {
    const payload = this._encode(data);
    if (this.state !== "open" || this.#socket.bufferedAmount > BYTES_MAX) return false;
    this.#socket.send(isMarked(payload) ? frame("", payload) : payload);
    return true;
  }

  async request(method, data, { timeout = 10_000 } = {}) {
    return this._decode((await this._call("request", { method }, { payload: this._encode(data), timeout })).payload);
  }

  drop({ away = false } = {}) {
    if (this.#socket || this.#dialling) this.#end(1006, "dropped", { away });
    else if (away) clearTimeout(this.#timer);
  }

  reconnect() {
    if (this.state !== "reconnecting" || this.#socket || this.#dialling) return;
    clearTimeout(this.#timer);
    // Rooms that are behind catch up first, or what comes would not fit again.
    this.#held = [...this.#rooms.values()].some((room) => room._behind);
    if (this.#held) return;
    try {
      this.#open();
    } catch (error) {
      this._failed(error); // an address that is none: there are others
      this.#end(1006, "there is no such address");
    }
  }

  close(code = 1000, reason = "") {
    if (this.state !== "closed") this.#end(code, reason, { retry: false, send: code });
  }

  // --- for rooms

  /** Asks the server; `members` may be a function, for what is different after a reconnect. */
  _call(type, members, { payload, timeout, resend, room } = {}) {
    const header = (id) => ({ type, id, ...(typeof members === "function" ? members() : members) });
    const size = payload?.length ?? payload?.byteLength ?? 0;
    return new Promise((resolve, reject) => {
      const call = { id: ++this.#lastId, type, payload, resend, room, size, resolve };
      call.fail = (code, message) => reject(new NexiosError(code, message));
      call.frame = () => frame(header(call.id), payload);
      checkHeader(header(call.id));
      if (this.state === "closed") return call.fail("closed", "the client is closed");
      // Joins have their limit in the number of rooms.
      if (type !== "join" && (this.#calls.size >= QUEUE_MAX || this.#bytes > BYTES_MAX))
        return call.fail("busy", "too much is waiting for answers");
      if (timeout) call.timer = setTimeout(() => this.#fail(call, "timeout", "no answer came in time"), timeout);
      this.#calls.set(call.id, call);
      this.#bytes += size;
      this.#flush();
    });
  }

  /** Takes a room's join back. */
  _withdraw(room) {
    for (const call of this.#calls.values())
      if (call.type === "join" && call.room === room) this.#fail(call, "closed", "the room was left");
  }

  _position(room) {
    return this.#positions.get(room);
  }

  /** Keeps the position of a room, or forgets it. The newest are at the end. */
  _keep(room, position) {
    this.#positions.delete(room);
    if (position) this.#positions.set(room, position);
    if (this.#positions.size > ROOMS_MAX) this.#positions.delete(this.#positions.keys().next().value);
    try {
      this.#options.storage?.setItem(this.#options.storageKey, JSON.stringify([...this.#positions]));
    } catch (error) {
      this._failed(error);
    }
  }

  /** Cuts the connection, so that the server sends later what there is no room for now. */
  _fallBehind() {
    this.#end(1006, "a room is too far behind");
  }

  _caughtUp() {
    if (this.#held) this.reconnect();
  }

  _failed(error) {
    if (!this._listeners.error?.size) return console.error(error);
    for (const listener of [...this._listeners.error]) {
      try {
        listener(error);
      } catch (another) {
        console.error(another);
      }
    }
  }

  _encode(data) {
    if (data instanceof ArrayBuffer || ArrayBuffer.isView(data)) return data;
    return (typeof data === "string" && !this.#options.json ? data : JSON.stringify(data)) ?? "";
  }

  _decode(payload) {
    return this.#options.json && typeof payload === "string" && payload ? JSON.parse(payload) : payload;
  }

  // --- connecting

  #open() {
    const { protocols, openTimeout } = this.#options;
    this.#held = false;
    if (typeof protocols === "function") {
      const dialling = (this.#dialling = {});
      const still = (then) => (value) => dialling === this.#dialling && then(value);
      const failed = still((error) => (this._failed(error), this.#end(1006, "there are no protocols")));
      Promise.resolve().then(protocols).then(still((list) => this.#dial(list))).catch(failed);
    } else {
      this.#dial(protocols);
    }
    this.#timer = setTimeout(() => this.#end(1006, "the server did not answer in time"), openTimeout);
  }

  #dial(protocols) {
    const socket = new this.#options.WebSocket(this.url, [PROTOCOL, ...protocols]);
    this.#dialling = undefined;
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (socket.protocol === PROTOCOL) socket.send(this.#hello());
      else this.#end(1002, `the server does not speak ${PROTOCOL}`, { retry: false, send: 1000 });
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#end(code, reason);
    // `close` follows, but not in each version of Node.js.
    socket.onerror = () => {
      if (socket !== this.#socket) return;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#end(1006, ""), 1000);
    };
  }

  /** Where the client is in its rooms: as far as it has received; what waits here is handled yet. */
  #hello() {
    const { userAgent: user_agent } = this.#options;
    const positions = new Map(this.#positions);
    for (const room of this.#rooms.values()) if (room._at) positions.set(room.name, room._at.text);
    const rooms = {};
    let left = LONG_HEADER_MAX - byteLength(JSON.stringify({ type: "hello", user_agent, rooms }));
    for (const [room, position] of [...positions].reverse().slice(0, ROOMS_MAX)) {
      left -= byteLength(JSON.stringify({ [room]: position }));
      if (left < 0) break;
      Object.defineProperty(rooms, room, { value: position, enumerable: true }); // `__proto__` is a name too
    }
    return frame({ type: "hello", user_agent, rooms });
  }

  #end(code, reason, { retry, away, send } = {}) {
    const socket = this.#socket;
    const closing = this.#closing;
    if (send) socket?.close(send, reason); // throws at what is no code before anything has changed
    this.#socket = this.#dialling = this.#closing = undefined;
    clearTimeout(this.#timer);
    clearTimeout(this.#beat);
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      if (!send) socket.terminate ? socket.terminate() : socket.close();
    }
    if (closing && retry === undefined) {
      ({ code, reason } = closing);
      retry = closing.retry_ms !== undefined;
      this.#window = windowOf(closing.retry_ms) ?? this.#window;
    }
    retry ??= RETRIED.includes(code);
    this.#turn++;
    this.state = retry ? "reconnecting" : "closed";
    this.#endCalls(retry);
    for (const room of this.#rooms.values()) room.joined = false;
    if (!retry) globalThis.removeEventListener?.("online", this.#online);
    const kind = KINDS[code] ?? (code >= 3000 ? "application" : "unknown");
    this._emit("close", { code, reason, retry, kind });
    // A listener may have closed the client, or brought it back.
    if (this.state !== "reconnecting" || this.#socket || this.#dialling || away) return;
    this.#wait(code === 1013 && !closing ? 10_000 : 0);
  }

  #endCalls(retry) {
    this.#unanswered = 0;
    for (const call of [...this.#calls.values()]) {
      const { sent } = call;
      call.sent = false;
      if (!retry) this.#fail(call, "closed", "the client is closed");
      else if (sent && !call.resend) this.#fail(call, "disconnected", "the connection ended before the answer");
    }
  }

  #wait(least) {
    const [min, max] = this.#window;
    const limit = Math.min(LIMIT_MS, Math.max(max, RETRY_MS[0]) * 2 ** this.#attempt);
    const delay = least + (this.#attempt++ ? Math.random() * limit : min + Math.random() * (max - min));
    this.#timer = setTimeout(() => this.reconnect(), delay);
    this._emit("reconnecting", { attempt: this.#attempt, delay });
  }

  // --- receiving

  #receive(data) {
    this.#heard = true;
    try {
      const { header, payload } = parse(data);
      if (!header) this._emit("message", this._decode(payload));
      else if (Object.hasOwn(this.#handlers, header.type)) this.#handlers[header.type](header, payload);
    } catch (error) {
      // Of an application's message only the data may be wrong.
      if (!(error instanceof Malformed)) return this._failed(error);
      // A browser sends no 1002.
      this.#end(1002, error.message, { retry: false, send: 4002 });
    }
  }

  #handlers = {
    welcome: ({ id, retry_ms, ping_ms }) => {
      if (this.state === "open") return;
      clearTimeout(this.#timer);
      this.id = id;
      this.#attempt = 0;
      this.#window = windowOf(retry_ms) ?? RETRY_MS;
      for (const room of this.#rooms.values()) room._rejoin();
      // Rooms first: who may publish in one may have to be in it.
      this.#calls = new Map([...this.#calls].sort(([, a], [, b]) => (b.type === "join") - (a.type === "join")));
      this.state = "open";
      if (ping_ms > 0) this.#listen(Math.min(ping_ms, 2 ** 31 - 1));
      this.#flush();
      this._emit("open", { id });
    },
    joined: ({ room: name, position, recovered }) => {
      const at = position === undefined ? undefined : positionOf(position);
      const room = this.#rooms.get(name) ?? this.#addRoom(`${name}`);
      if (!room) return this._failed(new RangeError(`over ${ROOMS_MAX} rooms: no place for ${name}`));
      const how = { recovered: recovered === true, remembers: at !== undefined };
      this._emit("joined", room, how);
      room._enter(at, how);
    },
    left: ({ room }) => this.#rooms.get(room)?._leave(),
    message: (header, payload) => this.#rooms.get(header.room)?._message(header, payload),
    reset: ({ room, position }) => this.#rooms.get(room)?._reset(positionOf(position)),
    gap: ({ room, missed, offset }) => {
      if (room !== undefined) return this.#rooms.get(room)?._gap({ missed }, offset);
      this._emit("gap", { missed });
      for (const each of this.#rooms.values()) if (!each._at) each._gap({ missed });
    },
    presence: ({ room, event, user, data }) => this.#rooms.get(room)?._change({ event, user, data }),
    ack: (header) => this.#settle(header, { header }),
    reply: (header, payload) => this.#settle(header, { header, payload }),
    error: ({ id, code, message }) => this.#fail(this.#calls.get(id), `${code}`, `${message}`),
    closing: (closing) => {
      this.#closing = closing;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#end(1006, ""), this.#options.openTimeout);
    },
  };

  /** Asks after silence, and takes more of it for the end: a browser shows no pings. */
  #listen(every) {
    let asked = false;
    const beat = () => {
      if (this.#heard) asked = false;
      else if (asked) return this.#end(1006, "nothing was heard");
      else asked = !this.#socket.send(frame({ type: "ping", id: ++this.#lastId }));
      this.#heard = false;
      this.#beat = setTimeout(beat, every);
    };
    this.#beat = setTimeout(beat, every);
  }

  #addRoom(name) {
    for (const room of this.#rooms.values()) {
      if (this.#rooms.size < ROOMS_MAX) break;
      if (room._isIdle()) this.#rooms.delete(room.name);
    }
    if (this.#rooms.size >= ROOMS_MAX) return undefined;
    const room = new Room(this, name);
    this.#rooms.set(name, room);
    return room;
  }

  // --- calls

  #flush() {
    if (this.state !== "open") return;
    for (const call of this.#calls.values()) {
      if (this.#unanswered >= UNANSWERED_MAX) break;
      if (call.sent) continue;
      call.first ??= Date.now();
      if (Date.now() - call.first > KEY_MS && call.type === "publish") {
        this.#fail(call, "expired", "whether the message was stored is not known: a retry might store it twice");
        continue;
      }
      call.sent = true;
      this.#unanswered++;
      this.#socket.send(call.frame());
    }
  }

  #settle({ id }, answer) {
    const call = this.#calls.get(id);
    if (call) this.#take(call).resolve(answer);
  }

  #fail(call, code, message) {
    if (call) this.#take(call).fail(code, message);
  }

  #take(call) {
    clearTimeout(call.timer);
    this.#calls.delete(call.id);
    this.#bytes -= call.size;
    if (call.sent) this.#unanswered--;
    call.sent = false;
    queueMicrotask(() => this.#flush());
    return call;
  }

  #stored() {
    try {
      const stored = JSON.parse(this.#options.storage?.getItem(this.#options.storageKey) ?? "[]");
      const isPlace = ([room, position]) => typeof room === "string" && positionOf(position);
      return new Map(stored.filter(isPlace).slice(-ROOMS_MAX));
    } catch {
      return new Map(); // what is no longer readable is as good as nothing
    }
  }
}

class Room extends Emitter {
  name;
  joined = false;
  _at; // how far it has received, in rooms that remember
  _behind = false;
  #client;
  #known = false; // the application has heard `joined`, and no `left` since
  #wanted = false;
  #joining;
  #since; // where to begin, as the application says, until it is in
  #leaving = false;
  #watching = false;
  #queue = [];
  #bytes = 0;
  #running = false;

  constructor(client, name) {
    super();
    this.#client = client;
    this.name = name;
  }

  async join({ since = this.#since } = {}) {
    if (since !== undefined && since !== "start") positionOf(since);
    this.#since = since;
    this.#wanted = true;
    if (this.joined) return;
    const { name } = this;
    const members = () => ({ room: name, position: this._at?.text ?? this.#since ?? this.#client._position(name) });
    this.#joining ??= this.#client._call("join", members, { resend: true, room: this });
    try {
      await this.#joining;
    } catch (error) {
      this.#wanted = false;
      throw error;
    } finally {
      this.#joining = undefined;
    }
  }

  async leave() {
    this.#wanted = false;
    this.#since = undefined;
    this.#client._withdraw(this);
    this.joined = false;
    this.#leaving = true;
    try {
      if (this.#client.state === "open") await this.#client._call("leave", { room: this.name });
    } catch (error) {
      if (error.code !== "disconnected") throw error;
    } finally {
      this.#leaving = false;
    }
    this._leave();
  }

  async publish(data, { key = newKey() } = {}) {
    const payload = this.#client._encode(data);
    const { header } = await this.#client._call("publish", { room: this.name, key }, { payload, resend: true });
    return { key, position: header.position, ...(header.duplicate && { duplicate: true }) };
  }

  async presence({ timeout = 10_000 } = {}) {
    const { payload } = await this.#client._call("presence", { room: this.name }, { timeout });
    this.#watching = true;
    return JSON.parse(payload);
  }

  // --- for the client

  _isIdle() {
    const isHeard = Object.values(this._listeners).some(({ size }) => size);
    return !(isHeard || this.#wanted || this.#known || this.#queue.length);
  }

  /** After the connection has come back. */
  async _rejoin() {
    if (!this.#wanted || this.joined || this.#joining) return;
    try {
      await this.join();
    } catch (error) {
      if (PASSING.includes(error.code)) {
        this.#wanted = true;
        setTimeout(() => this._rejoin(), 1000 + 4000 * Math.random());
      } else if (error.code !== "closed") {
        this._leave({ code: error.code, message: error.message });
      }
    }
  }

  _enter(at, how) {
    if (this.#leaving) return;
    this.joined = this.#known = true;
    this.#since = undefined;
    this._at = at;
    this.#push("joined", [how], { position: at?.text ?? "" });
    if (!this.#watching) return;
    const changed = (users) => this._change({ event: "state", users });
    this.presence().then(changed, (error) => error.code !== "disconnected" && this._failed(error));
  }

  _leave(why = {}) {
    this.joined = this.#watching = false;
    this._at = undefined;
    if (this.#known) this.#push("left", [why], { position: "" });
    else this.#client._keep(this.name);
    this.#known = false;
  }

  _message({ offset, nonce }, payload) {
    if (!this.joined) return;
    const at = this._at && offset !== undefined ? positionAt(this._at.epoch, offset, nonce) : undefined;
    if (at && at.offset <= this._at.offset) return;
    const size = payload.length ?? payload.byteLength;
    if (this.#push("message", [payload, { offset }], { position: at?.text, size })) this._at = at ?? this._at;
  }

  _reset(at) {
    if (this.joined && this.#push("reset", [], { position: at.text })) this._at = at;
  }

  /** In rooms that remember the next connection brings what is missing, unless later ones are here already. */
  _gap(gap, offset) {
    if (!this.joined) return;
    if (!this._at) this.#push("gap", [gap], {});
    else if (offset <= this._at.offset) this.#push("reset", [], {});
    else this.#fallBehind();
  }

  _change(change) {
    if (this.joined) this._emit("presence", change);
  }

  _failed(error) {
    this.#client._failed(error);
  }

  // --- one after another

  /** Whether there was room for it. */
  #push(event, values, { position, size = 0 }) {
    const isFull = this.#queue.length >= QUEUE_MAX || this.#bytes > BYTES_MAX;
    if (isFull && !this._at && (event === "message" || event === "gap")) {
      this.#miss(event === "gap" ? values[0].missed : 1);
      return false;
    }
    if (isFull) {
      this.#fallBehind();
      return false;
    }
    this.#queue.push({ event, values, position, size });
    this.#bytes += size;
    this.#run();
    return true;
  }

  #fallBehind() {
    this._behind = this.#running;
    this.#client._fallBehind();
  }

  /** In rooms that do not remember what does not fit is lost, and said to be. */
  #miss(count) {
    const last = this.#queue.at(-1);
    const missed = last.event === "gap" ? last.values[0].missed + count : count;
    if (last.event !== "gap") this.#queue.push({ event: "gap", size: 0 });
    this.#queue.at(-1).values = [{ missed: missed >= 0 ? missed : undefined }]; // how many is not always known
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    for (let item; this.#client.state !== "closed" && (item = this.#queue.shift()); ) {
      this.#bytes -= item.size;
      const handled = this.#handle(item);
      // Only what has been handled is not asked for again.
      if ((typeof handled === "boolean" ? handled : await handled) && item.position !== undefined)
        this.#client._keep(this.name, item.position);
    }
    this.#running = this._behind = false;
    this.#client._caughtUp();
  }

  #handle({ event, values: [first, ...more] }) {
    try {
      return this._emit(event, event === "message" ? this.#client._decode(first) : first, ...more);
    } catch (error) {
      this._failed(error); // no JSON
      return false;
    }
  }
}

// --- what travels

const isMarked = (payload) => (typeof payload === "string" ? payload.startsWith(MARK) : bytesOf(payload)[0] === 0x1e);

const bytesOf = (data) =>
  ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);

const byteLength = (text) => new TextEncoder().encode(text).length;

function checkHeader(header) {
  if (byteLength(JSON.stringify(header)) > HEADER_MAX) throw new RangeError(`a header has at most ${HEADER_MAX} bytes`);
}

function frame(header, payload = "") {
  const head = `${MARK}${header && JSON.stringify(header)}\n`;
  if (typeof payload === "string") return head + payload;
  const start = new TextEncoder().encode(head);
  const whole = new Uint8Array(start.length + payload.byteLength);
  whole.set(start);
  whole.set(bytesOf(payload), start.length);
  return whole;
}

function parse(data) {
  if (!isMarked(data)) return { payload: data };
  const isText = typeof data === "string";
  const end = isText ? data.indexOf("\n") : bytesOf(data).indexOf(0x0a);
  if (end < 0 || end > LONG_HEADER_MAX + 1) throw new Malformed("a header has no end");
  const payload = data.slice(end + 1);
  if (end === 1) return { payload };
  let header;
  try {
    const head = isText ? data.slice(1, end) : new TextDecoder("utf-8", { fatal: true }).decode(data.slice(1, end));
    header = JSON.parse(head);
  } catch {
    // Said below.
  }
  if (typeof header !== "object" || !header || Array.isArray(header)) throw new Malformed("a header is no JSON object");
  return { header, payload };
}

function positionOf(text) {
  const [, epoch, offset, nonce] = /^([\da-f]{1,16})-(\d{1,16})-([\da-f]{32})$/i.exec(text) ?? [];
  return positionAt(epoch, Number(offset), nonce);
}

function positionAt(epoch, offset, nonce) {
  if (!(Number.isSafeInteger(offset) && offset >= 0 && /^[\da-f]{32}$/i.test(nonce)))
    throw new Malformed("a position is EPOCH-OFFSET-NONCE");
  return { epoch, offset, text: `${epoch}-${offset}-${nonce}` };
}

function windowOf(window) {
  const [min, max] = Array.isArray(window) ? window : [];
  return min >= 0 && max >= min && max < 2 ** 31 ? [min, max] : undefined;
}

function newKey() {
  // Node.js 18 has no `crypto` here; a key has to be unique, not secret.
  const chance = () => Math.random() * 2 ** 32;
  const numbers = globalThis.crypto?.getRandomValues(new Uint32Array(4)) ?? Array.from("1234", chance);
  return Array.from(numbers, (number) => Math.floor(number).toString(36)).join("-");
}
