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

// src/index.js
var index_exports = {};
__export(index_exports, {
  NexiosError: () => NexiosError,
  connect: () => connect
});
module.exports = __toCommonJS(index_exports);

// src/backoff.js
var LIMIT_MS = 3e4;
var RETRY_MS = [500, 1500];
var between = (min, max) => min + Math.random() * (max - min);
var Backoff = class {
  attempt = 0;
  // attempts that failed, and connections that did not hold
  #window = RETRY_MS;
  welcomed(retry_ms) {
    this.#window = windowOf(retry_ms) ?? RETRY_MS;
  }
  closing(retry_ms) {
    this.#window = windowOf(retry_ms) ?? this.#window;
  }
  reset() {
    this.attempt = 0;
  }
  /** Returns the time until the next attempt, and counts it. */
  next({ isFirst = !this.attempt, extra = 0, least = 0 } = {}) {
    const [min, max] = this.#window;
    const limit = Math.min(LIMIT_MS, Math.max(max, RETRY_MS[0]) * 2 ** this.attempt);
    const delay = between(min, max);
    this.attempt++;
    return Math.max(least, extra + (isFirst ? delay : Math.max(delay, between(limit / 2, limit))));
  }
};
function windowOf(window) {
  const [min, max] = Array.isArray(window) && window.length === 2 ? window : [];
  return min >= 0 && max >= min && max < 2 ** 31 ? [min, max] : void 0;
}

// src/bytes.js
var tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
var isBytes = (data) => ArrayBuffer.isView(data) || tagOf(data) === "ArrayBuffer";
var bytesOf = (data) => ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
var byteLength = (data) => typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
var bytesOver = (data, limit) => data.length * 3 <= limit ? 0 : Math.max(0, byteLength(data) - limit);

// src/errors.js
var NexiosError = class extends Error {
  name = "NexiosError";
  constructor(code, message, { key, maybeStored = false } = {}) {
    super(message);
    Object.assign(this, { code, ...key !== void 0 && { key }, maybeStored });
  }
};
var Malformed = class extends Error {
};
var closedError = () => new NexiosError("closed", "the client is closed");
function quiet(promise) {
  promise.catch(() => {
  });
  return promise;
}

// src/frame.js
var MARK = "";
var HEADER_MAX = 4096;
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

// src/calls.js
var UNANSWERED_MAX = 256;
var QUEUE_MAX = 1e3;
var BYTES_MAX = 16 << 20;
var KEY_MS = 3e5;
var Calls = class {
  #calls = /* @__PURE__ */ new Map();
  #bytes = 0;
  #unanswered = 0;
  #lastId = 0;
  #send;
  // of the connection, while it is open
  #limits = {};
  #isClosed = false;
  nextId() {
    return ++this.#lastId;
  }
  /** Returns a promise of the answer. */
  ask(type, members, options) {
    return quiet(new Promise((done, failed) => this.add({ type, members, ...options, done, failed })));
  }
  /**
   * Adds a call: `done` receives the answer, `failed` the error. `what` names the argument that may be too long, `key` is
   * that of a publish, a call of a `room` ends with the connection, and `members` may be a function, for each connection.
   */
  add(call) {
    const { type, members, payload, room, signal } = call;
    call.id = this.nextId();
    call.times = 0;
    const header = () => ({ type, id: call.id, ...room ? members() : members });
    if (!room) checkHeader(call.what, header());
    const whole = room ? void 0 : frame(header(), payload);
    call.frame = () => whole ?? frame(header());
    call.size = whole?.length ?? 0;
    if (this.#isClosed) return call.failed(this.#errorOf(call, closedError()));
    if (signal?.aborted) return call.failed(signal.reason);
    if (!room && (this.#calls.size >= QUEUE_MAX || this.#bytes > BYTES_MAX))
      return call.failed(this.#errorOf(call, new NexiosError("busy", "too much is waiting for answers")));
    this.#watch(call);
    this.#calls.set(call.id, call);
    this.#bytes += call.size;
    this.flush();
    return call;
  }
  /** Takes a call back; returns true if it was not sent yet. */
  withdraw(call) {
    return !call.isSent && Boolean(this.#take(call.id));
  }
  /** Sets the limits that the server has named. */
  limit(limits) {
    this.#limits = limits ?? {};
  }
  open(send) {
    this.#send = send;
    this.#calls = new Map([...this.#calls].sort(([, a], [, b]) => Boolean(b.room) - Boolean(a.room)));
    this.flush();
  }
  /** The most bytes that the server takes in a message, as far as is known. */
  get bytesMax() {
    return this.#limits.message_bytes || Infinity;
  }
  /** The most rooms that the server lets the client into, and takes in a `hello`, as far as is known. */
  get roomsMax() {
    const { rooms } = this.#limits;
    return rooms >= 0 ? rooms : Infinity;
  }
  flush() {
    for (const call of this.#calls.values()) {
      if (!this.#send || this.#unanswered >= this.#unansweredMax) break;
      if (call.isSent) continue;
      const data = call.frame();
      const error = tooBig(data, this.bytesMax);
      if (error) {
        this.#fail(call, error);
        continue;
      }
      call.isSent = true;
      call.times++;
      this.#unanswered++;
      this.#send(data);
    }
  }
  /** Handles the end of the connection. With a reason in `rejected`, publishes that were sent on it are not repeated. */
  ended(rejected) {
    this.#send = void 0;
    const sent = [...this.#calls.values()].filter((call) => call.isSent || call.room);
    this.#unanswered = 0;
    for (const call of sent) {
      const wasSent = call.isSent;
      call.isSent = false;
      if (call.room) this.#take(call.id);
      else if (call.key === void 0) this.#fail(call, new NexiosError("disconnected", "the connection ended before the answer"));
      else if (rejected && wasSent) this.#fail(call, new NexiosError("rejected", rejected));
    }
  }
  close() {
    this.#isClosed = true;
    for (const call of [...this.#calls.values()]) this.#fail(call, closedError());
  }
  settle({ id }, answer) {
    this.#take(id)?.done(answer);
  }
  refuse({ id, code, message, maybe_stored }) {
    const call = this.#calls.get(id);
    const isStored = call?.times > 1 || code === "unavailable" && maybe_stored === true;
    if (call) this.#fail(call, new NexiosError(`${code}`, `${message}`), isStored);
  }
  get #unansweredMax() {
    return this.#limits.unanswered || UNANSWERED_MAX;
  }
  #watch(call) {
    const { key, timeout, signal } = call;
    const giveUp = (error) => this.#fail(call, error);
    const late = () => giveUp(new NexiosError("timeout", `no answer came in ${timeout} ms`));
    const expired = () => giveUp(new NexiosError("expired", "it was not acknowledged in five minutes"));
    const timer = key !== void 0 ? setTimeout(expired, KEY_MS) : timeout && setTimeout(late, timeout);
    const stopListening = onAbort(signal, giveUp);
    call.stop = () => (clearTimeout(timer), stopListening());
  }
  #fail(call, error, maybeStored = call.times > 0) {
    this.#take(call.id);
    call.failed(this.#errorOf(call, error, maybeStored));
  }
  #errorOf({ key }, error, maybeStored = false) {
    return error instanceof NexiosError ? new NexiosError(error.code, error.message, { key, maybeStored }) : error;
  }
  #take(id) {
    const call = this.#calls.get(id);
    if (!call) return void 0;
    call.stop();
    this.#calls.delete(id);
    this.#bytes -= call.size;
    if (call.isSent) this.#unanswered--;
    call.isSent = false;
    queueMicrotask(() => this.flush());
    return call;
  }
};
function onAbort(signal, giveUp) {
  const abort = () => giveUp(signal.reason);
  signal?.addEventListener("abort", abort);
  return () => signal?.removeEventListener("abort", abort);
}
function tooBig(data, limit) {
  const over = bytesOver(data, limit);
  return over > 0 ? new NexiosError("too_big", `${over} bytes over the server's limit of ${limit}`) : void 0;
}
function checkHeader(what, header) {
  const size = byteLength(JSON.stringify(header));
  if (size > HEADER_MAX) throw new RangeError(`invalid ${what}: makes a header of ${size} bytes, at most ${HEADER_MAX} are allowed`);
}

// src/ending.js
var KINDS = {
  0: "lost",
  1e3: "normal",
  1001: "going-away",
  1002: "protocol",
  1003: "invalid-data",
  1005: "lost",
  1006: "lost",
  1007: "invalid-data",
  1008: "policy",
  1009: "too-big",
  1011: "server-error",
  1012: "restart",
  1013: "try-again-later",
  1014: "bad-gateway"
};
var RETRIED = [0, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 1015];
var BLAMING = [1002, 1003, 1007, 1008, 1009];
var UNAUTHORIZED = 4401;
var RETRY_AFTER_MAX = 300;
var refused = (status, retryAfter) => ({
  code: 1006,
  reason: `the server refused the handshake with status ${status}`,
  cause: "refused",
  status,
  retryAfter: [429, 503].includes(status) && /^\d{1,9}$/.test(retryAfter) ? Math.min(retryAfter, RETRY_AFTER_MAX) * 1e3 : 0
});
var kindOf = ({ code, cause }) => cause === "refused" ? cause : KINDS[code] ?? (code >= 3e3 && code < 5e3 ? "application" : "unknown");
function consequenceOf({ code, cause, status, closing }) {
  if (status === 401 || code === UNAUTHORIZED && cause !== "own") return "authorize";
  const isRetried = {
    own: true,
    malformed: true,
    protocol: false,
    closing: closing?.retry_ms !== void 0,
    refused: [408, 425, 429].includes(status) || status >= 500,
    close: RETRIED.includes(code)
  }[cause];
  return isRetried ? "retry" : "park";
}
var isBlaming = ({ code, cause }) => cause === "close" && BLAMING.includes(code);
var delayOf = ({ code, cause, retryAfter = 0 }) => ({
  extra: cause === "close" && code === 1013 ? 1e4 : 0,
  least: retryAfter
});

// src/connection.js
var PROTOCOL = "nexios.v1";
var CLOSE_MS = 1e3;
var isFunction = (value) => typeof value === "function";
function checkAddress(address) {
  let protocol;
  try {
    ({ protocol } = new URL(address, globalThis.location?.href));
  } catch {
  }
  if (!/^(ws|http)s?:$/.test(protocol)) throw new SyntaxError(`invalid address ${JSON.stringify(`${address}`)}: must be a ws: or wss: URL`);
}
var Connection = class {
  url;
  isWelcome = false;
  #socket;
  #owner;
  #timer;
  #reason;
  #isOver = false;
  constructor(owner) {
    this.#owner = owner;
  }
  get bufferedAmount() {
    return this.#socket.bufferedAmount;
  }
  /** Dials: at once, or when the storage and the functions for values are ready. */
  start({ WebSocket, openTimeout }, ready, ...asked) {
    this.deadline(openTimeout, "the server did not answer in time");
    if (!ready && !asked.some(isFunction)) return this.#dial(WebSocket, ...asked);
    const answers = async () => (await ready, Promise.all(asked.map((value) => isFunction(value) ? value() : value)));
    const dial = (values) => this.#isOver || this.#dial(WebSocket, ...values);
    answers().then(dial).catch((error) => this.#isOver || this.#owner.failed(error));
  }
  send(data) {
    this.#socket.send(data);
  }
  welcomed() {
    this.isWelcome = true;
    clearTimeout(this.#timer);
  }
  /** Ends the connection after a time. */
  deadline(ms, reason) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#owner.ended({ code: 1006, reason, cause: "own" }), ms);
  }
  /** Ends the connection, with a Close frame or by a cut. It reports nothing afterwards. */
  end(code, reason) {
    const socket = this.#socket;
    if (code !== void 0) socket?.close(code, reason);
    this.#isOver = true;
    clearTimeout(this.#timer);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (code === void 0) socket.terminate ? socket.terminate() : socket.close();
  }
  #dial(WebSocket, url, token, protocols = []) {
    checkAddress(url);
    this.url = url;
    const bearer = token === void 0 ? [] : ["bearer", token];
    const socket = this.#socket = new WebSocket(url, [PROTOCOL, ...bearer, ...protocols]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#owner.opened(socket.protocol === PROTOCOL);
    socket.onmessage = ({ data }) => this.#owner.received(data);
    socket.onclose = ({ code, reason }) => this.#owner.ended({ code, reason: reason || this.#reason || "", cause: "close" });
    socket.onerror = (event) => {
      if (this.#isOver) return;
      this.#reason = event?.message;
      this.deadline(CLOSE_MS, this.#reason ?? "");
    };
    socket.on?.("unexpected-response", (_, { statusCode, headers }) => {
      if (!this.#isOver) this.#owner.ended(refused(statusCode, headers["retry-after"]));
    });
  }
};

// src/emitter.js
var Emitter = class {
  _listeners = {};
  on(event, listener) {
    (this._listeners[event] ??= /* @__PURE__ */ new Set()).add(listener);
    return () => this.off(event, listener);
  }
  off(event, listener) {
    this._listeners[event]?.delete(listener);
  }
  _isHeard() {
    return Object.values(this._listeners).some(({ size }) => size);
  }
  /** Calls the listeners; returns true if none failed, or a promise of that if one is still running. */
  _emit(event, ...values) {
    const failed = (error) => (this._failed(error), false);
    const results = [...this._listeners[event] ?? []].map((listener) => {
      try {
        const result = listener(...values);
        return typeof result?.then === "function" ? Promise.resolve(result).then(() => true, failed) : true;
      } catch (error) {
        return failed(error);
      }
    });
    return results.some((result) => result.then) ? Promise.all(results).then((all) => all.every(Boolean)) : results.every(Boolean);
  }
};

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

// src/liveness.js
var PROBE_MS = 2e3;
var TIMER_MAX = 2 ** 31 - 1;
var Liveness = class {
  #every;
  #heard = false;
  #beat;
  #probe;
  // the ping that has to be answered soon
  #probedAt;
  #again = false;
  // its answer will say nothing of what has happened behind it
  #deadline;
  #ping;
  #lost;
  /** Takes `ping`, which sends one and returns its id, and `lost`, which receives the reason. */
  constructor(ping, lost) {
    this.#ping = ping;
    this.#lost = lost;
  }
  /** True while a probe waits for its answer. */
  get isProbing() {
    return this.#probe !== void 0;
  }
  start(every) {
    if (!(every > 0)) return;
    this.#every = Math.min(every, TIMER_MAX);
    this.#heard = true;
    this.#listen(false);
  }
  stop() {
    clearTimeout(this.#beat);
    clearTimeout(this.#deadline);
    this.#every = this.#probe = void 0;
    this.#again = false;
  }
  heard() {
    this.#heard = true;
  }
  /** Sends a ping at once, and waits two seconds for the answer; later than another probe, once that is answered. */
  probe() {
    if (!this.#every) return;
    if (this.isProbing) {
      this.#again ||= Date.now() > this.#probedAt;
      return;
    }
    this.#again = false;
    this.#probedAt = Date.now();
    this.#probe = this.#ping();
    this.#deadline = setTimeout(() => this.#lost("the network is gone"), PROBE_MS);
  }
  acked(id) {
    if (id === void 0 || id !== this.#probe) return;
    clearTimeout(this.#deadline);
    this.#probe = void 0;
    if (this.#again) this.probe();
  }
  #listen(isAsked) {
    this.#beat = setTimeout(() => {
      if (!this.#heard && isAsked) return this.#lost("nothing was heard");
      if (!this.#heard) this.#ping();
      this.#listen(!this.#heard);
      this.#heard = false;
    }, this.#every);
  }
};

// src/page.js
function followPage({ probe, wake, freeze, thaw }) {
  const { document, navigator } = globalThis;
  const watch = (target, type, listener) => {
    target?.addEventListener?.(type, listener);
    return () => target?.removeEventListener?.(type, listener);
  };
  const stops = [
    watch(globalThis, "offline", probe),
    watch(globalThis, "online", wake),
    watch(globalThis, "pagehide", ({ persisted }) => persisted && freeze()),
    watch(globalThis, "pageshow", thaw),
    watch(document, "visibilitychange", () => document.visibilityState === "visible" && wake()),
    watch(document, "freeze", freeze),
    watch(document, "resume", thaw),
    watch(navigator?.connection, "change", probe)
  ];
  return () => stops.forEach((stop) => stop());
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

// src/positions.js
var ROOMS_MAX2 = 1e3;
var SLOTS_MAX = 100;
var Positions = class {
  #positions = /* @__PURE__ */ new Map();
  #storage;
  #key;
  #slot;
  // the key of this tab
  #isNeeded = true;
  #release = () => {
  };
  #failed;
  constructor({ storage, storageKey }, failed) {
    this.#storage = storage;
    this.#key = this.#slot = storageKey;
    this.#failed = failed;
    if (!this.#isShared()) this.#positions = this.#stored();
  }
  get(room) {
    return this.#positions.get(room);
  }
  [Symbol.iterator]() {
    return this.#positions[Symbol.iterator]();
  }
  keep(room, position) {
    this.#positions.delete(room);
    this.#positions.set(room, position);
    if (this.#positions.size > ROOMS_MAX2) this.#positions.delete(this.#positions.keys().next().value);
    this.#save();
  }
  forget(room) {
    if (this.#positions.delete(room)) this.#save();
  }
  /** Takes a key in a storage that tabs share; returns a promise, or nothing if tabs do not share it. */
  acquire() {
    this.#isNeeded = true;
    return this.#isShared() ? this.#lock(1).catch(() => this.#use(this.#key)) : void 0;
  }
  release() {
    this.#isNeeded = false;
    this.#release();
  }
  #isShared() {
    const { navigator } = globalThis;
    if (!this.#storage || !navigator?.locks) return false;
    try {
      return this.#storage === globalThis.localStorage;
    } catch {
      return false;
    }
  }
  /** Takes the first free key; the browser frees it when the tab ends. */
  async #lock(number) {
    const key = number === 1 ? this.#key : `${this.#key}:${number}`;
    const isMine = await new Promise((resolve, reject) => {
      const hold = (lock) => {
        resolve(Boolean(lock));
        return lock && this.#isNeeded ? new Promise((release) => this.#release = release) : void 0;
      };
      globalThis.navigator.locks.request(key, { ifAvailable: true }, hold).catch(reject);
    });
    if (isMine || number === SLOTS_MAX) this.#use(key);
    else await this.#lock(number + 1);
  }
  #use(slot) {
    this.#slot = slot;
    if (this.#positions.size) this.#save();
    else this.#positions = this.#stored();
  }
  #save() {
    try {
      this.#storage?.setItem(this.#slot, JSON.stringify([...this.#positions]));
    } catch (error) {
      this.#failed(error);
    }
  }
  #stored() {
    try {
      const stored = JSON.parse(this.#storage?.getItem(this.#slot) ?? "[]");
      return new Map(stored.filter(isPlace).slice(-ROOMS_MAX2));
    } catch {
      return /* @__PURE__ */ new Map();
    }
  }
};
function isPlace([room, position]) {
  try {
    return typeof room === "string" && Boolean(positionOf(position));
  } catch {
    return false;
  }
}

// src/line.js
var QUEUE_MAX2 = 1e3;
var BYTES_MAX2 = 16 << 20;
var Line = class {
  isBehind = false;
  #queue = [];
  #bytes = 0;
  #isRunning = false;
  #owner;
  /** Takes an owner with `handle`, `isEnded`, `fallBehind` and `caughtUp`. */
  constructor(owner) {
    this.#owner = owner;
  }
  get isEmpty() {
    return !this.#queue.length && !this.#isRunning;
  }
  /** Queues an event; returns false if there is no space: the event comes again in a room with history, or is a gap. */
  push(item, hasHistory) {
    const { event, values, size = 0 } = item;
    const isFull = this.#queue.length >= QUEUE_MAX2 || this.#bytes > BYTES_MAX2;
    if (isFull && !hasHistory && (event === "message" || event === "gap")) {
      this.#miss(event === "gap" ? values[0].missed : 1);
      return false;
    }
    if (isFull) {
      this.fallBehind();
      return false;
    }
    this.#queue.push({ size, ...item });
    this.#bytes += size;
    this.#run();
    return true;
  }
  fallBehind() {
    this.isBehind = this.#isRunning;
    this.#owner.fallBehind();
  }
  #miss(count) {
    const last = this.#queue.at(-1);
    const missed = last.event === "gap" ? last.values[0].missed + count : count;
    if (last.event !== "gap") this.#queue.push({ event: "gap", size: 0 });
    this.#queue.at(-1).values = [{ missed: missed >= 0 ? missed : void 0 }];
  }
  async #run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let item; !this.#owner.isEnded() && (item = this.#queue.shift()); ) {
      this.#bytes -= item.size;
      const handled = this.#owner.handle(item);
      if (typeof handled !== "boolean") await handled;
    }
    this.#isRunning = this.isBehind = false;
    this.#owner.caughtUp();
  }
};

// src/values.js
var JSON_OBJECTS = ["Object", "Boolean", "Number", "String"];
var KEY_MAX = 128;
function encode(data, { json, bigint }) {
  if (isBytes(data)) return data;
  if (typeof data === "string" && !json) return wellFormed("message", data);
  return data === void 0 ? "" : JSON.stringify(data, jsonOf(bigint)) ?? "";
}
var decode = (payload, { json }) => json && typeof payload === "string" && payload ? JSON.parse(payload) : payload;
function text(what, value) {
  if (typeof value !== "string") throw new TypeError(`invalid ${what} ${shown(value)}: must be a text`);
  return wellFormed(what, value);
}
function keyOf(key = newKey()) {
  const size = byteLength(text("key", key));
  if (size > KEY_MAX) throw new RangeError(`invalid key ${shown(key)}: has ${size} bytes, at most ${KEY_MAX} are allowed`);
  return key;
}
function shown(value) {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  return typeof value === "object" && value ? tagOf(value) : `${typeof value === "bigint" ? `${value}n` : String(value)}`;
}
function wellFormed(what, value) {
  if (/\p{Surrogate}/u.test(value)) throw new TypeError(`invalid ${what} ${shown(value)}: holds half of a surrogate pair`);
  return value;
}
function jsonOf(bigint) {
  return function(name, value) {
    const type = typeof value;
    wellFormed("message", name);
    if (type === "string") return wellFormed("message", value);
    if (type === "bigint" && bigint === "string") return `${value}`;
    const isObject = type === "object" && value && !Array.isArray(value);
    const isWrong = ["bigint", "function", "symbol"].includes(type) || type === "number" && !Number.isFinite(value) || isObject && !JSON_OBJECTS.includes(tagOf(value)) || isBytes(this[name]) || // a Buffer has a `toJSON`
    value === null && tagOf(this[name]) === "Date";
    if (isWrong) throw new TypeError(`invalid message: ${kindOf2(type, value, this[name])} has no form as JSON`);
    return value;
  };
}
function kindOf2(type, value, given) {
  if (type === "object") return value ? `a ${tagOf(value)}` : `an invalid ${tagOf(given)}`;
  return type === "number" ? `${value}` : type === "bigint" ? `the BigInt ${value} (see the option bigint)` : `a ${type}`;
}
function newKey() {
  const chance = () => Math.random() * 2 ** 32;
  const numbers = globalThis.crypto?.getRandomValues(new Uint32Array(4)) ?? Array.from("1234", chance);
  return Array.from(numbers, (number) => Math.floor(number).toString(36)).join("-");
}

// src/wish.js
var PASSING = ["busy", "failed", "unavailable"];
var Wish = class {
  isIn = false;
  #owner;
  #isExplicit = false;
  #subscriptions = 0;
  #isRefused = false;
  #isLeaving = false;
  #flight;
  #joins = [];
  #leaves = [];
  #timer;
  constructor(owner) {
    this.#owner = owner;
  }
  get isWanted() {
    return this.#isExplicit || this.#isSubscribed || this.#joins.some(({ isReplaced }) => !isReplaced);
  }
  /** The position of the last join that waits, if it has one. */
  get since() {
    return this.#joins.filter(({ isReplaced, since }) => !isReplaced && since !== void 0).at(-1)?.since;
  }
  /** True while events of the room are not wanted, or belong to a stay that ends. */
  get isMuted() {
    return this.#isLeaving || this.#flight?.type === "leave";
  }
  get isIdle() {
    return !(this.isWanted || this.#subscriptions || this.#flight || this.#leaves.length);
  }
  join(waiter) {
    if (!this.#canWait(waiter, this.#joins)) return;
    this.#want();
  }
  leave(waiter) {
    this.#isExplicit = false;
    for (const join of this.#joins) join.isReplaced = true;
    if (this.#isSubscribed || this.#owner.isClosed()) return waiter.resolve();
    if (!this.#canWait(waiter, this.#leaves)) return;
    this.#unwant();
  }
  retain() {
    this.#subscriptions++;
    this.#want();
  }
  release() {
    this.#subscriptions--;
    if (!this.isWanted) this.#unwant();
  }
  connected() {
    if (this.isWanted) this.#pump();
  }
  disconnected() {
    const wasLeaving = this.isMuted;
    if (this.#flight?.type === "leave") this.#owner.out();
    this.isIn = false;
    this.#flight = void 0;
    clearTimeout(this.#timer);
    if (this.isWanted) this.#isLeaving = false;
    else if (wasLeaving || this.#leaves.length || this.#joins.length) this.#settleOut();
  }
  closed() {
    clearTimeout(this.#timer);
    this.#take(this.#joins).forEach(({ reject }) => reject(closedError()));
    this.#take(this.#leaves).forEach(({ resolve }) => resolve());
  }
  #want() {
    this.#isRefused = false;
    if (this.#flight?.type !== "leave") this.#stay();
    this.#pump();
  }
  #unwant() {
    this.#isLeaving = true;
    this.#pump();
  }
  #stay() {
    this.#isLeaving = false;
    this.#owner.stays();
  }
  #pump() {
    if (this.#flight) {
      if (this.#flight.type === "join" === this.isWanted || !this.#owner.withdraw(this.#flight)) return;
      this.#flight = void 0;
    }
    const { isWanted } = this;
    if (isWanted && this.isIn) return this.#settleIn();
    if (!isWanted && !(this.isIn && this.#owner.isOpen())) return this.#settleOut();
    if (this.#owner.isOpen()) this.#ask(isWanted ? "join" : "leave");
  }
  #ask(type) {
    clearTimeout(this.#timer);
    const refusal = type === "join" && this.#owner.refusal();
    if (refusal) return this.#joinFailed(refusal);
    if (type === "join") this.isIn = void 0;
    const flight = this.#flight = { type };
    const answered = (error) => {
      if (flight !== this.#flight) return;
      this.#flight = void 0;
      if (!error) this.#done(type);
      else if (type === "join") this.#joinFailed(error);
      else this.#leaveFailed(error);
    };
    Object.assign(flight, this.#owner.ask(flight, () => answered(), answered));
  }
  #done(type) {
    if (type === "join") this.isIn ??= true;
    else this.#left();
    this.#pump();
  }
  #left() {
    this.isIn = false;
    this.#isLeaving = false;
    this.#owner.out();
  }
  #joinFailed(error) {
    this.isIn = false;
    for (const { isReplaced, reject } of this.#take(this.#joins)) reject(isReplaced ? wasLeft() : error);
    const isPassing = PASSING.includes(error.code);
    if (!this.isWanted) {
      if (!this.#isLeaving && !isPassing) this.#owner.refused(error, false);
      return this.#settleOut();
    }
    if (isPassing) {
      this.#timer = setTimeout(() => this.connected(), 1e3 + 4e3 * Math.random());
      return;
    }
    this.#isExplicit = false;
    this.#isRefused = true;
    this.#owner.refused(error, true);
  }
  #leaveFailed(error) {
    this.#take(this.#leaves).forEach(({ reject }) => reject(error));
    this.#stay();
    if (this.isWanted) this.#pump();
  }
  #settleIn() {
    this.#stay();
    const joins = this.#take(this.#joins);
    this.#isExplicit ||= joins.some(({ isReplaced }) => !isReplaced);
    for (const { resolve } of [...joins, ...this.#take(this.#leaves)]) resolve();
  }
  #settleOut() {
    if (this.#isLeaving) this.#left();
    this.#take(this.#joins).forEach(({ reject }) => reject(wasLeft()));
    this.#take(this.#leaves).forEach(({ resolve }) => resolve());
  }
  get #isSubscribed() {
    return this.#subscriptions > 0 && !this.#isRefused;
  }
  /** Makes a call wait, unless it is given up or the client is closed already. */
  #canWait(waiter, those) {
    const { signal, timeout, reject } = waiter;
    if (this.#owner.isClosed()) return void reject(closedError());
    if (signal?.aborted) return void reject(signal.reason);
    const giveUp = (error) => {
      waiter.stop();
      those.splice(those.indexOf(waiter), 1);
      reject(error);
      if (those === this.#joins && !this.isWanted) this.#giveUp();
    };
    const late = () => giveUp(new NexiosError("timeout", `no answer came in ${timeout} ms`));
    const timer = timeout && setTimeout(late, timeout);
    const stopListening = onAbort(signal, giveUp);
    waiter.stop = () => (clearTimeout(timer), stopListening());
    those.push(waiter);
    return true;
  }
  /** Takes an abandoned join back, unless it was sent: then a leave follows. */
  #giveUp() {
    if (this.#flight && this.#owner.withdraw(this.#flight)) this.#flight = void 0;
  }
  #take(those) {
    const taken = those.splice(0);
    taken.forEach(({ stop }) => stop());
    return taken;
  }
};
var wasLeft = () => new NexiosError("closed", "the room was left");

// src/room.js
var MUTED_MAX = 1e3;
var NO_POSITION = "f".repeat(16) + "-9007199254740991-" + "f".repeat(32);
function roomName(name) {
  text("room name", name);
  checkHeader(`room name ${shown(name)}`, { type: "join", id: Number.MAX_SAFE_INTEGER, room: name, position: NO_POSITION });
  return name;
}
var Room = class extends Emitter {
  name;
  _at;
  // the received position, in rooms with history
  #client;
  #wish;
  #line;
  #isKnown = false;
  // the application has received `joined`, and no `left` since
  #isWatching = false;
  #muted = [];
  // events that arrive while the room is being left
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
      if (since !== void 0) checkSince(since);
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
    const read = ({ payload }) => (this.#isWatching = true, JSON.parse(payload));
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
    const at = this._at && offset !== void 0 ? positionAt(this._at.epoch, offset, nonce) : void 0;
    if (at && at.offset <= this._at.offset) return;
    const size = payload.length ?? payload.byteLength;
    const item = { event: "message", values: [payload, { offset }], position: at?.text, size };
    if (this.#push(item)) this._at = at ?? this._at;
  }
  /** Ends the stay in the room, and forgets its position. */
  #out(why = {}, isReported = this.#isKnown) {
    this.#muted = [];
    this.#isWatching = false;
    this._at = void 0;
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
      caughtUp: () => this.#client._caughtUp()
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
      refused: ({ code, message }, isReported) => this.#out({ code, message }, isReported || this.#isKnown)
    };
  }
  /** Handles an event, and then stores its position. */
  #handle({ event, values, position, stay }) {
    const keep = (isHandled) => {
      if (!isHandled || position === void 0 || stay !== this.#stay) return;
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
      this._failed(error);
      return false;
    }
  }
};
function checkSince(since) {
  try {
    if (since !== "start") positionOf(since);
  } catch {
    throw new TypeError(`invalid position ${shown(since)}: must be "start" or EPOCH-OFFSET-NONCE`);
  }
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

// src/client.js
var ROOMS_MAX3 = 1e3;
var BUFFERED_MAX = 16 << 20;
var BEFORE_WELCOME = ["welcome", "closing"];
var MALFORMED_MAX = 3;
var WAKE_MS = 1e3;
var DEFAULTS = { protocols: [], openTimeout: 1e4, requestTimeout: 1e4, stableAfter: 1e4, retryFirst: true, bigint: "error" };
var Client = class extends Emitter {
  state = "connecting";
  id;
  _options;
  _calls = new Calls();
  _positions;
  #urls;
  #turn = 0;
  // the number of the address, modulo their count
  #connection;
  #backoff = new Backoff();
  #liveness;
  #rooms = /* @__PURE__ */ new Map();
  #closing;
  #timer;
  // of the next attempt
  #stable;
  #malformed = 0;
  #isAsked = false;
  // for another token, since the last connection that held
  #isHeld = false;
  // until rooms have caught up
  #isAway = false;
  // until `reconnect()`
  #isFrozen = false;
  #isReported = false;
  // the failure of the first attempt
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
      thaw: () => this.#thaw()
    });
  }
  get url() {
    const url = this.#urls[this.#turn % this.#urls.length];
    return this.#connection?.url ?? (typeof url === "string" ? url : void 0);
  }
  room(name) {
    const room = this.#rooms.get(roomName(name)) ?? this.#addRoom(name);
    if (!room) throw new RangeError(`a client has at most ${ROOMS_MAX3} rooms`);
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
  close(code = 1e3, reason = "") {
    if (code !== 1e3 && !(Number.isInteger(code) && code >= 3e3 && code <= 4999))
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
    if (this.#rooms.size <= roomsMax) return void 0;
    const taken = [...this.#rooms.values()].filter((room) => room._isTaken()).length;
    if (taken < roomsMax) return void 0;
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
    const connection = this.#connection = new Connection(this.#owner());
    this.#isHeld = false;
    try {
      connection.start(this._options, ready, this.#urls[this.#turn % this.#urls.length], token, protocols);
    } catch (error) {
      connection.end();
      this.#connection = void 0;
      throw error;
    }
  }
  /** Returns the receiver of a connection's reports. A connection that has ended reports nothing. */
  #owner() {
    return {
      opened: (isSpoken) => isSpoken ? this.#greet() : this.#end(UNSPOKEN),
      received: (data) => this.#receive(data),
      failed: (error) => this.#endFailed(error),
      ended: (ending) => this.#end(ending)
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
    this.#connection = this.#closing = void 0;
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
    const isFirst = !this._options.retryFirst && this.id === void 0 && !away && !this.#isFrozen;
    return isFirst && this.#backoff.attempt + 1 - Number(this.#isAsked) >= this.#urls.length;
  }
  #follow(ending, consequence) {
    const { code, reason } = ending;
    const kind = kindOf(ending);
    const retry = ["retry", "ask"].includes(consequence);
    if (consequence !== "ask") this.#turn++;
    const state = this.state = retry ? "reconnecting" : consequence === "close" ? "closed" : "parked";
    this.#endCalls(ending);
    if (state !== "closed") this.#report(ending, retry);
    this._emit("close", { code, reason, retry, kind });
    const isCurrent = () => this.state === state && !this.#connection;
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
    for (const room of this.#rooms.values()) room._disconnected(), room._closed();
  }
  /** Logs once that there is no connection, if no listener reports it. */
  #report({ code, reason }, retry) {
    if (this.id !== void 0 || this.#isReported || this._listeners.close?.size) return;
    this.#isReported = true;
    console.warn(`nexios: no connection to ${this.#urls}: ${reason || "it failed"} (${code}); ${retry ? "it is tried again" : "reconnect() tries again"}`);
  }
  #wait(ending, consequence) {
    if (this.#isAway || this.#isFrozen) return;
    const isFirst = consequence === "ask" ? true : void 0;
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
      if (!(error instanceof Malformed)) return this._failed(error);
      this.#end({ code: 1002, reason: error.message, cause: "malformed", says: 4002 });
    }
  }
  #handlers = {
    welcome: (welcome) => this._isOpen || this.#welcomed(welcome),
    joined: ({ room: name, position, recovered }) => {
      const at = position === void 0 ? void 0 : positionOf(position);
      const room = this.#rooms.get(name) ?? this.#addRoom(roomName(name));
      if (!room) return this._failed(new RangeError(`over ${ROOMS_MAX3} rooms: no place for ${name}`));
      room._enter(at, { recovered: recovered === true, hasHistory: at !== void 0 });
    },
    left: ({ room }) => this.#rooms.get(room)?._left(),
    message: (header, payload) => this.#rooms.get(header.room)?._message(header, payload),
    reset: ({ room, position }) => this.#rooms.get(room)?._reset(positionOf(position)),
    gap: ({ room, missed, offset }) => {
      if (typeof room === "string") return this.#rooms.get(room)?._gap({ missed }, offset);
      this._emit("gap", { missed });
      for (const each of this.#rooms.values()) if (!each._at) each._gap({ missed });
    },
    presence: ({ room, event, user, data }) => ["join", "leave"].includes(event) && this.#rooms.get(room)?._change({ event, user, data }),
    ack: (header) => (this.#liveness.acked(header.id), this._calls.settle(header, { header })),
    reply: (header, payload) => this._calls.settle(header, { header, payload }),
    error: (header) => this._calls.refuse(header),
    closing: (closing) => {
      this.#closing = { code: closing.code, reason: closing.reason ?? "", retry_ms: closing.retry_ms };
      this.#connection.deadline(this._options.openTimeout, "");
    }
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
    for (const room2 of this.#rooms.values()) {
      if (this.#rooms.size < ROOMS_MAX3) break;
      if (room2._isIdle()) this.#rooms.delete(room2.name);
    }
    if (this.#rooms.size >= ROOMS_MAX3) return void 0;
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
};
var UNSPOKEN = { code: 1002, reason: `the server does not speak ${PROTOCOL}`, cause: "protocol", says: 4002 };
function checked(url, options) {
  const given = Object.entries(options).filter(([name, value]) => value !== void 0 || name === "WebSocket");
  const settings = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...Object.fromEntries(given) };
  const urls = [url].flat().map((each) => typeof each === "function" ? each : `${each}`);
  if (!urls.length) throw new TypeError("there is no address");
  urls.filter((each) => typeof each === "string").forEach(checkAddress);
  if (!["error", "string"].includes(settings.bigint))
    throw new TypeError(`invalid bigint ${shown(settings.bigint)}: must be "error" or "string"`);
  settings.storageKey ??= `nexios:${typeof urls[0] === "string" ? urls[0].split(/[?#]/)[0] : ""}`;
  if (!settings.WebSocket) throw new TypeError("there is no WebSocket here: pass one as { WebSocket }");
  return { urls, settings };
}

// src/index.js
var connect = (url, options) => new Client(url, options);
