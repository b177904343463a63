/** The parts of a browser that the tabs of an origin share: `navigator.locks` and `BroadcastChannel`. */
export class Locks {
  #held = new Map(); // name → `{ resolve, reject }` of the request that holds it
  #queues = new Map();

  async request(name, options, granted) {
    if (typeof options === "function") [options, granted] = [{}, options];
    const { signal, steal, owner } = options;
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const request = { resolve, reject, granted, owner };
      signal?.addEventListener("abort", () => this.#withdraw(name, request, signal.reason));
      if (steal) this.#steal(name, request);
      else this.#queue(name).push(request);
      queueMicrotask(() => this.#grant(name));
    });
  }

  /** Takes all locks of a tab that is gone, and gives them to others. */
  free(owner) {
    for (const queue of this.#queues.values()) queue.splice(0, Infinity, ...queue.filter((each) => each.owner !== owner));
    for (const [name, request] of [...this.#held]) {
      if (request.owner !== owner) continue;
      this.#held.delete(name);
      this.#grant(name);
    }
  }

  #queue(name) {
    if (!this.#queues.has(name)) this.#queues.set(name, []);
    return this.#queues.get(name);
  }

  #withdraw(name, request, reason) {
    const queue = this.#queue(name);
    if (!queue.includes(request)) return;
    queue.splice(queue.indexOf(request), 1);
    request.reject(reason);
  }

  #steal(name, request) {
    this.#held.get(name)?.reject(new DOMException("stolen", "AbortError"));
    this.#held.delete(name);
    this.#queue(name).unshift(request);
  }

  #grant(name) {
    const request = !this.#held.has(name) && this.#queue(name).shift();
    if (!request) return;
    this.#held.set(name, request);
    const over = () => {
      if (this.#held.get(name) === request) this.#held.delete(name);
      queueMicrotask(() => this.#grant(name));
    };
    Promise.resolve().then(() => request.granted({ name })).then(request.resolve, request.reject).finally(over);
  }
}

/** Returns a class of channels of their own. */
export function channels() {
  const all = new Set();
  return class {
    onmessage = null;

    constructor(name) {
      this.name = name;
      all.add(this);
    }

    postMessage(data) {
      const copy = structuredClone(data);
      for (const other of all) {
        if (other === this || other.name !== this.name) continue;
        queueMicrotask(() => all.has(other) && other.onmessage?.({ data: copy }));
      }
    }

    close() {
      all.delete(this);
    }
  };
}

/** An origin with tabs; what a tab gets of it is for the options of `shared`. */
export class Origin {
  #locks = new Locks();
  #channels = channels();

  /** Returns the browser as a tab sees it, and what ends the tab as a crash does: nothing of it runs any more. */
  tab(WebSocket) {
    const [owner, shared] = [{}, this.#locks];
    const state = { isGone: false, sockets: [], channels: [] };
    const never = new Promise(() => {});
    const request = (name, options, granted) =>
      state.isGone ? never : shared.request(name, { ...options, owner }, (lock) => (state.isGone ? never : granted(lock)));
    const crash = () => {
      state.isGone = true;
      state.channels.forEach((channel) => channel.close());
      state.sockets.forEach((socket) => socket.vanish());
      shared.free(owner);
    };
    return { given: { WebSocket: recording(WebSocket, state.sockets), locks: { request }, BroadcastChannel: recording(this.#channels, state.channels) }, state, crash };
  }
}

const recording = (Class, made) => class extends Class {
  constructor(...values) {
    super(...values);
    made.push(this);
  }
};
