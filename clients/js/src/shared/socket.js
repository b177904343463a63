import { byteLength } from "../bytes.js";
import { checkAddress } from "../connection.js";
import { frame } from "../frame.js";
import { Relay } from "./relay.js";

const ANSWER_MS = 3_000; // of a leader, until its lock is taken away
const FAREWELL_MS = 100; // until a leader that has said nothing is taken for gone
const REASON_MAX = 123;
const CHANGE = "another tab takes over";

/**
 * The socket of one tab. The tab that holds the lock is the leader: it has the connection, and a relay that serves all
 * tabs over a channel. The browser gives the lock of a tab that ends to the next one. Each socket also holds a lock of
 * its own, by which the leader learns that its tab has ended.
 */
export class SharedSocket {
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
  #leader; // the id of the one that serves this tab
  #relay; // of a leader
  #isOver = false;
  #queue = new AbortController(); // for the lock
  #over = new AbortController();
  #timer;
  #release;
  #untilOver = new Promise((resolve) => (this.#release = resolve));

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
    const hold = () => (this.#isOver ? undefined : (granted(), this.#untilOver));
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
    if (this.#leader === undefined) this.#lead();
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
      close: (code, reason) => this.#closed(code, reason),
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
    this.onmessage?.({ data: frame({ type: "closing", code: 1012, reason: CHANGE, retry_ms: [0, 0] }) });
    this.#closed(1012, CHANGE);
  }

  // --- the channel

  #post(message) {
    if (!this.#isOver) this.#channel.postMessage({ from: this.#id, ...message });
  }

  #handle(message) {
    const { type, from, to } = message;
    if (this.#isOver || (to !== undefined && to !== this.#id)) return;
    if (this.#relay) return this.#serve(type, message);
    if (type === "lead") return void (this.#leader === undefined ? this.#ask() : this.#suspect());
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
      close: (code, reason) => this.#post({ type: "close", to: id, code, reason }),
    });
    const gone = () => this.#relay.remove(id);
    const { key, locks } = this.#settings;
    locks.request(`${key}:${id}`, { signal: this.#over.signal }, gone).catch(() => {});
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
}
