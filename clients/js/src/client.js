import { Backoff } from "./backoff.js";
import { Calls, checkHeader, tooBig } from "./calls.js";
import { Connection, PROTOCOL, checkAddress } from "./connection.js";
import { Emitter } from "./emitter.js";
import { consequenceOf, delayOf, isBlaming, kindOf } from "./ending.js";
import { Malformed, NexiosError, quiet } from "./errors.js";
import { frame, isMarked, parse } from "./frame.js";
import { hello } from "./hello.js";
import { Liveness } from "./liveness.js";
import { followPage } from "./page.js";
import { positionOf } from "./position.js";
import { Positions } from "./positions.js";
import { Room, roomName } from "./room.js";
import { isShaped } from "./shapes.js";
import { decode, encode, shown, text } from "./values.js";

const ROOMS_MAX = 1000;
const BUFFERED_MAX = 16 << 20;
const BEFORE_WELCOME = ["welcome", "closing"];
const MALFORMED_MAX = 3; // connections in a row
const WAKE_MS = 1_000; // between attempts that the page asks for
const DEFAULTS = { protocols: [], openTimeout: 10_000, requestTimeout: 10_000, stableAfter: 10_000, retryFirst: true, bigint: "error" };

export class Client extends Emitter {
  state = "connecting";
  id;
  _options;
  _calls = new Calls();
  _positions;
  #urls;
  #turn = 0; // the number of the address, modulo their count
  #connection;
  #backoff = new Backoff();
  #liveness;
  #rooms = new Map();
  #closing;
  #timer; // of the next attempt
  #stable;
  #malformed = 0;
  #isAsked = false; // for another token, since the last connection that held
  #isHeld = false; // until rooms have caught up
  #isAway = false; // until `reconnect()`
  #isFrozen = false;
  #isReported = false; // the failure of the first attempt
  #wokenAt = -Infinity;
  #unfollow;

  constructor(url, options = {}) {
    super();
    const { urls, settings } = checked(url, options);
    this.#urls = urls;
    this._options = settings;
    this._positions = new Positions(settings, (error) => this._failed(error));
    this.#liveness = new Liveness(() => this.#ping(), (reason) => this.#end({ code: 1006, reason, cause: "own" }));
    this.#open(this._positions.acquire());
    this.#unfollow = followPage({
      probe: () => this._isOpen && this.#liveness.probe(),
      wake: () => this.#wake(),
      freeze: () => this.#freeze(),
      thaw: () => this.#thaw(),
    });
  }

  get url() {
    const url = this.#urls[this.#turn % this.#urls.length];
    return this.#connection?.url ?? (typeof url === "string" ? url : undefined);
  }

  room(name) {
    const room = this.#rooms.get(roomName(name)) ?? this.#addRoom(name);
    if (!room) throw new RangeError(`a client has at most ${ROOMS_MAX} rooms`);
    return room;
  }

  subscribe(name, handlers = {}, { join = true } = {}) {
    const room = this.room(name);
    const offs = Object.entries(handlers).map(([event, handler]) => room.on(event, handler));
    let isOver = this.state === "closed";
    if (join && !isOver) room._retain();
    return () => {
      offs.forEach((off) => off());
      if (join && !isOver) room._release();
      isOver = true;
    };
  }

  send(data) {
    const payload = encode(data, this._options);
    if (!this._isOpen || this.#liveness.isProbing || this.#connection.bufferedAmount > BUFFERED_MAX) return false;
    const message = isMarked(payload) ? frame("", payload) : payload;
    const error = tooBig(message, this._calls.bytesMax);
    if (error) throw error;
    this.#connection.send(message);
    return true;
  }

  request(method, data, options) {
    return quiet(this.#request(method, data, options));
  }

  drop({ away = false } = {}) {
    const isWaiting = this.state === "reconnecting" && !this.#connection;
    if (this.#connection) this.#end({ code: 1006, reason: "dropped", cause: "own", away });
    else if (away && isWaiting) this.#stayAway();
  }

  reconnect() {
    if (this.state === "parked") this.#unpark();
    this.#isAway = this.#isFrozen = false;
    this.#attempt();
  }

  close(code = 1000, reason = "") {
    if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999))
      throw new RangeError(`invalid code ${shown(code)}: must be 1000, or from 3000 to 4999`);
    if (this.state !== "closed") this.#end({ code, reason: text("reason", reason), cause: "closed", says: code });
  }

  // --- for rooms

  get _isOpen() {
    return this.state === "open";
  }

  _announce(room, how) {
    this._emit("joined", room, how);
  }

  /** Cuts the connection, so that the server sends again the messages that do not fit now. */
  _fallBehind() {
    this.#end({ code: 1006, reason: "a room is too far behind", cause: "own" });
  }

  /** Returns the error of a join where the server lets the client into no more rooms, if it is one. */
  _overRooms() {
    const { roomsMax } = this._calls;
    if (this.#rooms.size <= roomsMax) return undefined;
    const taken = [...this.#rooms.values()].filter((room) => room._isTaken()).length;
    if (taken < roomsMax) return undefined;
    return new NexiosError("forbidden", `the server lets a client into ${roomsMax} rooms at most`);
  }

  _caughtUp() {
    if (this.#isHeld) this.#attempt();
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

  // --- connecting

  #open(ready) {
    const { token, protocols } = this._options;
    const connection = (this.#connection = new Connection(this.#owner()));
    this.#isHeld = false;
    try {
      connection.start(this._options, ready, this.#urls[this.#turn % this.#urls.length], token, protocols);
    } catch (error) {
      connection.end();
      this.#connection = undefined;
      throw error;
    }
  }

  /** Returns the receiver of a connection's reports. A connection that has ended reports nothing. */
  #owner() {
    return {
      opened: (isSpoken) => (isSpoken ? this.#greet() : this.#end(UNSPOKEN)),
      received: (data) => this.#receive(data),
      failed: (error) => this.#endFailed(error),
      ended: (ending) => this.#end(ending),
    };
  }

  #greet() {
    const positions = new Map(this._positions);
    for (const room of this.#rooms.values()) if (room._at) positions.set(room.name, room._at.text);
    this.#connection.send(hello(positions, this._options.userAgent, this._calls));
  }

  #endFailed(error) {
    this._failed(error);
    this.#end({ code: 1006, reason: `there is no address or token: ${error?.message ?? error}`, cause: "own" });
  }

  #attempt() {
    if (this.state !== "reconnecting" || this.#connection || this.#isAway || this.#isFrozen) return;
    clearTimeout(this.#timer);
    // Rooms that are behind catch up first, or further messages would not fit.
    this.#isHeld = [...this.#rooms.values()].some((room) => room._isBehind());
    if (this.#isHeld) return;
    try {
      this.#open();
    } catch (error) {
      this.#endFailed(error);
    }
  }

  #unpark() {
    this.#backoff.reset();
    this.#malformed = 0;
    this.#isAsked = false;
    this.state = "reconnecting";
  }

  #stayAway() {
    this.#isAway = true;
    this.#isHeld = false;
    clearTimeout(this.#timer);
  }

  #wake() {
    if (this._isOpen) return this.#liveness.probe();
    const now = Date.now();
    if (Math.abs(now - this.#wokenAt) < WAKE_MS) return;
    this.#wokenAt = now;
    this.#attempt();
  }

  /** Cuts the connection of a page that is put aside: it would keep the page in memory, or die unnoticed. */
  #freeze() {
    if (!["connecting", "open", "reconnecting"].includes(this.state) || this.#isFrozen) return;
    this.#isFrozen = true;
    clearTimeout(this.#timer);
    if (this.#connection) this.#end({ code: 1001, reason: "the page is put aside", cause: "own" });
    this._positions.release();
  }

  #thaw() {
    if (!this.#isFrozen) return this.#wake();
    this.#isFrozen = false;
    if (this.state === "reconnecting" && !this.#isAway) this.#reopen();
  }

  #reopen() {
    if (!this.#connection) this.#open(this._positions.acquire());
  }

  // --- the end of a connection

  #end(ending) {
    const connection = this.#connection;
    connection?.end(ending.says, ending.reason);
    if (this.#closing && ["close", "own"].includes(ending.cause) && !ending.away)
      ending = { ...this.#closing, cause: "closing", closing: this.#closing };
    this.#connection = this.#closing = undefined;
    clearTimeout(this.#timer);
    clearTimeout(this.#stable);
    this.#liveness.stop();
    this.#count(ending, connection);
    if (ending.away) this.#stayAway();
    this.#follow(ending, ending.cause === "closed" ? "close" : this.#consequenceOf(ending));
  }

  #count({ cause, closing }, connection) {
    if (closing) this.#backoff.closing(closing.retry_ms);
    if (cause === "malformed") this.#malformed++;
    else if (connection?.isWelcome) this.#malformed = 0;
  }

  #consequenceOf(ending) {
    const { token, protocols } = this._options;
    const consequence = consequenceOf(ending);
    if (ending.cause === "malformed" && this.#malformed >= MALFORMED_MAX) return "park";
    if (consequence === "retry" && this.#isFirstRoundOver(ending)) return "park";
    if (consequence !== "authorize") return consequence;
    const isAnother = [token, protocols, ...this.#urls].some((value) => typeof value === "function") && !this.#isAsked;
    this.#isAsked = true;
    return isAnother ? "ask" : "unauthorized";
  }

  /** Returns true if each address has failed once, where the application wants no more of that. */
  #isFirstRoundOver({ away }) {
    const isFirst = !this._options.retryFirst && this.id === undefined && !away && !this.#isFrozen;
    return isFirst && this.#backoff.attempt + 1 - Number(this.#isAsked) >= this.#urls.length; // another token is no other address
  }

  #follow(ending, consequence) {
    const { code, reason } = ending;
    const kind = kindOf(ending);
    const retry = ["retry", "ask"].includes(consequence);
    if (consequence !== "ask") this.#turn++; // else the address that refused the token is tried with another one
    const state = (this.state = retry ? "reconnecting" : consequence === "close" ? "closed" : "parked");
    this.#endCalls(ending);
    if (state !== "closed") this.#report(ending, retry);
    this._emit("close", { code, reason, retry, kind });
    const isCurrent = () => this.state === state && !this.#connection; // a listener may have changed it
    if (consequence === "unauthorized" && isCurrent()) this._emit("unauthorized", { code, reason });
    if (state === "parked" && isCurrent()) this._emit("parked", { code, reason, kind });
    if (retry && isCurrent()) this.#wait(ending, consequence);
  }

  #endCalls(ending) {
    if (this.state === "closed") return this.#endAll();
    this._calls.ended(isBlaming(ending) && `the server closed the connection (${ending.code} ${ending.reason})`);
    for (const room of [...this.#rooms.values()]) room._disconnected();
  }

  #endAll() {
    this.#unfollow();
    this._positions.release();
    this._calls.close();
    for (const room of this.#rooms.values()) (room._disconnected(), room._closed());
  }

  /** Logs once that there is no connection, if no listener reports it. */
  #report({ code, reason }, retry) {
    if (this.id !== undefined || this.#isReported || this._listeners.close?.size) return;
    this.#isReported = true;
    console.warn(`nexios: no connection to ${this.#urls}: ${reason || "it failed"} (${code}); ${retry ? "it is tried again" : "reconnect() tries again"}`);
  }

  #wait(ending, consequence) {
    if (this.#isAway || this.#isFrozen) return;
    const isFirst = consequence === "ask" ? true : undefined;
    const delay = this.#backoff.next({ ...delayOf(ending), isFirst });
    this.#timer = setTimeout(() => this.#attempt(), delay);
    this._emit("reconnecting", { attempt: this.#backoff.attempt, delay });
  }

  // --- receiving

  #receive(data) {
    this.#liveness.heard();
    try {
      const { header, payload } = parse(data);
      const isKnown = !header || isShaped(header);
      if (isKnown && !this._isOpen && !BEFORE_WELCOME.includes(header?.type)) throw new Malformed("something comes before the welcome");
      if (!header) this._emit("message", decode(payload, this._options));
      else if (isKnown) this.#handlers[header.type](header, payload);
    } catch (error) {
      // In an application's message only the data may be wrong.
      if (!(error instanceof Malformed)) return this._failed(error);
      // A browser cannot send 1002.
      this.#end({ code: 1002, reason: error.message, cause: "malformed", says: 4002 });
    }
  }

  #handlers = {
    welcome: (welcome) => this._isOpen || this.#welcomed(welcome),
    joined: ({ room: name, position, recovered }) => {
      const at = position === undefined ? undefined : positionOf(position);
      const room = this.#rooms.get(name) ?? this.#addRoom(roomName(name));
      if (!room) return this._failed(new RangeError(`over ${ROOMS_MAX} rooms: no place for ${name}`));
      room._enter(at, { recovered: recovered === true, hasHistory: at !== undefined });
    },
    left: ({ room }) => this.#rooms.get(room)?._left(),
    message: (header, payload) => this.#rooms.get(header.room)?._message(header, payload),
    reset: ({ room, position }) => this.#rooms.get(room)?._reset(positionOf(position)),
    gap: ({ room, missed, offset }) => {
      if (typeof room === "string") return this.#rooms.get(room)?._gap({ missed }, offset);
      this._emit("gap", { missed });
      for (const each of this.#rooms.values()) if (!each._at) each._gap({ missed });
    },
    presence: ({ room, event, user, data }) =>
      ["join", "leave"].includes(event) && this.#rooms.get(room)?._change({ event, user, data }),
    ack: (header) => (this.#liveness.acked(header.id), this._calls.settle(header, { header })),
    reply: (header, payload) => this._calls.settle(header, { header, payload }),
    error: (header) => this._calls.refuse(header),
    closing: (closing) => {
      this.#closing = { code: closing.code, reason: closing.reason ?? "", retry_ms: closing.retry_ms };
      this.#connection.deadline(this._options.openTimeout, "");
    },
  };

  #welcomed({ id, retry_ms, ping_ms, limits }) {
    this.id = id;
    this.#connection.welcomed();
    this.#backoff.welcomed(retry_ms);
    this.#stable = setTimeout(() => this.#holds(), this._options.stableAfter);
    this.state = "open";
    this._calls.limit(limits);
    for (const room of this.#rooms.values()) room._connected();
    this.#liveness.start(ping_ms);
    this._calls.open((data) => this.#connection.send(data));
    this._emit("open", { id });
  }

  #holds() {
    this.#backoff.reset();
    this.#malformed = 0;
    this.#isAsked = false;
  }

  #ping() {
    const id = this._calls.nextId();
    this.#connection.send(frame({ type: "ping", id }));
    return id;
  }

  // --- rooms and requests

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

  async #request(method, data, { timeout = this._options.requestTimeout, signal } = {}) {
    const what = `method ${shown(text("method", method))}`;
    checkHeader(what, { type: "request", id: Number.MAX_SAFE_INTEGER, method });
    const payload = encode(data, this._options);
    const reply = await this._calls.ask("request", { method }, { what, payload, timeout, signal });
    return decode(reply.payload, this._options);
  }
}

const UNSPOKEN = { code: 1002, reason: `the server does not speak ${PROTOCOL}`, cause: "protocol", says: 4002 };

/** Returns the addresses and the options with their defaults, or throws where one is wrong. */
function checked(url, options) {
  const given = Object.entries(options).filter(([name, value]) => value !== undefined || name === "WebSocket");
  const settings = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...Object.fromEntries(given) };
  const urls = [url].flat().map((each) => (typeof each === "function" ? each : `${each}`));
  if (!urls.length) throw new TypeError("there is no address");
  urls.filter((each) => typeof each === "string").forEach(checkAddress);
  if (!["error", "string"].includes(settings.bigint))
    throw new TypeError(`invalid bigint ${shown(settings.bigint)}: must be "error" or "string"`);
  settings.storageKey ??= `nexios:${typeof urls[0] === "string" ? urls[0].split(/[?#]/)[0] : ""}`;
  if (!settings.WebSocket) throw new TypeError("there is no WebSocket here: pass one as { WebSocket }");
  return { urls, settings };
}
