const PROBE_MS = 2_000;
const TIMER_MAX = 2 ** 31 - 1;

/** A check whether the connection lives: a browser does not show pings, so the client sends its own. */
export class Liveness {
  #every;
  #heard = false;
  #beat;
  #probe; // the ping that has to be answered soon
  #probedAt;
  #again = false; // its answer will say nothing of what has happened behind it
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
    return this.#probe !== undefined;
  }

  start(every) {
    if (!(every > 0)) return; // such a server need not know `ping`
    this.#every = Math.min(every, TIMER_MAX);
    this.#heard = true; // the welcome
    this.#listen(false);
  }

  stop() {
    clearTimeout(this.#beat);
    clearTimeout(this.#deadline);
    this.#every = this.#probe = undefined;
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
    if (id === undefined || id !== this.#probe) return;
    clearTimeout(this.#deadline);
    this.#probe = undefined;
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
}
