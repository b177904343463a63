import { frame, parse } from "../frame.js";
import { hello } from "../hello.js";
import { positionOf } from "../position.js";
import { isShaped } from "../shapes.js";
import { RelayRoom } from "./room.js";

const GREETING_MS = 250; // in which the other tabs say where they are
const UNANSWERED_MAX = 256; // until a server has said otherwise
const ROOMS_MAX = 1000; // after which those are forgotten that no tab is in
const UNLIMITED = { bytesMax: Infinity, roomsMax: Infinity }; // each tab has kept to the limits that it knows
const CHANGE = { type: "closing", code: 1012, reason: "another tab takes over", retry_ms: [0, 0] };

/**
 * Serves tabs over one connection. To each of them it is a server of `nexios.v1`, to the server it is one client: it
 * numbers their calls, is in the rooms of all, and gives each message to the tabs that are in its room.
 */
export class Relay {
  #socket;
  #tabs = new Map();
  #rooms = new Map();
  #calls = new Map(); // by the number that the server knows
  #waiting = []; // calls beyond those that the server allows
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
    Object.assign(tab, { isThere: true, isOpen: false, isGreeted: false, positions: {}, watched: new Set() });
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
    if (code === undefined) this.#socket.close();
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
      if (other && (!lowest || (other.epoch === lowest.epoch && other.offset < lowest.offset))) lowest = other;
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
      this.#tellAll(data); // each client says what is wrong with it
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
    error: (header, payload) => this.#answer(header, payload),
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
    if (this.#rooms.size >= ROOMS_MAX) this.#rooms.forEach((room, each) => room.isIdle && this.#rooms.delete(each));
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
    for (const [id, tab] of [...this.#tabs].reverse()) end(tab, id); // the leader last: it has the channel
  }
}

function positionIn(text) {
  try {
    return text === undefined ? undefined : positionOf(text);
  } catch {
    return undefined;
  }
}
