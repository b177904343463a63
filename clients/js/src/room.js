import { checkHeader } from "./calls.js";
import { Emitter } from "./emitter.js";
import { quiet } from "./errors.js";
import { Line } from "./line.js";
import { positionAt, positionOf } from "./position.js";
import { decode, encode, keyOf, shown, text } from "./values.js";
import { Wish } from "./wish.js";

const MUTED_MAX = 1000;
const NO_POSITION = "f".repeat(16) + "-9007199254740991-" + "f".repeat(32);

/** Returns the name of a room; throws if it is not a valid one. */
export function roomName(name) {
  text("room name", name);
  checkHeader(`room name ${shown(name)}`, { type: "join", id: Number.MAX_SAFE_INTEGER, room: name, position: NO_POSITION });
  return name;
}

export class Room extends Emitter {
  name;
  _at; // the received position, in rooms with history
  #client;
  #wish;
  #line;
  #isKnown = false; // the application has received `joined`, and no `left` since
  #isWatching = false;
  #muted = []; // events that arrive while the room is being left
  #stay = 0;

  constructor(client, name) {
    super();
    this.#client = client;
    this.name = name;
    this.#line = new Line(this.#lineOwner());
    this.#wish = new Wish(this.#wishOwner());
  }

  get joined() {
    return this.#wish.isIn === true && !this.#wish.isMuted;
  }

  get position() {
    return this._at?.text ?? this.#client._positions.get(this.name);
  }

  join({ since, signal, timeout } = {}) {
    return quiet(new Promise((resolve, reject) => {
      if (since !== undefined) checkSince(since);
      this.#wish.join({ resolve, reject, signal, timeout, since });
    }));
  }

  leave({ signal, timeout } = {}) {
    return quiet(new Promise((resolve, reject) => this.#wish.leave({ resolve, reject, signal, timeout })));
  }

  publish(data, options) {
    return quiet(this.#publish(data, options));
  }

  presence({ timeout = this.#client._options.requestTimeout, signal } = {}) {
    const read = ({ payload }) => ((this.#isWatching = true), JSON.parse(payload));
    return quiet(this.#client._calls.ask("presence", { room: this.name }, { timeout, signal }).then(read));
  }

  async #publish(data, { key, signal } = {}) {
    key = keyOf(key);
    const payload = encode(data, this.#client._options);
    const what = `key ${shown(key)} for room ${shown(this.name)}`;
    const { header } = await this.#client._calls.ask("publish", { room: this.name, key }, { what, payload, key, signal });
    return { key, position: header.position, duplicate: header.duplicate === true };
  }

  // --- for the client

  _isBehind() {
    return this.#line.isBehind;
  }

  _isIdle() {
    return !(this._isHeard() || this.#isKnown) && this.#wish.isIdle && this.#line.isEmpty;
  }

  /** Returns true if the server counts the room among those of the client, or will. */
  _isTaken() {
    return this.#wish.isIn !== false && !this.#wish.isMuted;
  }

  _retain() {
    this.#wish.retain();
  }

  _release() {
    this.#wish.release();
  }

  _connected() {
    this.#wish.connected();
  }

  _disconnected() {
    this.#wish.disconnected();
    this.#muted = [];
  }

  _closed() {
    this.#wish.closed();
  }

  /** Handles the frame `joined`. */
  _enter(at, how) {
    this.#wish.isIn = true;
    if (!this.#isMuted(() => this._enter(at, how))) this.#entered(at, how);
  }

  _left() {
    this.#wish.isIn = false;
    this.#out();
  }

  _message(header, payload) {
    if (this.#isIn() && !this.#isMuted(() => this._message(header, payload))) this.#receive(header, payload);
  }

  _reset(at) {
    if (!this.#isIn() || this.#isMuted(() => this._reset(at))) return;
    if (this.#push({ event: "reset", values: [], position: at.text })) this._at = at;
  }

  /** Handles a gap. In rooms with history the next connection brings the messages, unless later ones are here. */
  _gap(gap, offset) {
    if (!this.#isIn() || this.#isMuted(() => this._gap(gap, offset))) return;
    if (!this._at) this.#push({ event: "gap", values: [gap] });
    else if (offset <= this._at.offset) this.#push({ event: "reset", values: [] });
    else this.#line.fallBehind();
  }

  _change(change) {
    if (this.joined) this.#push({ event: "presence", values: [change] });
  }

  _failed(error) {
    this.#client._failed(error);
  }

  // --- inside

  #isIn() {
    return this.#wish.isIn === true;
  }

  /** Puts aside events that arrive while the room is being left: they count if the client stays after all. */
  #isMuted(again) {
    if (!this.#wish.isMuted) return false;
    if (this.#muted.length < MUTED_MAX) this.#muted.push(again);
    else this.#client._fallBehind();
    return true;
  }

  #entered(at, how) {
    this.#isKnown = true;
    this._at = at;
    this.#client._announce(this, how);
    this.#push({ event: "joined", values: [how], position: at?.text ?? "" });
    if (!this.#isWatching) return;
    const changed = (users) => this._change({ event: "state", users });
    this.presence().then(changed, (error) => error.code !== "disconnected" && this._failed(error));
  }

  #receive({ offset, nonce }, payload) {
    const at = this._at && offset !== undefined ? positionAt(this._at.epoch, offset, nonce) : undefined;
    if (at && at.offset <= this._at.offset) return;
    const size = payload.length ?? payload.byteLength;
    const item = { event: "message", values: [payload, { offset }], position: at?.text, size };
    if (this.#push(item)) this._at = at ?? this._at;
  }

  /** Ends the stay in the room, and forgets its position. */
  #out(why = {}, isReported = this.#isKnown) {
    this.#muted = [];
    this.#isWatching = false;
    this._at = undefined;
    this.#stay++;
    this.#client._positions.forget(this.name);
    if (isReported) this.#push({ event: "left", values: [why] });
    this.#isKnown = false;
  }

  #push(item) {
    return this.#line.push({ ...item, stay: this.#stay }, this._at);
  }

  #lineOwner() {
    return {
      handle: (item) => this.#handle(item),
      isEnded: () => this.#client.state === "closed",
      fallBehind: () => this.#client._fallBehind(),
      caughtUp: () => this.#client._caughtUp(),
    };
  }

  #wishOwner() {
    const calls = () => this.#client._calls;
    const position = () => this._at?.text ?? this.#wish.since ?? this.#client._positions.get(this.name);
    const members = { join: () => ({ room: this.name, position: position() }), leave: () => ({ room: this.name }) };
    return {
      ask: ({ type }, done, failed) => ({ call: calls().add({ type, members: members[type], room: this, done, failed }) }),
      refusal: () => this.#client._overRooms(),
      withdraw: ({ call }) => calls().withdraw(call),
      isOpen: () => this.#client._isOpen,
      isClosed: () => this.#client.state === "closed",
      out: () => this.#out(),
      stays: () => this.#muted.splice(0).forEach((again) => again()),
      refused: ({ code, message }, isReported) => this.#out({ code, message }, isReported || this.#isKnown),
    };
  }

  /** Handles an event, and then stores its position. */
  #handle({ event, values, position, stay }) {
    const keep = (isHandled) => {
      if (!isHandled || position === undefined || stay !== this.#stay) return;
      if (position) this.#client._positions.keep(this.name, position);
      else this.#client._positions.forget(this.name);
    };
    const handled = this.#tell(event, values);
    return typeof handled === "boolean" ? (keep(handled), true) : handled.then(keep);
  }

  #tell(event, [first, ...more]) {
    try {
      return this._emit(event, event === "message" ? decode(first, this.#client._options) : first, ...more);
    } catch (error) {
      this._failed(error); // a text that is not JSON
      return false;
    }
  }
}

function checkSince(since) {
  try {
    if (since !== "start") positionOf(since);
  } catch {
    throw new TypeError(`invalid position ${shown(since)}: must be "start" or EPOCH-OFFSET-NONCE`);
  }
}
