import { refused } from "./ending.js";

export const PROTOCOL = "nexios.v1";
const CLOSE_MS = 1_000; // of `close` behind `error`

const isFunction = (value) => typeof value === "function";

/** Throws if an address is not a WebSocket URL. */
export function checkAddress(address) {
  let protocol;
  try {
    ({ protocol } = new URL(address, globalThis.location?.href));
  } catch {
    // Reported below.
  }
  if (!/^(ws|http)s?:$/.test(protocol)) throw new SyntaxError(`invalid address ${JSON.stringify(`${address}`)}: must be a ws: or wss: URL`);
}

/** An attempt, and the connection that it may become. It calls `opened`, `received`, `failed` and `ended` of its owner. */
export class Connection {
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
    const answers = async () => (await ready, Promise.all(asked.map((value) => (isFunction(value) ? value() : value))));
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
    if (code !== undefined) socket?.close(code, reason); // throws before anything has changed
    this.#isOver = true;
    clearTimeout(this.#timer);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (code === undefined) socket.terminate ? socket.terminate() : socket.close();
  }

  #dial(WebSocket, url, token, protocols = []) {
    checkAddress(url);
    this.url = url;
    const bearer = token === undefined ? [] : ["bearer", token];
    const socket = (this.#socket = new WebSocket(url, [PROTOCOL, ...bearer, ...protocols]));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#owner.opened(socket.protocol === PROTOCOL);
    socket.onmessage = ({ data }) => this.#owner.received(data);
    socket.onclose = ({ code, reason }) => this.#owner.ended({ code, reason: reason || this.#reason || "", cause: "close" });
    // `close` follows, but not in every version of Node.js.
    socket.onerror = (event) => {
      if (this.#isOver) return;
      this.#reason = event?.message;
      this.deadline(CLOSE_MS, this.#reason ?? "");
    };
    // Only the package `ws` reports the status.
    socket.on?.("unexpected-response", (_, { statusCode, headers }) => {
      if (!this.#isOver) this.#owner.ended(refused(statusCode, headers["retry-after"]));
    });
  }
}
