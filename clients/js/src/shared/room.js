import { frame } from "../frame.js";
import { positionAt, positionOf } from "../position.js";

const ENTRIES_MAX = 200; // messages that are kept for tabs that come later
const BYTES_MAX = 256 << 10;

/**
 * A room as a relay knows it: the tabs that are in it, and its newest messages, with which a tab continues that comes
 * with a position. Joins and leaves of tabs are carried out one after another.
 */
export class RelayRoom {
  #relay;
  #name;
  #isIn = false; // the connection
  #isUnasked = false; // the server has let it in by itself
  #members = new Map(); // tab → its position, in a room with history
  #entries = []; // `{ at, data }`; the first is where the connection began, and has no data
  #bytes = 0;
  #queue = [];
  #isBusy = false;
  #isRecovered = false; // the connection began where a tab was
  #joining; // what the connection is being let in for
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
    this.#begin(header.position === undefined ? undefined : positionOf(header.position));
    for (const [tab, at] of members) {
      if (!isAgain) this.#enterFresh(tab, undefined, header);
      else this.#enter(tab, header.recovered || at?.text === header.position ? at?.text : undefined);
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
    if (!last || offset === undefined) return this.tell(data);
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
    return this.#at !== undefined && !(offset <= this.#at.offset);
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
    const first = position === undefined ? undefined : this.#relay.lowest(this.#name, position);
    if (!this.#isIn) return this.#letIn(call, first);
    if (!this.#canEnter(position)) return this.#rejoin(call);
    this.#enter(tab, position);
    this.#done(call);
  }

  #canEnter(position) {
    return this.#isUnasked || !this.#at || position === undefined || this.#covers(position);
  }

  #letIn(call, position) {
    this.#joining = call;
    this.#relay.call({ type: "join", room: this.#name, position }, (answer) => {
      this.#joining = undefined;
      if (answer.type === "error") return this.#refused(call, answer);
      this.#isIn = true;
      if (call.tab.isThere && !this.#members.has(call.tab)) this.#members.set(call.tab, this.#at);
      if (!this.#members.size) this.ask({ type: "leave" }); // the tab is gone
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
      this.#enter(call.tab); // the server does not let the connection out
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
    const isOther = position !== undefined && position !== "start" && position !== header.position;
    if (isOther && header.recovered) return this.#enter(tab, position);
    this.#members.set(tab, this.#at);
    tab.send(frame(header));
  }

  #enter(tab, position) {
    if (!this.#at) {
      this.#members.set(tab, undefined);
      return tab.send(frame({ type: "joined", room: this.#name, recovered: false }));
    }
    const recovered = position !== undefined && this.#covers(position);
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
    const { epoch, offset, text } = positionOf(position);
    const [{ at: first }] = this.#entries;
    const known = this.#entries.find(({ at }) => at.offset === offset);
    // A tab may be ahead of a connection that catches up.
    const isWithin = offset >= first.offset && (this.#isRecovered || offset <= this.#at.offset);
    return epoch === first.epoch && isWithin && (!known || known.at.text === text);
  }
}

const sizeOf = ({ data }) => data?.length ?? data?.byteLength ?? 0;
