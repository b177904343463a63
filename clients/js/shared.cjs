// Made of clients/js/src by `npm run build`: change it there.
var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __export = (target, all) => {
  for (var name in all)
    __defProp(target, name, { get: all[name], enumerable: true });
};
var __copyProps = (to, from, except, desc) => {
  if (from && typeof from === "object" || typeof from === "function") {
    for (let key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
  }
  return to;
};
var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

// src/shared/index.js
var index_exports = {};
__export(index_exports, {
  shared: () => shared
});
module.exports = __toCommonJS(index_exports);

// src/bytes.js
var tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
var bytesOf = (data) => ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
var byteLength = (data) => typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;

// src/values.js
function text(what, value) {
  if (typeof value !== "string") throw new TypeError(`invalid ${what} ${shown(value)}: must be a text`);
  return wellFormed(what, value);
}
function shown(value) {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  return typeof value === "object" && value ? tagOf(value) : `${typeof value === "bigint" ? `${value}n` : String(value)}`;
}
function wellFormed(what, value) {
  if (/\p{Surrogate}/u.test(value)) throw new TypeError(`invalid ${what} ${shown(value)}: holds half of a surrogate pair`);
  return value;
}

// src/connection.js
function checkAddress(address) {
  let protocol;
  try {
    ({ protocol } = new URL(address, globalThis.location?.href));
  } catch {
  }
  if (!/^(ws|http)s?:$/.test(protocol)) throw new SyntaxError(`invalid address ${JSON.stringify(`${address}`)}: must be a ws: or wss: URL`);
}

// src/errors.js
var Malformed = class extends Error {
};

// src/frame.js
var MARK = "";
var LONG_HEADER_MAX = 131072;
var isMarked = (payload) => typeof payload === "string" ? payload.startsWith(MARK) : bytesOf(payload)[0] === 30;
function frame(header, payload = "") {
  const head = `${MARK}${header && JSON.stringify(header)}
`;
  if (typeof payload === "string") return head + payload;
  const start = new TextEncoder().encode(head);
  const whole = new Uint8Array(start.length + payload.byteLength);
  whole.set(start);
  whole.set(bytesOf(payload), start.length);
  return whole;
}
function parse(data) {
  if (!isMarked(data)) return { payload: data };
  const isText2 = typeof data === "string";
  const end = isText2 ? data.indexOf("\n") : bytesOf(data).indexOf(10);
  if (end < 0 || end > LONG_HEADER_MAX + 1) throw new Malformed("a header has no end");
  const payload = data.slice(end + 1);
  if (end === 1) return { payload };
  let header;
  try {
    const head = isText2 ? data.slice(1, end) : new TextDecoder("utf-8", { fatal: true }).decode(data.slice(1, end));
    header = JSON.parse(head);
  } catch {
  }
  if (typeof header !== "object" || !header || Array.isArray(header)) throw new Malformed("a header is not a JSON object");
  return { header, payload };
}

// src/hello.js
var ROOMS_MAX = 1e3;
function hello(positions, user_agent, { bytesMax, roomsMax }) {
  const rooms = {};
  let left = Math.min(LONG_HEADER_MAX, bytesMax - 2) - byteLength(JSON.stringify({ type: "hello", user_agent, rooms }));
  for (const [room, position] of [...positions].reverse().slice(0, Math.min(ROOMS_MAX, roomsMax))) {
    left -= byteLength(JSON.stringify({ [room]: position }));
    if (left < 0) break;
    Object.defineProperty(rooms, room, { value: position, enumerable: true });
  }
  return frame({ type: "hello", user_agent, rooms });
}

// src/position.js
function positionOf(text2) {
  const [, epoch, offset, nonce] = /^([\da-f]{1,16})-(\d{1,16})-([\da-f]{32})$/i.exec(text2) ?? [];
  return positionAt(epoch, Number(offset), nonce);
}
function positionAt(epoch, offset, nonce) {
  if (!(Number.isSafeInteger(offset) && offset >= 0 && /^[\da-f]{32}$/i.test(nonce)))
    throw new Malformed("a position is EPOCH-OFFSET-NONCE");
  return { epoch, offset, text: `${epoch}-${offset}-${nonce}` };
}

// src/shapes.js
var isText = (value) => typeof value === "string";
var isNumber = (value) => Number.isSafeInteger(value) && value >= 0;
var orNothing = (check) => (value) => value === void 0 || value === null || check(value);
var isLimits = (value) => typeof value === "object" && ["message_bytes", "unanswered", "rooms"].every((name) => orNothing(isNumber)(value[name]));
var SHAPES = {
  welcome: { id: isText, limits: orNothing(isLimits) },
  joined: { room: isText },
  left: { room: isText },
  message: { room: isText },
  reset: { room: isText },
  gap: { room: orNothing(isText), missed: orNothing(isNumber), offset: orNothing(isNumber) },
  ack: { id: isNumber },
  reply: { id: isNumber },
  error: { id: isNumber, code: isText, message: isText },
  presence: { room: isText, event: isText, user: isText },
  closing: { code: isNumber, reason: orNothing(isText) }
};
function isShaped(header) {
  const { type } = header;
  if (!isText(type)) throw new Malformed("a header has no type");
  if (!Object.hasOwn(SHAPES, type)) return false;
  for (const [name, check] of Object.entries(SHAPES[type]))
    if (!check(header[name])) throw new Malformed(`a frame of the type ${type} has no proper ${name}`);
  return true;
}

// src/shared/room.js
var ENTRIES_MAX = 200;
var BYTES_MAX = 256 << 10;
var RelayRoom = class {
  #relay;
  #name;
  #isIn = false;
  // the connection
  #isUnasked = false;
  // the server has let it in by itself
  #members = /* @__PURE__ */ new Map();
  // tab → its position, in a room with history
  #entries = [];
  // `{ at, data }`; the first is where the connection began, and has no data
  #bytes = 0;
  #queue = [];
  #isBusy = false;
  #isRecovered = false;
  // the connection began where a tab was
  #joining;
  // what the connection is being let in for
  #isRejoining = false;
  constructor(relay, name) {
    this.#relay = relay;
    this.#name = name;
  }
  /** Carries out a `join` or a `leave` of a tab, or the leave of tabs that are gone. */
  ask(call) {
    this.#queue.push(call);
    if (!this.#isBusy) this.#next();
  }
  get isIdle() {
    return !(this.#isIn || this.#isBusy || this.#members.size);
  }
  gone(tab) {
    if (this.#members.delete(tab)) this.ask({ type: "leave" });
  }
  /** A tab has come: it gets into the rooms of the server. */
  welcome(tab) {
    if (this.#isIn && this.#isUnasked) this.#enter(tab, tab.positions[this.#name]);
  }
  // --- what the server says
  joined(header) {
    const members = [...this.#members];
    const [call, isAgain] = [this.#joining, this.#isRejoining];
    this.#isUnasked ||= !call && !members.length;
    this.#isIn = true;
    this.#isRejoining = false;
    this.#isRecovered = header.recovered === true;
    this.#begin(header.position === void 0 ? void 0 : positionOf(header.position));
    for (const [tab, at] of members) {
      if (!isAgain) this.#enterFresh(tab, void 0, header);
      else this.#enter(tab, header.recovered || at?.text === header.position ? at?.text : void 0);
    }
    if (call) return call.tab.isThere && this.#enterFresh(call.tab, call.position, header);
    if (members.length) return;
    for (const tab of this.#relay.greeted) this.#enterFresh(tab, tab.positions[this.#name], header);
  }
  left() {
    if (this.#isRejoining) return;
    this.tell(frame({ type: "left", room: this.#name }));
    this.#forget();
  }
  message({ offset, nonce }, data) {
    const last = this.#at;
    if (!last || offset === void 0) return this.tell(data);
    const at = positionAt(last.epoch, offset, nonce);
    if (offset <= last.offset) return;
    this.#keep({ at, data });
    for (const [tab, { offset: received }] of this.#members) if (offset > received) this.#give(tab, at, data);
  }
  reset({ position }, data) {
    this.#begin(positionOf(position));
    for (const tab of this.#members.keys()) this.#give(tab, this.#at, data);
  }
  /** Returns true if what a gap names comes by another connection. */
  isBehind({ offset }) {
    return this.#at !== void 0 && !(offset <= this.#at.offset);
  }
  /** Gives something to all members. */
  tell(data) {
    for (const tab of this.#members.keys()) tab.send(data);
  }
  presence(data) {
    const members = [...this.#members.keys()];
    const watching = members.filter((tab) => tab.watched.has(this.#name));
    for (const tab of watching.length ? watching : members) tab.send(data);
  }
  // --- one call after another
  #next() {
    const call = this.#queue.shift();
    this.#isBusy = Boolean(call);
    if (call?.type === "join") this.#join(call);
    else if (call) this.#leave(call);
  }
  #done({ tab, id }, { type = "ack", code, message } = {}) {
    if (tab?.isThere) tab.send(frame({ type, id, code, message }));
    this.#next();
  }
  #join(call) {
    const { tab, position } = call;
    if (!tab.isThere || this.#members.has(tab)) return this.#done(call);
    const first = position === void 0 ? void 0 : this.#relay.lowest(this.#name, position);
    if (!this.#isIn) return this.#letIn(call, first);
    if (!this.#canEnter(position)) return this.#rejoin(call);
    this.#enter(tab, position);
    this.#done(call);
  }
  #canEnter(position) {
    return this.#isUnasked || !this.#at || position === void 0 || this.#covers(position);
  }
  #letIn(call, position) {
    this.#joining = call;
    this.#relay.call({ type: "join", room: this.#name, position }, (answer) => {
      this.#joining = void 0;
      if (answer.type === "error") return this.#refused(call, answer);
      this.#isIn = true;
      if (call.tab.isThere && !this.#members.has(call.tab)) this.#members.set(call.tab, this.#at);
      if (!this.#members.size) this.ask({ type: "leave" });
      this.#done(call, answer);
    });
  }
  /** Begins earlier, for a tab that wants messages from before those that are kept. */
  #rejoin(call) {
    this.#isRejoining = true;
    this.#relay.call({ type: "leave", room: this.#name }, (answer) => {
      this.#isRejoining = answer.type !== "error";
      this.#isIn = !this.#isRejoining;
      if (this.#isRejoining) return this.#letIn(call, call.position);
      this.#enter(call.tab);
      this.#done(call);
    });
  }
  #refused(call, refusal) {
    this.#isIn = false;
    if (!this.#isRejoining) return this.#done(call, refusal);
    const back = { type: "join", room: this.#name, position: this.#at?.text };
    this.#relay.call(back, ({ type }) => {
      this.#isRejoining = false;
      this.#isIn = type !== "error";
      if (!this.#isIn) this.left();
      this.#done(call, refusal);
    });
  }
  #leave(call) {
    const { tab } = call;
    const isLast = this.#isIn && (tab ? this.#members.size === 1 : !this.#members.size && !this.#isUnasked);
    if (isLast && (!tab || this.#members.has(tab))) {
      return this.#relay.call({ type: "leave", room: this.#name }, (answer) => {
        if (answer.type !== "error") this.#forget();
        this.#done(call, answer);
      });
    }
    if (this.#members.delete(tab)) tab.send(frame({ type: "left", room: this.#name }));
    tab?.watched.delete(this.#name);
    this.#done(call);
  }
  #forget() {
    for (const tab of this.#members.keys()) tab.watched.delete(this.#name);
    this.#isIn = this.#isUnasked = false;
    this.#members.clear();
    this.#begin();
  }
  // --- members
  /** Lets a tab in with the words of the server where they fit: it begins where the connection does. */
  #enterFresh(tab, position, header) {
    const isOther = position !== void 0 && position !== "start" && position !== header.position;
    if (isOther && header.recovered) return this.#enter(tab, position);
    this.#members.set(tab, this.#at);
    tab.send(frame(header));
  }
  #enter(tab, position) {
    if (!this.#at) {
      this.#members.set(tab, void 0);
      return tab.send(frame({ type: "joined", room: this.#name, recovered: false }));
    }
    const recovered = position !== void 0 && this.#covers(position);
    const at = recovered ? positionOf(position) : this.#at;
    this.#members.set(tab, at);
    tab.send(frame({ type: "joined", room: this.#name, position: at.text, recovered }));
    const later = this.#entries.filter((entry) => entry.data && entry.at.offset > at.offset);
    for (const entry of later) this.#give(tab, entry.at, entry.data);
  }
  #give(tab, at, data) {
    this.#members.set(tab, at);
    tab.send(data);
  }
  // --- what is kept
  get #at() {
    return this.#entries.at(-1)?.at;
  }
  #begin(at) {
    this.#entries = at ? [{ at }] : [];
    this.#bytes = 0;
  }
  #keep(entry) {
    this.#entries.push(entry);
    this.#bytes += sizeOf(entry);
    const isFull = () => this.#entries.length > ENTRIES_MAX || this.#bytes > BYTES_MAX;
    while (this.#entries.length > 1 && isFull()) this.#bytes -= sizeOf(this.#entries.shift());
  }
  /** Returns true if all that follows on a position is here. */
  #covers(position) {
    if (position === "start") return false;
    const { epoch, offset, text: text2 } = positionOf(position);
    const [{ at: first }] = this.#entries;
    const known = this.#entries.find(({ at }) => at.offset === offset);
    const isWithin = offset >= first.offset && (this.#isRecovered || offset <= this.#at.offset);
    return epoch === first.epoch && isWithin && (!known || known.at.text === text2);
  }
};
var sizeOf = ({ data }) => data?.length ?? data?.byteLength ?? 0;

// src/shared/relay.js
var GREETING_MS = 250;
var UNANSWERED_MAX = 256;
var ROOMS_MAX2 = 1e3;
var UNLIMITED = { bytesMax: Infinity, roomsMax: Infinity };
var CHANGE = { type: "closing", code: 1012, reason: "another tab takes over", retry_ms: [0, 0] };
var Relay = class {
  #socket;
  #tabs = /* @__PURE__ */ new Map();
  #rooms = /* @__PURE__ */ new Map();
  #calls = /* @__PURE__ */ new Map();
  // by the number that the server knows
  #waiting = [];
  // calls beyond those that the server allows
  #nextId;
  #unanswered = 0;
  #welcome;
  #hasGreeted = false;
  #timer;
  #isOver = false;
  constructor(socket, nextId) {
    this.#socket = socket;
    this.#nextId = nextId;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#tabs.forEach((tab) => this.#open(tab));
    socket.onmessage = ({ data }) => this.#handle(data);
    socket.onclose = ({ code, reason }) => this.#finish((tab) => tab.close(code, reason));
  }
  get bufferedAmount() {
    return this.#socket.bufferedAmount;
  }
  /** Serves a tab, which has `open`, `send` and `close`. */
  add(id, tab) {
    if (this.#tabs.has(id)) return;
    this.#tabs.set(id, tab);
    Object.assign(tab, { isThere: true, isOpen: false, isGreeted: false, positions: {}, watched: /* @__PURE__ */ new Set() });
    if (this.#socket.protocol) this.#open(tab);
  }
  remove(id) {
    const tab = this.#tabs.get(id);
    if (!tab || this.#isOver) return;
    tab.isThere = false;
    this.#tabs.delete(id);
    for (const room of this.#rooms.values()) room.gone(tab);
    this.#greet();
  }
  /** Ends the connection for its leader; the other tabs come back at once. */
  end(leader, code, reason) {
    this.#finish((tab, id) => id !== leader && (tab.send(frame(CHANGE)), tab.close(CHANGE.code, CHANGE.reason)));
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    if (code === void 0) this.#socket.close();
    else this.#socket.close(code, reason);
  }
  /** Takes what a tab sends. */
  receive(id, data) {
    const tab = this.#tabs.get(id);
    if (!tab || this.#isOver) return;
    const { header, payload } = parse(data);
    if (header?.type === "hello") this.#greeted(tab, header);
    else if (["join", "leave"].includes(header?.type)) this.#room(header.room).ask({ tab, ...header });
    else if (header) this.#forward(tab, header, payload);
    else this.#socket.send(data);
  }
  // --- for rooms
  get greeted() {
    return [...this.#tabs.values()].filter((tab) => tab.isGreeted);
  }
  /** Sends a call; `answered` gets the answer. */
  call(header, answered, payload) {
    const id = this.#nextId();
    this.#calls.set(id, answered);
    this.#waiting.push(frame({ ...header, id }, payload));
    this.#flush();
  }
  /** Returns the position of the tab that has received least in a room, if it is before this position or the only one. */
  lowest(room, position) {
    if (position === "start") return position;
    let lowest = positionIn(position);
    for (const { positions } of this.greeted) {
      const other = positionIn(positions[room]);
      if (other && (!lowest || other.epoch === lowest.epoch && other.offset < lowest.offset)) lowest = other;
    }
    return lowest?.text;
  }
  // --- what tabs say
  #open(tab) {
    tab.isOpen = true;
    tab.open(this.#socket.protocol);
  }
  #greeted(tab, { rooms = {}, user_agent }) {
    Object.assign(tab, { isGreeted: true, positions: rooms, userAgent: user_agent });
    if (this.#welcome) this.#welcomeTab(tab);
    else this.#greet();
  }
  /** Sends the one `hello`, once all tabs that are there have said where they are. */
  #greet() {
    if (this.#hasGreeted || !this.greeted.length) return;
    if (this.greeted.length === this.#tabs.size) this.#sayHello();
    else this.#timer ??= setTimeout(() => this.#sayHello(), GREETING_MS);
  }
  #sayHello() {
    clearTimeout(this.#timer);
    if (this.#hasGreeted || this.#isOver) return;
    this.#hasGreeted = true;
    const names = new Set(this.greeted.flatMap(({ positions }) => Object.keys(positions)));
    const known = [...names].map((name) => [name, this.lowest(name)]).filter(([, position]) => position);
    this.#socket.send(hello(new Map(known.reverse()), this.greeted[0]?.userAgent, UNLIMITED));
  }
  #welcomeTab(tab) {
    tab.send(frame(this.#welcome));
    for (const room of this.#rooms.values()) room.welcome(tab);
  }
  #forward(tab, header, payload) {
    const { id, type, room } = header;
    const answered = (answer, content) => {
      if (type === "presence" && answer.type === "reply") tab.watched.add(room);
      if (tab.isThere) tab.send(frame({ ...answer, id }, content));
    };
    this.call(header, answered, payload);
  }
  #flush() {
    const most = this.#welcome?.limits?.unanswered || UNANSWERED_MAX;
    while (this.#waiting.length && this.#unanswered < most) {
      this.#unanswered++;
      this.#socket.send(this.#waiting.shift());
    }
  }
  // --- what the server says
  #handle(data) {
    try {
      const { header, payload } = parse(data);
      const handler = header && Object.hasOwn(this.#handlers, header.type) && this.#handlers[header.type];
      if (handler && isShaped(header)) handler(header, payload, data);
      else this.#tellAll(data);
    } catch {
      this.#tellAll(data);
    }
  }
  #handlers = {
    welcome: (header) => {
      this.#welcome = header;
      for (const tab of this.greeted) this.#welcomeTab(tab);
    },
    joined: (header) => this.#room(header.room).joined(header),
    left: (header) => this.#rooms.get(header.room)?.left(),
    message: (header, _, data) => this.#rooms.get(header.room)?.message(header, data),
    reset: (header, _, data) => this.#rooms.get(header.room)?.reset(header, data),
    gap: (header, _, data) => {
      if (typeof header.room !== "string") return this.#tellAll(data);
      const room = this.#rooms.get(header.room);
      const isBehind = room?.isBehind(header);
      room?.tell(data);
      if (isBehind) this.#fallBehind();
    },
    presence: (header, _, data) => this.#rooms.get(header.room)?.presence(data),
    ack: (header, payload) => this.#answer(header, payload),
    reply: (header, payload) => this.#answer(header, payload),
    error: (header, payload) => this.#answer(header, payload)
  };
  #answer(header, payload) {
    const answered = this.#calls.get(header.id);
    if (!this.#calls.delete(header.id)) return;
    this.#unanswered--;
    answered(header, payload);
    this.#flush();
  }
  #tellAll(data) {
    for (const tab of this.greeted) tab.send(data);
  }
  #room(name) {
    if (this.#rooms.size >= ROOMS_MAX2) this.#rooms.forEach((room, each) => room.isIdle && this.#rooms.delete(each));
    if (!this.#rooms.has(name)) this.#rooms.set(name, new RelayRoom(this, name));
    return this.#rooms.get(name);
  }
  /** Messages of a room are missing: they come with another connection. */
  #fallBehind() {
    if (this.#isOver) return;
    this.#socket.onclose = null;
    this.#socket.close();
    this.#finish((tab) => tab.close(1006, "a room is too far behind"));
  }
  #finish(end) {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    for (const [id, tab] of [...this.#tabs].reverse()) end(tab, id);
  }
};
function positionIn(text2) {
  try {
    return text2 === void 0 ? void 0 : positionOf(text2);
  } catch {
    return void 0;
  }
}

// src/shared/socket.js
var ANSWER_MS = 3e3;
var FAREWELL_MS = 100;
var REASON_MAX = 123;
var CHANGE2 = "another tab takes over";
var SharedSocket = class {
  binaryType = "arraybuffer";
  protocol = "";
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  #settings;
  #url;
  #protocols;
  #id = `${Math.random()}`.slice(2) + `${Date.now()}`;
  #channel;
  #leader;
  // the id of the one that serves this tab
  #relay;
  // of a leader
  #isOver = false;
  #queue = new AbortController();
  // for the lock
  #over = new AbortController();
  #timer;
  #release;
  #untilOver = new Promise((resolve) => this.#release = resolve);
  constructor(settings, url, protocols) {
    checkAddress(url);
    for (const each of protocols) if (!/^[\w!#$%&'*+.^`|~-]+$/.test(each)) throw new SyntaxError("invalid subprotocol");
    this.#settings = settings;
    this.#url = url;
    this.#protocols = protocols;
    this.#channel = new settings.BroadcastChannel(settings.key);
    this.#channel.onmessage = ({ data }) => this.#handle(data);
    this.#request(`${settings.key}:${this.#id}`, {}, () => this.#ask());
    this.#request(settings.key, { signal: this.#queue.signal }, () => this.#granted());
  }
  get bufferedAmount() {
    return this.#relay?.bufferedAmount ?? 0;
  }
  send(data) {
    if (this.#relay) this.#relay.receive(this.#id, data);
    else this.#post({ type: "send", to: this.#leader, data });
  }
  close(code, reason = "") {
    if (byteLength(reason) > REASON_MAX) throw new SyntaxError(`the reason is over ${REASON_MAX} bytes`);
    if (this.#isOver) return;
    if (this.#relay) this.#relay.end(this.#id, code, reason);
    else this.#post({ type: "bye" });
    this.#end();
  }
  // --- locks
  #request(name, options, granted) {
    const hold = () => this.#isOver ? void 0 : (granted(), this.#untilOver);
    this.#settings.locks.request(name, options, hold).catch((error) => this.#failed(error));
  }
  /** A lock was taken away, or cannot be had: then the tab connects by itself. */
  #failed(error) {
    if (this.#isOver) return;
    if (error?.name !== "AbortError") this.#granted();
    else if (this.#relay) this.#change();
  }
  #granted() {
    if (this.#relay) return;
    if (this.#leader === void 0) this.#lead();
    else this.#suspect();
  }
  #ask() {
    if (this.#isOver || this.#relay) return;
    this.#post({ type: "ask" });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#takeOver(), ANSWER_MS);
  }
  /** The leader does not answer, such as one whose page hangs. */
  #takeOver() {
    this.#queue.abort();
    this.#request(this.#settings.key, { steal: true }, () => this.#granted());
  }
  #lead() {
    clearTimeout(this.#timer);
    const socket = this.#dial();
    if (!socket) return;
    this.#relay = new Relay(socket, this.#settings.nextId);
    this.#relay.add(this.#id, {
      open: (protocol) => this.#opened(protocol),
      send: (data) => this.onmessage?.({ data }),
      close: (code, reason) => this.#closed(code, reason)
    });
    this.#post({ type: "lead" });
  }
  #dial() {
    try {
      return new this.#settings.WebSocket(this.#url, this.#protocols);
    } catch (error) {
      this.#closed(1006, error.message);
    }
  }
  /** The leader of this tab seems to have ended; the reason may be on its way. */
  #suspect() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#post({ type: "lost", leader: this.#leader }), this.#change()), FAREWELL_MS);
  }
  /** Ends the socket so that the client comes back at once, to another leader. */
  #change() {
    if (this.#isOver) return;
    this.#relay?.end(this.#id);
    this.onmessage?.({ data: frame({ type: "closing", code: 1012, reason: CHANGE2, retry_ms: [0, 0] }) });
    this.#closed(1012, CHANGE2);
  }
  // --- the channel
  #post(message) {
    if (!this.#isOver) this.#channel.postMessage({ from: this.#id, ...message });
  }
  #handle(message) {
    const { type, from, to } = message;
    if (this.#isOver || to !== void 0 && to !== this.#id) return;
    if (this.#relay) return this.#serve(type, message);
    if (type === "lead") return void (this.#leader === void 0 ? this.#ask() : this.#suspect());
    if (type === "lost") return void (message.leader === this.#leader && this.#change());
    if (type === "here") [this.#leader] = [from, clearTimeout(this.#timer)];
    if (from !== this.#leader) return;
    if (type === "open") this.#opened(message.protocol);
    else if (type === "data") this.onmessage?.({ data: message.data });
    else if (type === "close") this.#closed(message.code, message.reason);
  }
  #serve(type, { from, data }) {
    if (type === "ask") this.#takeIn(from);
    else if (type === "send") this.#relay.receive(from, data);
    else if (type === "bye") this.#relay.remove(from);
  }
  #takeIn(id) {
    this.#post({ type: "here", to: id });
    this.#relay.add(id, {
      open: (protocol) => this.#post({ type: "open", to: id, protocol }),
      send: (data) => this.#post({ type: "data", to: id, data }),
      close: (code, reason) => this.#post({ type: "close", to: id, code, reason })
    });
    const gone = () => this.#relay.remove(id);
    const { key, locks } = this.#settings;
    locks.request(`${key}:${id}`, { signal: this.#over.signal }, gone).catch(() => {
    });
  }
  // --- the end
  #opened(protocol) {
    this.protocol = protocol;
    this.onopen?.({});
  }
  #closed(code, reason) {
    if (this.#isOver) return;
    this.#end();
    this.onclose?.({ code, reason });
  }
  #end() {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#queue.abort();
    this.#over.abort();
    this.#release();
    this.#channel.close();
  }
};

// src/shared/index.js
function shared({ name, WebSocket, locks, BroadcastChannel } = {}) {
  text("name", name);
  WebSocket ??= globalThis.WebSocket;
  locks ??= globalThis.navigator?.locks;
  BroadcastChannel ??= globalThis.BroadcastChannel;
  if (!WebSocket || !locks || !BroadcastChannel) return WebSocket;
  let lastId = 0;
  const settings = { key: `nexios:shared:${name}`, WebSocket, locks, BroadcastChannel, nextId: () => ++lastId };
  return class extends SharedSocket {
    constructor(url, protocols = []) {
      super(settings, url, protocols);
    }
  };
}
