import { onAbort } from "./calls.js";
import { NexiosError, closedError } from "./errors.js";

const PASSING = ["busy", "failed", "unavailable"]; // errors after which a join is tried again

/**
 * The one wish of a room, in or out: in by `join()` until `leave()`, or by any subscription. One frame is under way at a
 * time; the next goes out when its answer is there and the wish differs. The owner has `ask`, `refusal`, `withdraw`, `isOpen`,
 * `isClosed`, `out`, `stays` and `refused`.
 */
export class Wish {
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
    return this.#joins.filter(({ isReplaced, since }) => !isReplaced && since !== undefined).at(-1)?.since;
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
    this.#flight = undefined;
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
      if ((this.#flight.type === "join") === this.isWanted || !this.#owner.withdraw(this.#flight)) return;
      this.#flight = undefined;
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
    if (type === "join") this.isIn = undefined; // until `joined`, or the answer
    const flight = (this.#flight = { type });
    const answered = (error) => {
      if (flight !== this.#flight) return;
      this.#flight = undefined;
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
      this.#timer = setTimeout(() => this.connected(), 1000 + 4000 * Math.random());
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
    if (this.#flight && this.#owner.withdraw(this.#flight)) this.#flight = undefined;
  }

  #take(those) {
    const taken = those.splice(0);
    taken.forEach(({ stop }) => stop());
    return taken;
  }
}

const wasLeft = () => new NexiosError("closed", "the room was left");
