import { NONCE, framed, unframed } from "./server.js";

const position = (offset) => `a1-${offset}-${NONCE}`;

/** A server with one room that has history, `news`, and rooms without; it does what docs/protocol.md says. */
export class LiveServer {
  sockets = new Set();
  dials = 0;
  entries = []; // the text of each message of `news`; its offset is its index + 1
  keys = new Map();
  deaf = false; // answers no calls
  #lastId = 0;

  constructor() {
    const server = this;
    this.WebSocket = class {
      bufferedAmount = 0;
      protocol = "";
      rooms = new Map();
      watched = new Set();
      isOver = false;

      constructor(url, offers) {
        Object.assign(this, { url, offers });
        server.dials++;
        queueMicrotask(() => this.isOver || server.#accept(this));
      }

      send(message) {
        if (!this.isOver) server.#handle(this, unframed(message));
      }

      close() {
        this.vanish();
      }

      vanish() {
        this.isOver = true;
        server.sockets.delete(this);
      }
    };
  }

  /** Cuts all connections. */
  cut(code = 1006, reason = "") {
    for (const socket of this.sockets) {
      socket.vanish();
      socket.onclose?.({ code, reason });
    }
  }

  say(socket, header, payload) {
    if (!socket.isOver) queueMicrotask(() => socket.isOver || socket.onmessage?.({ data: framed(header, payload) }));
  }

  /** Sends a message of the server's handler, or to a room. */
  tell(text) {
    for (const socket of this.sockets) queueMicrotask(() => socket.onmessage?.({ data: text }));
  }

  publish(room, text) {
    const isStored = room === "news";
    const offset = isStored ? this.entries.push(text) : undefined;
    for (const socket of this.sockets) if (socket.rooms.has(room)) this.#message(socket, room, offset, text);
    return isStored ? position(offset) : undefined;
  }

  letIn(socket, room) {
    socket.rooms.set(room, true);
    this.#joined(socket, room, socket.hello.rooms?.[room]);
  }

  #accept(socket) {
    this.sockets.add(socket);
    socket.protocol = "nexios.v1";
    socket.onopen?.({});
  }

  #message(socket, room, offset, text) {
    this.say(socket, { type: "message", room, ...(offset && { offset, nonce: NONCE }) }, text);
  }

  #joined(socket, room, since) {
    if (room !== "news") return this.say(socket, { type: "joined", room });
    const recovered = since !== undefined;
    const offset = since === "start" ? 0 : recovered ? Number(since.split("-")[1]) : this.entries.length;
    this.say(socket, { type: "joined", room, position: position(offset), recovered });
    this.entries.slice(offset).forEach((text, at) => this.#message(socket, room, offset + at + 1, text));
  }

  #handle(socket, frame) {
    const { type, id, room, payload } = frame;
    const answer = (header, content) => this.say(socket, { id, ...header }, content);
    const handlers = {
      hello: () => {
        socket.hello = frame;
        this.say(socket, { type: "welcome", id: `c${++this.#lastId}`, retry_ms: [100, 300], limits: { unanswered: 8 } });
        if (this.letsIn) this.letIn(socket, this.letsIn);
      },
      join: () => {
        if (room === "closed") return answer({ type: "error", code: "forbidden", message: "no" });
        if (!socket.rooms.has(room)) this.#joined(socket, room, frame.position);
        socket.rooms.set(room, true);
        answer({ type: "ack" });
      },
      leave: () => {
        if (socket.rooms.delete(room)) this.say(socket, { type: "left", room });
        answer({ type: "ack" });
      },
      publish: () => {
        const known = this.keys.get(frame.key);
        if (!known) this.keys.set(frame.key, { position: this.publish(room, payload) });
        answer({ type: "ack", ...this.keys.get(frame.key), duplicate: Boolean(known) });
      },
      presence: () => {
        socket.watched.add(room);
        answer({ type: "reply" }, JSON.stringify([{ user: "ann" }]));
      },
      request: () => answer({ type: "reply" }, payload),
      ping: () => answer({ type: "ack" }),
    };
    if (type === undefined) queueMicrotask(() => socket.onmessage?.({ data: `echo ${frame.message}` }));
    else if (!this.deaf || type === "hello") handlers[type]();
  }
}
