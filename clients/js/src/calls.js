import { byteLength, bytesOver } from "./bytes.js";
import { NexiosError, closedError, quiet } from "./errors.js";
import { HEADER_MAX, frame } from "./frame.js";

const UNANSWERED_MAX = 256; // until a server has named another number; it answers `busy` to more
const QUEUE_MAX = 1000;
const BYTES_MAX = 16 << 20;
const KEY_MS = 300_000; // the time for which a server knows the key of a message

/** The calls that wait for an answer, in their order; those of rooms go first on each connection. */
export class Calls {
  #calls = new Map();
  #bytes = 0;
  #unanswered = 0;
  #lastId = 0;
  #send; // of the connection, while it is open
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
    const header = () => ({ type, id: call.id, ...(room ? members() : members) });
    if (!room) checkHeader(call.what, header());
    const whole = room ? undefined : frame(header(), payload);
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
    // Rooms first, because a publish may need them.
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
    this.#send = undefined;
    const sent = [...this.#calls.values()].filter((call) => call.isSent || call.room);
    this.#unanswered = 0;
    for (const call of sent) {
      const wasSent = call.isSent;
      call.isSent = false;
      if (call.room) this.#take(call.id);
      else if (call.key === undefined) this.#fail(call, new NexiosError("disconnected", "the connection ended before the answer"));
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
    // The refusal covers the last attempt. An earlier one may have been stored.
    const isStored = call?.times > 1 || (code === "unavailable" && maybe_stored === true);
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
    const timer = key !== undefined ? setTimeout(expired, KEY_MS) : timeout && setTimeout(late, timeout);
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
    if (!call) return undefined;
    call.stop();
    this.#calls.delete(id);
    this.#bytes -= call.size;
    if (call.isSent) this.#unanswered--;
    call.isSent = false;
    queueMicrotask(() => this.flush());
    return call;
  }
}

/** Calls `giveUp` when a signal aborts; returns a function that stops it. */
export function onAbort(signal, giveUp) {
  const abort = () => giveUp(signal.reason);
  signal?.addEventListener("abort", abort);
  return () => signal?.removeEventListener("abort", abort);
}

/** Returns the error of a message over the server's limit; `undefined` if it is not. */
export function tooBig(data, limit) {
  const over = bytesOver(data, limit);
  return over > 0 ? new NexiosError("too_big", `${over} bytes over the server's limit of ${limit}`) : undefined;
}

export function checkHeader(what, header) {
  const size = byteLength(JSON.stringify(header));
  if (size > HEADER_MAX) throw new RangeError(`invalid ${what}: makes a header of ${size} bytes, at most ${HEADER_MAX} are allowed`);
}
